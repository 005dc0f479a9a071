#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Consoles that people attach to, and what VMs count: vmm attach, vmm stats, vmm run --metrics. The
# guest is a bare-metal one with a prompt on its serial port.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need_machine shell
truncate -s 1M "$tmp/disk.img"

# soon NAME FILE TEXT: the file will have the text.
soon() {
	if until_true grep -qF -- "$3" "$2"; then ok "$1"; else not_ok "$1" "no \"$3\"" "$2"; fi
}

# check NAME COMMAND...
check() {
	local name=$1
	shift
	if "$@"; then ok "$name"; else not_ok "$name" "$* fails" "$console"; fi
}

pid_of() { "$vmm" qmp "$1" vmm-status | sed -n 's/.*"pid": \([0-9]*\).*/\1/p'; }
dead() { ! kill -0 "$1" 2>/dev/null; }

start=("$vmm" run --kernel "$build/guest/shell.elf" --memory 64M --net none --detach --name)

# ---- a console, through pipes ----

"${start[@]}" one --disk "$tmp/disk.img,id=d0" || bail_out 'it does not start'
one=$(pid_of one)
pids+=("$one")
expect 'status tells where its console is' 0 "console $XDG_RUNTIME_DIR/vmm/one/console.sock" -- \
	"$vmm" status one
expect 'status --json, too' 0 '"console": "' -- "$vmm" status one --json
if [ "$(stat -c %a "$XDG_RUNTIME_DIR/vmm/one/console.sock")" = 600 ]; then
	ok 'the console is for its owner only'
else
	not_ok 'the console is for its owner only' "$(ls -l "$XDG_RUNTIME_DIR/vmm/one")"
fi

# What is typed later goes through descriptor 8.
mkfifo "$tmp/keys"
"$vmm" attach one <"$tmp/keys" >"$tmp/first" 2>"$tmp/first.err" &
first=$!
pids+=("$first")
exec 8>"$tmp/keys"
echo 'echo alpha' >&8
soon 'a line goes to the guest, and its answer comes' "$tmp/first" alpha
exec 8>&-
printf 'echo beta\n' | "$vmm" attach one >"$tmp/second" 2>"$tmp/second.err" &
second=$!
pids+=("$second")
soon 'who attaches later is shown what was printed before' "$tmp/second" alpha
soon 'and the end of its input is not the end of the output' "$tmp/second" beta
wait "$first"
status=$?
check 'who was there before is told, with status 1' [ "$status" = 1 ]
soon 'and why' "$tmp/first.err" 'another vmm attach has the console now'

# ---- a console, on a terminal ----

# on_terminal COMMAND...: a terminal's output goes to $tmp/screen, what it reads comes from descriptor 8.
on_terminal() {
	rm -f "$tmp/screen"
	script -qefc "stty -g >$tmp/before; $*; echo status=\$?; stty -g >$tmp/after" "$tmp/screen" \
		<"$tmp/keys" >/dev/null 2>&1 &
	terminal=$!
	pids+=("$terminal")
	exec 8>"$tmp/keys"
}

if command -v script >/dev/null; then
	on_terminal "$vmm" attach one
	soon 'on a terminal it says how to leave' "$tmp/screen" 'Ctrl-a x detaches, and the VM goes on'
	soon 'the latest output is shown' "$tmp/screen" beta
	printf 'echo gamma\r' >&8
	soon 'keys go to the guest' "$tmp/screen" gamma
	printf '\001h' >&8
	soon 'Ctrl-a h helps' "$tmp/screen" 'detach: the VM goes on'
	printf '\001x' >&8
	soon 'Ctrl-a x detaches, with status 0' "$tmp/screen" status=0
	exec 8>&-
	wait "$terminal"
	check 'the terminal is as it was' cmp "$tmp/before" "$tmp/after"
	expect 'the VM goes on' 0 running -- "$vmm" status one
	on_terminal "$vmm" attach one
	soon 'one can attach again' "$tmp/screen" gamma
	kill -TERM "$(pgrep -x -P "$(pgrep -P "$terminal" | head -n 1)" vmm)" 2>/dev/null
	soon 'SIGTERM ends it' "$tmp/screen" status=143
	exec 8>&-
	wait "$terminal"
	check 'and the terminal is as it was' cmp "$tmp/before" "$tmp/after"
else
	skip 'a console on a terminal' 'there is no script(1)'
fi

# ---- a console whose output nobody reads ----

