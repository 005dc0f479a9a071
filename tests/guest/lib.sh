# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# What the guest tests share: TAP, a temporary folder, running vmm, and runs in the nested test host. Sourced, not
# run.
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

# expect NAME STATUS TEXT -- COMMAND...: its exit status, and what it prints, in $console, must contain. TEXT '': it
# prints nothing.
expect() {
	local name=$1 wanted=$2 text=$3
	shift 4
	tap_shown=
	timeout -k 5 60 "$@" </dev/null >"$console" 2>&1
	status=$?
	if [ "$status" != "$wanted" ]; then
		not_ok "$name" "exit status $status, wanted $wanted" "$console"
	elif [ -z "$text" ] && [ -s "$console" ]; then
		not_ok "$name" 'it prints something' "$console"
	elif [ -n "$text" ] && ! grep -qF -- "$text" "$console"; then
		not_ok "$name" "no \"$text\"" "$console"
	else
		ok "$name"
	fi
}

# until_true COMMAND...: something outside of which no event tells; at most 30 seconds.
until_true() {
	for _ in $(seq 300); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.1
	done
	return 1
}

# need_machine GUEST: vmm, the bare-metal guest and /dev/kvm, or the script ends; and a folder for the sockets of VMs.
need_machine() {
	[ -x "$vmm" ] || bail_out "$vmm is not there: make"
	[ -e "$build/guest/$1.elf" ] || bail_out "$build/guest is not there: make guests"
	if ! { exec 9<>/dev/kvm; } 2>/dev/null; then
		echo "1..0 # SKIP /dev/kvm cannot be opened"
		exit 0
	fi
	exec 9>&-
	export XDG_RUNTIME_DIR=$tmp/run
	mkdir "$XDG_RUNTIME_DIR"
}

# wait_for_end PID SECONDS: of any process; false if it lives on.
wait_for_end() {
	timeout "$2" tail -s 0.3 --pid="$1" -f /dev/null
}

# ---- tests that need a KVM which runs stock kernels ----

# Seconds without a line after which an emulated host is taken for dead: no test is silent for as long.
silence=${VMM_TEST_SILENCE:-600}

# take_line LINE: of what such tests print. Numbers the results; notes what is done and how it ended.
take_line() {
	local name left=()
	case $1 in
	'ok '* | 'not ok '*)
		tap_count=$((tap_count + 1))
		name=ok
		if [ "${1%% *}" = not ]; then
			name='not ok'
			tap_failed=$((tap_failed + 1))
		fi
		printf '%s\n' "$name $tap_count - ${1#* - }"
		return
		;;
	'# done '*)
		for name in "${todo[@]}"; do
			[ "# done $name" = "${1% [0-9]* s}" ] || left+=("$name")
		done
		todo=("${left[@]}")
		;;
	'# status '*) status=${1#\# status } ;;
	esac
	printf '%s\n' "$1"
}

# run_todo [OPTION...] -- COMMAND...: COMMAND with the tests in the array `todo` behind it, in the nested test host
# or, where its KVM can, on this machine; the options are those of testhost/run-if-needed. It prints TAP, numbered
# or not and without a plan, and `# done TEST SECONDS s` after each test. Ends the script.
run_todo() {
	local attempt line lines host why reason patience=()
	reason=$("$repo/tests/testhost/needed") && patience=(-t "$silence")
	echo "# $reason"
	# QEMU's emulation of nested virtualization is not perfect: a test host that dies (125), or stands still,
	# says nothing about vmm. Then the tests that are left get a fresh one, twice at most.
	for attempt in 1 2 3; do
		exec {lines}< <(
			"$repo/tests/testhost/run-if-needed" "$@" "${todo[@]}"
			echo "# status $?"
		)
		host=$!
		while IFS= read -r "${patience[@]}" -u "$lines" line || { why=$? && false; }; do
			take_line "$line"
		done
		# More than 128: read waited for too long. The host ends with the one who started it.
		if [ "$why" -gt 128 ]; then
			echo "# nothing from the test host in $silence s"
			kill "$host"
			cat <&"$lines" >/dev/null
			status=125
		fi
		exec {lines}<&-
		if [ "$status" != 125 ] || [ "$attempt" = 3 ]; then
			break
		fi
		echo "# the test host died; once more for ${todo[*]}"
	done
	[ "$status" = 0 ] || bail_out "status $status, with these tests left: ${todo[*]}"
	finish
}
