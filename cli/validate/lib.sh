# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# What the drivers' scripts share; runs in the guest (busybox sh).
#
# A script registers its checks with "check NAME SECONDS 'TITLE'", each in front of a function
# check_NAME. That runs in a shell of its own with -e and -x: the first command that fails ends it, and the
# trace goes to the console. It may call:
#
#   figure TEXT        what the table shows in its last column
#   fail TEXT          the check has failed
#   skip TEXT          it does not apply here
#   need TOOL...       skip where the host lacks a tool
#   need_devices       skip where the host could not give an optional device
#   ask WORD...        have something done outside; $answer is what came back. Fails if that failed
#   try WORD...        the same, but false instead of the end of the check
#
# prepare() makes the devices ready for any of the checks; it runs first in a VM that goes on where another one
# has ended, and after the reboot in check_reboot, for resume_reboot.

# Debian's busybox runs its own applet where a program has the same name: the program is meant.
for file in /bin/*; do
	case $file in
	*[!a-z0-9_/]* | */busybox) ;;
	*) [ -L "$file" ] || eval "${file##*/}() { $file \"\$@\"; }" ;;
	esac
done

# The second serial port is the control channel.
stty -F /dev/ttyS1 raw -echo
exec 3<>/dev/ttyS1

checks=
slow=1 after=
read -r cmdline </proc/cmdline
for word in $cmdline; do
	case $word in
	validate.slow=*) slow=${word#*=} ;;
	validate.after=*) after=${word#*=} ;;
	esac
done

say() {
	printf '%s\n' "$*" >&3
}

check() { # NAME SECONDS TITLE
	checks="$checks $1:$2"
}

figure() {
	printf '%s\n' "$*" >/run/figure
}

fail() {
	figure "$@"
	exit 1
}

skip() {
	figure "$@"
	exit 77
}

need() {
	for tool; do
		[ -x "/bin/$tool" ] || skip "$tool is not installed"
	done
}

try() {
	say "ask $*"
	read -r answer <&3
	case $answer in
	ok*)
		answer=${answer#ok}
		answer=${answer# }
		;;
	*)
		answer=${answer#error }
		return 1
		;;
	esac
}

ask() {
	try "$@" || fail "$1: $answer"
}

# Skip where the host could not give an optional device.
need_devices() {
	ask left-out
	[ -z "$answer" ] || skip "$answer"
}

# value NAME: a number or word of the JSON in $answer.
value() {
	printf '%s\n' "$answer" | sed -n "s/.*\"$1\":\"\{0,1\}\([^,\"}]*\).*/\1/p"
}

# mib N [LEAST]: N MiB, or what is left of that on a slow host, but at least LEAST (1); in MiB.
mib() {
	n=$(($1 / slow))
	[ "$n" -ge "${2:-1}" ] || n=${2:-1}
	echo "$n"
}

# Milliseconds since the guest started.
milliseconds() {
	read -r t _ </proc/uptime
	echo "${t%.*}${t#*.}0"
}

# per_second MIB MS: "N MiB/s"
per_second() {
	rate=$(($1 * 1024000 / ($2 > 0 ? $2 : 1)))
	if [ "$rate" -lt 10240 ]; then
		echo "$rate KiB/s"
	else
		echo "$((rate / 1024)) MiB/s"
	fi
}

# wait_until SECONDS COMMAND...: true once the command is; it is tried ten times a second.
wait_until() {
	until_ms=$(($(milliseconds) + $1 * 1000 * (slow > 4 ? 4 : slow)))
	shift
	until "$@"; do
		[ "$(milliseconds)" -lt "$until_ms" ] || return 1
		usleep 100000
	done
}

# The result of a check that has ended with status $2.
report() {
	text=$(head -c 300 /run/figure 2>/dev/null | tr '\n' ' ')
	case $2 in
	0) say "pass $1 $text" ;;
	77) say "skip $1 $text" ;;
	*)
		echo "---- $1 failed:"
		tail -n 70 /run/trace
		[ -n "$text" ] || text="status $2 after: $(grep '^+' /run/trace | tail -n 1 | head -c 200)"
		say "fail $1 $text"
		;;
	esac
}

run_check() { # NAME FUNCTION
	rm -f /run/figure
	echo "==== $1"
	(
		set -ex
		"$2"
	) >/run/trace 2>&1
	report "$1" $?
}

run_checks() {
	say hello
	read -r word from <&3
	# The first check of a driver does this in its own way.
	[ "$word$after" = go ] || prepare >/run/trace 2>&1 || cat /run/trace
	for item in $checks; do
		name=${item%:*}
		if [ "$word" = resume ]; then
			[ "$name" = "$from" ] || continue
			word=go
			run_check "$name" "resume_$name"
			continue
		fi
		if [ -n "$after" ]; then
			[ "$name" != "$after" ] || after=
			continue
		fi
		say "begin $name ${item#*:}"
		run_check "$name" "check_$name"
	done
}

# ---- what every driver shows ----

# bind_cycle DRIVER [BUS NAME]: take the driver's devices (virtio's, or those on a bus whose names begin so) away
# from it, and give them back.
bind_cycle() {
	folder=/sys/bus/${2:-virtio}/drivers/$1
	devices=
	for device in "$folder/${3:-virtio}"*; do
		devices="$devices ${device##*/}"
	done
	for device in $devices; do
		echo "$device" >"$folder/unbind"
	done
	for device in $devices; do
		[ ! -e "$folder/$device" ]
	done
	for device in $devices; do
		echo "$device" >"$folder/bind"
	done
	figure "$(echo $devices | wc -w) devices"
}

built_in() { # MODULE
	tr - _ <"/lib/modules/$(uname -r)/modules.builtin" | grep -q "/$1\.ko\$"
}

# module_cycle MODULE: unload and load it.
module_cycle() {
	! built_in "$1" || skip "$1 is built into this kernel"
	[ -d "/sys/module/$1" ] || fail "there is no module $1"
	rmmod "$1"
	[ ! -d "/sys/module/$1" ]
	modprobe "$1"
}

# The kernel has complained about nothing so far.
quiet_kernel() {
	dmesg | grep -E 'WARNING: CPU|BUG:|Oops|Call Trace|blocked for more than|general protection' >/run/bad || return 0
	fail "$(head -n 1 /run/bad)"
}