mkfifo "$tmp/unread"
exec 7<>"$tmp/unread"
dd if=/dev/zero of="$tmp/unread" bs=4096 oflag=nonblock status=none 2>/dev/null # until it is full
"$vmm" attach one </dev/null >"$tmp/third" 2>"$tmp/third.err" &
third=$!
pids+=("$third")
soon 'somebody is attached' "$tmp/third" alpha
"$vmm" attach one </dev/null >&7 2>"$tmp/unread.err" &
unread=$!
pids+=("$unread")
soon 'who has no room for output is attached instead' "$tmp/third.err" 'another vmm attach has the console now'
kill -TERM "$unread"
check 'SIGTERM ends it nevertheless' wait_for_end "$unread" 30
kill -KILL "$unread" 2>/dev/null
wait "$unread"
status=$?
check 'with status 143' [ "$status" = 143 ]
exec 7>&-

# ---- consoles that are not there ----

"${start[@]}" mute --serial none || bail_out 'it does not start'
mute=$(pid_of mute)
pids+=("$mute")
expect 'a VM without such a console' 1 'it has no console that can be attached to: start it with' -- \
	"$vmm" attach mute
expect 'a device that is none' 1 'its device d0 is no console' -- "$vmm" attach one d0
expect 'a VM that is not there' 1 'there is no VM of that name' -- "$vmm" attach nobody
expect '--serial attach needs a name' 2 'give the VM a --name' -- \
	"$vmm" run --kernel "$build/guest/shell.elf" --serial attach
"$vmm" run --kernel "$build/guest/shell.elf" --memory 64M --net none --name front --serial attach \
	</dev/null >"$tmp/front" 2>&1 &
front=$!
pids+=("$front")
until_true "$vmm" status front || bail_out 'it does not start'
printf 'echo delta\npoweroff\n' | timeout 60 "$vmm" attach front >"$console" 2>&1
status=$?
check 'a VM in the foreground has one with --serial attach, and its end is status 0' [ "$status" = 0 ]
check 'what it printed last arrives' grep -qF delta "$console"
check 'and it powers off' wait "$front"

# ---- statistics ----

# How often the guest was left for a port.
count() { "$vmm" stats one --json | sed -n 's/.*"io": \([0-9]*\).*/\1/p'; }
more() { [ "$(count)" -gt "$before" ]; }

expect 'stats shows CPUs' 0 vcpu0 -- "$vmm" stats one
expect 'exits by reason' 0 ' io' -- "$vmm" stats one
expect 'memory' 0 'memory 64 MiB' -- "$vmm" stats one
expect 'and disks' 0 'd0 ' -- "$vmm" stats one
expect 'with the time of a request, of which there was none' 0 ' - ' -- "$vmm" stats one
expect 'metrics have it, too' 0 'vmm_disk_seconds_total{vm="one",device="d0",operation="read"} 0.0' -- \
	"$vmm" stats one --prometheus
expect 'stats --json is what the VM tells' 0 '"uptime-ns":' -- "$vmm" stats one --json
expect 'qmp vmm-stats tells the same' 0 '"uptime-ns":' -- "$vmm" qmp one vmm-stats
before=$(count)
printf 'echo epsilon\n' | "$vmm" attach one >/dev/null 2>&1 &
pids+=("$!")
check 'what the guest does is counted' until_true more

expect 'stats of which VM?' 2 'of which VM' -- "$vmm" stats
expect 'an interval is a number' 2 'must be a number of seconds' -- "$vmm" stats one --follow --interval x
expect 'of a certain range' 2 'from 0.001 to 3600' -- "$vmm" stats one --follow --interval=4000
expect 'and goes with --follow' 2 'goes with --follow' -- "$vmm" stats one --interval 1
expect '--prometheus prints once' 2 'neither --json nor --follow' -- "$vmm" stats one --prometheus --json
expect 'stats of a VM that is not there' 1 'there is no VM of that name' -- "$vmm" stats nobody

"$vmm" stats one --follow --interval 0.05 >"$tmp/follow" 2>&1 &
follow=$!
"$vmm" stats one --follow --interval 0.05 --json >"$tmp/follow.json" 2>&1 &
follow_json=$!
pids+=("$follow" "$follow_json")
three() { [ "$(wc -l <"$1")" -ge 3 ]; }
check '--follow prints line after line' until_true three "$tmp/follow"
check 'with --json objects' until_true three "$tmp/follow.json"
check 'of the form TIME cpu …' grep -qE '^[0-9:]{8} cpu [0-9.]+% exits [0-9.kM]+ read ' "$tmp/follow"
check 'and one object each' grep -qE '^\{"name":"one",.*\}$|^\{"name": "one",.*\}$' "$tmp/follow.json"
if command -v script >/dev/null; then
	on_terminal "$vmm" stats one --follow --interval 0.05
	soon 'on a terminal it is a table that is redrawn' "$tmp/screen" 'per second:'
