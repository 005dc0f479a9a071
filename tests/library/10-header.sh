#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The public header in strict C11 and C++11: alone, twice, with VMM_CONFIG_INIT.
# shellcheck source-path=SCRIPTDIR source=../guest/lib.sh
. "$(dirname "$0")/../guest/lib.sh"

cat >"$tmp/use.c" <<'C'
#include <vmm.h>
#include <vmm.h>

int use(void);
int use(void)
{
	struct vmm_config config = VMM_CONFIG_INIT;

	return config.size == sizeof(config) && config.log_level == VMM_LOG_WARN &&
	       !config.kernel && !config.memory && config.on_reboot == VMM_ON_REBOOT_RESET;
}

int main(void)
{
	return !use();
}
C
cp "$tmp/use.c" "$tmp/use.cc"

# compiles COMPILER STANDARD FILE
compiles() {
	local name="vmm.h: $1 -std=$2"

	if ! command -v "$1" >/dev/null; then
		skip "$name" "no $1"
	elif "$1" "-std=$2" -Wall -Wextra -Wpedantic -Wconversion -Werror -I"$repo/include" -o "$tmp/use" \
		"$tmp/$3" 2>"$tmp/messages" && "$tmp/use"; then
		ok "$name"
	else
		not_ok "$name" "it does not compile cleanly, or VMM_CONFIG_INIT is wrong" "$tmp/messages"
	fi
}

compiles gcc c11 use.c
compiles clang c11 use.c
compiles gcc c2x use.c
compiles g++ c++11 use.cc
compiles clang++ c++11 use.cc
compiles g++ c++20 use.cc
finish
