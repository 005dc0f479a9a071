#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# The probes in the binary are those of docs/tracing.md, with as many arguments.
# shellcheck source-path=SCRIPTDIR source=../guest/lib.sh
. "$(dirname "$0")/../guest/lib.sh"

if ! command -v readelf >/dev/null; then
	skip 'tracing: the probes' 'no readelf'
	finish
fi
if ! echo '#include <sys/sdt.h>' | "${CC:-cc}" -E - >/dev/null 2>&1; then
	skip 'tracing: the probes' 'no <sys/sdt.h>: this build has none'
	finish
fi

# "name count" of each row, and of each probe of a file.
sed -nE 's/^\| `([a-z_]+)` \| ([^|]*) \|.*/\1 \2/p' "$repo/docs/tracing.md" |
	awk '{ print $1, NF - 1 }' | sort >"$tmp/documented"
probes_of() {
	readelf -n "$1" 2>/dev/null | awk '
		/Provider: / { ours = $2 == "vmm" }
		/Name: / { name = $2 }
		/Arguments: / && ours { n = 0; for (i = 2; i <= NF; i++) n += $i ~ /@/; print name, n }' | sort -u
}
for file in vmm libvmm.so; do
	probes_of "$build/$file" >"$tmp/there"
	if [ -s "$tmp/there" ] && diff "$tmp/documented" "$tmp/there" >"$messages"; then
		ok "tracing: the probes of $file are those of docs/tracing.md"
	else
		not_ok "tracing: the probes of $file are those of docs/tracing.md" 'they differ' "$messages"
	fi
done
finish