fi

# ---- metrics ----

odd='o"d\d'
"${start[@]}" "$odd" --metrics "$tmp/odd.prom,interval=0.05" || bail_out 'it does not start'
odd_pid=$(pid_of "$odd")
pids+=("$odd_pid")
expect 'metrics of one VM' 0 'vmm_running{vm="one"} 1' -- "$vmm" stats one --prometheus
expect 'metrics of all' 0 'vmm_running{vm="mute"} 1' -- "$vmm" stats --prometheus
check 'odd names are escaped' grep -qF 'vmm_running{vm="o\"d\\d"} 1' "$console"
if command -v promtool >/dev/null; then
	check 'promtool finds nothing wrong' promtool check metrics <"$console"
fi
check 'a VM writes its metrics to a file' until_true grep -qF 'vmm_vcpu_exits_total{vm="o\"d\\d"' "$tmp/odd.prom"
inode=$(stat -c %i "$tmp/odd.prom")
replaced() { [ "$(stat -c %i "$tmp/odd.prom")" != "$inode" ] || ! grep -q running "$tmp/odd.prom"; }
check 'which is replaced as a whole' until_true replaced
"$vmm" kill "$odd"
until_true dead "$odd_pid" || bail_out 'it does not end'
check 'and goes with the VM' [ ! -e "$tmp/odd.prom" ]
check 'with all that was beside it' [ -z "$(ls "$tmp"/odd.prom* 2>/dev/null)" ]
# As somebody else might make it in a folder that is everyone's. With --detach the number of the process would not
# be known.
# shellcheck disable=SC2016 # for that shell
bash -c 'mkfifo "$1.$$.tmp" && shift && exec "$@"' bash "$tmp/fifo.prom" \
	"$vmm" run --kernel "$build/guest/shell.elf" --memory 64M --net none --name fifo --serial none \
	--metrics "$tmp/fifo.prom,interval=0.05" </dev/null >"$tmp/fifo" 2>&1 &
fifo=$!
pids+=("$fifo")
check 'a pipe in the place of its file does not hold the VM' until_true grep -q 'vm="fifo"' "$tmp/fifo.prom"
"$vmm" kill fifo
wait_for_end "$fifo" 30
check 'it ends, and leaves nothing' [ -z "$(ls "$tmp"/fifo.prom* 2>/dev/null)" ]
expect 'a file that is none' 1 'is no ordinary file' -- "${start[@]}" two --metrics /dev/null
echo 'keep this' >"$tmp/notes"
expect 'a file with other things' 1 'is not a file of metrics' -- "${start[@]}" two --metrics "$tmp/notes"
check 'it is left alone' grep -qx 'keep this' "$tmp/notes"
expect 'a folder that is not there' 1 'cannot write it: No such file' -- "${start[@]}" two --metrics "$tmp/no/x"
expect 'no file' 2 'needs a value' -- "${start[@]}" two --metrics ,interval=1
expect 'another key' 2 'interval=SECONDS, and nothing else' -- "${start[@]}" two --metrics "$tmp/x,every=1"
expect 'an interval that is none' 2 'must be a number of seconds' -- "${start[@]}" two --metrics "$tmp/x,interval=0"

# ---- the end ----

"$vmm" attach one </dev/null >"$tmp/last" 2>&1 &
last=$!
pids+=("$last")
soon 'somebody is attached' "$tmp/last" alpha
kill -KILL "$one"
wait "$last"
status=$?
check 'who is attached to a VM that is killed ends with status 1' [ "$status" = 1 ]
check 'and is told' grep -qF 'killed' "$tmp/last"
wait "$follow"
status=$?
check 'who follows its statistics, too' [ "$status" = 1 ]
check 'and is told' grep -qF 'there was no SHUTDOWN' "$tmp/follow"
wait "$follow_json"
status=$?
check 'with --json as well' [ "$status" = 1 ]
check 'on a terminal as well' until_true grep -qF status=1 "$tmp/screen"
exec 8>&-
until_true dead "$one"
expect 'ls cleans up after it' 0 mute -- "$vmm" ls
check 'its consoles as well' [ ! -e "$XDG_RUNTIME_DIR/vmm/one" ]
"$vmm" stats mute --follow --interval 0.05 --json >"$tmp/mute.json" 2>"$tmp/mute.messages" &
follow=$!
pids+=("$follow")
check 'statistics of another one' until_true three "$tmp/mute.json"
"$vmm" kill mute
wait "$follow"
status=$?
check 'who follows those of a VM that ends in order ends with status 0' [ "$status" = 0 ]
check 'and says nothing' [ ! -s "$tmp/mute.messages" ]

finish
