#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What the shared library offers is what it offered before (vmm/libvmm.abi), and what the header
# declares; docs/api.md is the header's.
# shellcheck source-path=SCRIPTDIR source=../guest/lib.sh
. "$(dirname "$0")/../guest/lib.sh"

advice='If the change is meant: nothing that a released version had may go or change its size (new fields
of structs with a size go to the end; new functions into a new version of vmm/libvmm.map; anything
else needs another SOVERSION in the Makefile). Then run "make abi" and commit vmm/libvmm.abi.'

"$repo/tools/abi" "$build/libvmm.so" >"$tmp/abi" 2>"$messages"
if diff -u "$repo/vmm/libvmm.abi" "$tmp/abi" >"$tmp/difference"; then
	ok 'abi: symbols, functions and types are those of vmm/libvmm.abi'
else
	not_ok 'abi: symbols, functions and types are those of vmm/libvmm.abi' "$advice" \
		"$tmp/difference" "$messages"
fi

declared=$(sed -n '/^# functions/,/^# types/s/.*\b\(vmm_[a-z_]*\)(.*/\1/p' "$tmp/abi" | sort)
exported=$(sed -n '/^# symbols/,/^# functions/s/@@.*//p' "$tmp/abi" | grep '^vmm_' | sort)
if [ -n "$declared" ] && [ "$declared" = "$exported" ]; then
	ok 'abi: exported is what the header declares, and nothing else'
else
	not_ok 'abi: exported is what the header declares, and nothing else' \
		"$(diff <(echo "$declared") <(echo "$exported"))"
fi

if "$repo/tools/api-docs" -v format=md "$repo/include/vmm.h" | diff -u "$repo/docs/api.md" - >"$tmp/difference"; then
	ok 'docs/api.md: as the header has it'
else
	not_ok 'docs/api.md: as the header has it' 'run "make docs"' "$tmp/difference"
fi

mkdir "$tmp/man"
"$repo/tools/api-docs" -v "out=$tmp/man" -v reference=docs/api.md "$repo/include/vmm.h" 2>"$messages"
status=$?
missing=$(for name in $declared; do [ -s "$tmp/man/$name.3" ] || echo "$name"; done)
if [ "$status" = 0 ] && [ -z "$missing" ]; then
	ok 'man pages: every function has one'
else
	not_ok 'man pages: every function has one' "missing: $missing" "$messages"
fi

if command -v groff >/dev/null; then
	for page in "$tmp"/man/*.3; do
		groff -man -ww -z "$page"
	done >"$messages" 2>&1
	if [ -s "$messages" ]; then
		not_ok 'man pages: groff takes them' 'it complains' "$messages"
	else
		ok 'man pages: groff takes them'
	fi
	# Such lines are to be copied: neither filled, nor hyphenated, nor too wide for a terminal.
	sed -n 's/^ \*     \([{ ]*"[a-z].*\)/\1/p' "$repo/include/vmm.h" >"$tmp/json"
	for page in vmm_stats vmm_device_list; do
		groff -man -Tutf8 -P-cbou "$tmp/man/$page.3"
	done >"$tmp/printed" 2>"$messages"
	missing=$(while IFS= read -r line; do
		grep -qF -- "$line" "$tmp/printed" || echo "$line"
	done <"$tmp/json")
	if [ -s "$tmp/json" ] && [ -z "$missing" ] && ! LC_ALL=C.UTF-8 grep -E '^.{81}' "$tmp/printed" >>"$messages"; then
		ok 'man pages: JSON is as the header has it'
	else
		not_ok 'man pages: JSON is as the header has it' "missing: $missing" "$messages"
	fi
else
	skip 'man pages: how groff prints them' 'no groff here'
fi
finish
