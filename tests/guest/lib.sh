# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What the guest tests share: TAP, a temporary folder, and running vmm. Sourced, not run.
#
# Sets $repo, $build (VMM_BUILD, default build), $vmm, and $tmp, a folder that is removed at the end,
# together with the processes in $pids.
set -u

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck disable=SC2034 # for those who source this
build=$(realpath -m "${VMM_BUILD:-$repo/build}")
vmm=$build/vmm
tmp=$(mktemp -d "${TMPDIR:-/tmp}/vmm-test.XXXXXX") || exit 1
pids=()

clean_up() {
	local pid
	for pid in "${pids[@]}"; do
		kill -KILL "$pid" 2>/dev/null && wait "$pid" 2>/dev/null
	done
	rm -rf "$tmp"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# ---- TAP ----

tap_count=0
tap_failed=0
tap_shown=

# ok NAME
ok() {
	tap_count=$((tap_count + 1))
	echo "ok $tap_count - $1"
}

# not_ok NAME WHY [FILE...]: the files (consoles, logs) are shown as comments.
not_ok() {
	local name=$1 why=$2 file
	shift 2
	tap_count=$((tap_count + 1))
	tap_failed=$((tap_failed + 1))
	echo "not ok $tap_count - $name"
	printf '%s\n' "$why" | sed 's/^/#   /'
	for file; do
		# Once is enough: several tests may share a console.
		case " $tap_shown " in *" $file "*) continue ;; esac
		[ -s "$file" ] || continue
		tap_shown="$tap_shown $file"
		echo "#   --- ${file##*/}"
		tr -d '\000\r' <"$file" | grep -av '^W ' | tail -n 60 | sed 's/^/#   | /'
	done
}

# skip NAME WHY
skip() {
	tap_count=$((tap_count + 1))
	echo "ok $tap_count - $1 # SKIP $2"
}

# The last line of a test: the plan and the exit status.
finish() {
	echo "1..$tap_count"
	[ "$tap_failed" = 0 ]
	exit
}

bail_out() {
	echo "Bail out! $*"
	exit 1
}

# ---- vmm ----

# run_vmm SECONDS ARGUMENT...: vmm to its end. Standard input is the caller's; the console is in
# $console, messages in $messages, the exit status (124: it took too long) in $status.
console=$tmp/console
messages=$tmp/messages
status=0
run_vmm() {
	local seconds=$1
	shift
	tap_shown=
	timeout --foreground -k 5 "$seconds" "$vmm" "$@" >"$console" 2>"$messages"
	# shellcheck disable=SC2034 # for those who source this
	status=$?
}

# wait_for_end PID SECONDS: of any process; false if it lives on.
wait_for_end() {
	timeout "$2" tail -s 0.3 --pid="$1" -f /dev/null
}
