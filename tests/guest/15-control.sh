#!/bin/bash
# SPDX-License-Identifier: MIT
#
# VMs that run in the background and are driven from outside: names, sockets, the commands of vmm and
# raw QMP. The guest is a bare-metal one that does nothing.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

need_machine exit
disk=$tmp/disk.img
more=$tmp/more.img
truncate -s 1M "$disk" "$more"

# exit.elf without its last wish.
idle=$tmp/idle.elf
at=$(LC_ALL=C grep -aboP '\x31\xc0\xe6\xf4' "$build/guest/exit.elf" | head -n 1 | cut -d: -f1)
cp "$build/guest/exit.elf" "$idle"
printf '\220\220\220\220' | dd of="$idle" bs=1 seek="$at" conv=notrunc status=none

start=("$vmm" run --kernel "$idle" --memory 64M --cpus 2 --detach --net none)

# ---- a VM in the background ----

expect 'vmm run --detach returns when the guest runs' 0 '' -- \
	env -C "$tmp" "${start[@]}" --name one --disk "$disk,id=d0" --device virtio-scsi,id=scsi0
one=$("$vmm" qmp one vmm-status | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
[ -n "$one" ] || bail_out 'it has no process id'
pids+=("$one")
expect 'status shows it' 0 'status  running' -- "$vmm" status one
expect 'status --json is JSON' 0 '"memory": 67108864' -- "$vmm" status one --json
expect 'ls lists it' 0 'one                  running' -- "$vmm" ls
if [ "$(stat -c %a "$XDG_RUNTIME_DIR/vmm/one/control.sock")" = 600 ]; then
	ok 'its socket is for its owner only'
else
	not_ok 'its socket is for its owner only' "$(ls -l "$XDG_RUNTIME_DIR/vmm/one")"
fi
expect 'a second VM of the same name is refused' 1 'a VM with the name one runs already' -- \
	"${start[@]}" --name one
expect 'and the first one goes on' 0 'running' -- "$vmm" status one
expect 'a VM whose name leads nowhere says so' 1 'the VM lone cannot be controlled by its name' -- \
	env -u XDG_RUNTIME_DIR "$vmm" run --kernel "$build/guest/exit.elf" --memory 64M --serial none --net none \
	--device debug-exit --name lone
expect 'but not where nobody is to control it' 1 '' -- \
	env -u XDG_RUNTIME_DIR "$vmm" run --kernel "$build/guest/exit.elf" --memory 64M --serial none --net none \
	--device debug-exit --name lone --control none
expect 'a second VM at the same socket is refused' 1 'another VM is already controlled' -- \
	"$vmm" run --kernel "$idle" --memory 64M --serial none \
	--control "unix:$XDG_RUNTIME_DIR/vmm/one/control.sock"
expect 'a runtime folder that is not there is named' 1 "cannot make the folder of $tmp/none/vmm/two" -- \
	env XDG_RUNTIME_DIR="$tmp/none" "${start[@]}" --name two
expect 'a VM that fails to start says so with --detach' 1 'cannot open' -- \
	"${start[@]}" --name two --disk "$tmp/none.img"
if [ -e "$XDG_RUNTIME_DIR/vmm/two" ]; then
	not_ok 'and leaves nothing' 'its folder is there'
else
	ok 'and leaves nothing'
fi

# A lock that the caller has goes with the caller.
expect 'a VM in the background' 0 '' -- flock "$tmp/lock" "${start[@]}" --name two
expect 'holds no lock of its caller' 0 '' -- flock -n "$tmp/lock" true
expect 'and is gone' 0 '' -- "$vmm" kill two
# Its console is found from another folder, too.
(cd "$tmp" && exec "${start[@]}" --control unix:near.sock) || bail_out 'it does not start'
expect 'a control socket that is named from here' 0 "attach:$(realpath "$tmp")/near.sock.console" -- \
	"$vmm" device ls "$tmp/near.sock"
expect 'and is gone, too' 0 '' -- "$vmm" kill "$tmp/near.sock"

# ---- driving it ----

"$vmm" events one --follow >"$tmp/events" 2>&1 &
watcher=$!
pids+=("$watcher")
# When it has connected, no one tells: so there are events until it has printed one.
heard() {
	[ -n "$(timeout 1 head -c 1 < <(exec tail -c +1 -f "$1"))" ]
}
tries=30
until "$vmm" pause one && "$vmm" resume one && heard "$tmp/events"; do
	[ $((tries -= 1)) != 0 ] || bail_out 'no event arrives'
done
expect 'pause' 0 '' -- "$vmm" pause one
expect 'a paused VM says so' 0 'paused' -- "$vmm" status one
expect 'stop says so when it gives up' 124 'the VM is paused' -- "$vmm" stop one --timeout 0.1
expect 'a device for a paused VM' 0 '' -- "$vmm" device add one virtio-rng,id=r0
expect 'device del says so, too' 124 'the VM is paused' -- "$vmm" device del one r0 --timeout 0.1
expect 'the device goes' 0 '' -- "$vmm" device del one r0 --force
expect 'reset while paused' 0 '' -- "$vmm" reset one
expect 'resume' 0 '' -- "$vmm" resume one
expect 'powerdown' 0 '' -- "$vmm" powerdown one
expect 'stop gives up in time with a guest that has no ears' 124 'vmm kill one' -- \
	"$vmm" stop one --timeout 0.2
expect 'balloon tells' 0 '64 MiB' -- "$vmm" balloon one
expect 'balloon asks' 0 '' -- "$vmm" balloon one 48M
expect 'balloon tells what it has asked' 0 '64 MiB, asked to have 48 MiB' -- "$vmm" balloon one
expect 'with --json as well' 0 '"target": 50331648' -- "$vmm" balloon one --json
expect 'the target has been set' 0 '"target": 50331648' -- \
	"$vmm" device act one virtio-balloon0 status
expect 'device ls' 0 'scsi0' -- "$vmm" device ls one
expect 'a drive comes' 0 '' -- "$vmm" device add one scsi-cd,id=cd0,target=1
expect 'its tray opens' 0 '{}' -- "$vmm" qmp one blockdev-open-tray '{"id":"cd0"}'
expect 'it goes' 0 '' -- "$vmm" device del one cd0
expect 'device add' 0 '' -- "$vmm" device add one "scsi-disk,path=$more,id=s0"
expect 'it is listed' 0 "path=$more" -- "$vmm" device ls one
expect 'device del' 0 '' -- "$vmm" device del one s0
expect 'it is gone' 1 "Device 's0' not found ('vmm device ls one' lists them)" -- \
	"$vmm" device del one s0
expect 'a key that is on or off may stand alone' 0 '' -- \
	"$vmm" device add one "scsi-disk,readonly,path=$more,id=s0"
expect 'it is on' 0 'readonly=on' -- "$vmm" device ls one
expect 'it goes' 0 '' -- "$vmm" device del one s0
# The VM has another folder, where there is a file of that name, too.
mkdir "$tmp/there, too"
truncate -s 1M "$tmp/there, too/other.img" "$tmp/other.img"
from_there=(env -C "$tmp/there, too" "$vmm")
expect 'a relative path is that of who adds the device' 0 '' -- \
	"${from_there[@]}" device add one scsi-disk,path=other.img,id=s0
expect 'and not one of the VM' 0 '"path": "'"$tmp"'/there, too/other.img"' -- "$vmm" device act one s0 status
expect 'it goes' 0 '' -- "$vmm" device del one s0
expect 'an empty drive' 0 '' -- "$vmm" device add one scsi-cd,id=cd0,target=1
expect 'a medium that comes has such a path as well' 0 '"size": 1048576' -- "${from_there[@]}" device act one cd0 change other.img
expect 'it is the one' 0 "$tmp/there, too/other.img" -- "$vmm" device act one cd0 status
expect 'with its key' 0 '"size": 1048576' -- "${from_there[@]}" device act one cd0 change force=on,path=other.img
expect 'it is the one' 0 "$tmp/there, too/other.img" -- "$vmm" device act one cd0 status
expect 'the drive goes' 0 '' -- "$vmm" device del one cd0
expect 'what is not UTF-8 is not left out' 2 'it is not UTF-8' -- \
	"$vmm" device add one $'scsi-cd,path=\377,id=cd0'
expect 'a serial port does not come' 1 'isa-serial devices can only be added before' -- \
	"$vmm" device add one isa-serial,index=2
expect 'a PCI device is added' 0 '' -- "$vmm" device add one virtio-rng,id=r1
expect 'it is on the bus' 0 '"qdev_id": "r1"' -- "$vmm" qmp one query-pci
expect 'a guest that has no ears keeps it' 124 'has not let go of r1' -- \
	"$vmm" device del one r1 --timeout 0.2
expect 'it is still there, and leaving' 0 '"leaving": true' -- "$vmm" device ls one --json
expect 'without --json as well' 0 '(leaving)' -- "$vmm" device ls one
expect 'the guest can be asked again' 124 'has not let go of r1' -- "$vmm" device del one r1 --timeout=0.1
expect 'it is pulled out' 0 '' -- "$vmm" device del one r1 --force
expect 'it is gone then' 1 "Device 'r1' not found" -- "$vmm" device del one r1 --force
expect 'device: an unknown word' 2 "'lst' is not ls, add, del or act; did you mean ls?" -- "$vmm" device lst one
expect 'device: too few words' 2 'usage: vmm device add NAME CLASS' -- "$vmm" device add one
expect '--force is for device del' 2 'are for' -- "$vmm" device ls one --force
expect 'another one' 0 '' -- "$vmm" device add one virtio-rng,id=r2
"$vmm" device del one r2 >"$console" 2>&1 &
waiter=$!
pids+=("$waiter")
leaving() { "$vmm" device ls one --json | grep -q '"leaving"'; }
until_true leaving || bail_out 'nobody asks for r2'
expect 'the guest restarts' 0 '' -- "$vmm" reset one
if wait "$waiter" && [ ! -s "$console" ]; then
	ok 'with that it has let go, and who waits is told'
else
	not_ok 'with that it has let go, and who waits is told' '' "$console"
fi
expect 'over MMIO none comes' 1 'can only be added before the VM starts' -- \
	"$vmm" device add one virtio-rng,transport=mmio
expect 'disk resize' 0 '' -- "$vmm" disk resize one d0 2M
if [ "$(stat -c %s "$disk")" = $((2 << 20)) ]; then
	ok 'the image has grown'
else
	not_ok 'the image has grown' "$(stat -c %s "$disk") bytes"
fi
expect 'net link without a card' 1 "Device 'net0' not found" -- "$vmm" net link one net0 down

# Fifty times, while others ask.
for i in $(seq 50); do
	"$vmm" device add one "scsi-disk,path=$more,id=s0" &&
		"$vmm" device del one s0 || break
	[ $((i % 10)) != 0 ] || "$vmm" status one >/dev/null || break
done >"$tmp/fifty" 2>&1
if [ "$i" = 50 ] && [ ! -s "$tmp/fifty" ]; then
	ok 'a disk comes and goes 50 times'
else
	not_ok 'a disk comes and goes 50 times' "round $i" "$tmp/fifty"
fi

# ---- backends with a name ----

expect 'a stream is added' 0 '{}' -- "$vmm" qmp one chardev-add \
	'{"id":"c0","backend":{"type":"socket","data":{"addr":{"type":"unix","data":{"path":"'"$tmp/c0"'"}},"server":true,"wait":false}}}'
if [ -S "$tmp/c0" ]; then
	ok 'its socket is there before any device'
else
	not_ok 'its socket is there before any device' "$(ls -l "$tmp")"
fi
expect 'a controller for ports' 0 '' -- "$vmm" device add one virtio-serial,id=ser0
expect 'a port takes it' 0 '{}' -- "$vmm" qmp one device_add \
	'{"driver":"virtserialport","id":"p0","bus":"ser0.0","chardev":"c0","name":"org.x"}'
expect 'it is in use then' 1 'p0 has the chardev c0' -- "$vmm" qmp one chardev-remove '{"id":"c0"}'
expect 'the port goes' 0 '' -- "$vmm" device del one p0
expect 'another port takes it' 0 '' -- "$vmm" device add one serial-port,id=p1,chardev=c0
expect 'and goes' 0 '' -- "$vmm" device del one p1
expect 'the stream goes' 0 '{}' -- "$vmm" qmp one chardev-remove '{"id":"c0"}'
if [ ! -e "$tmp/c0" ]; then
	ok 'with its socket'
else
	not_ok 'with its socket' "$(ls -l "$tmp")"
fi
drive='{"driver":"raw","node-name":"n0","file":{"driver":"file","filename":"'$more'"},"read-only":false,"discard":"unmap"}'
expect 'a drive is added' 0 '{}' -- "$vmm" qmp one blockdev-add "$drive"
expect 'its image is locked' 1 'lock' -- "$vmm" device add one "scsi-disk,path=$more,id=s0"
expect 'a disk takes it' 0 '{}' -- "$vmm" qmp one device_add \
	'{"driver":"scsi-hd","id":"s0","drive":"n0","bus":"scsi0.0","scsi-id":1}'
expect 'it is in use then' 1 's0 has the drive n0' -- "$vmm" qmp one blockdev-del '{"node-name":"n0"}'
expect 'it is grown under its own name' 0 '{}' -- "$vmm" qmp one block_resize '{"node-name":"n0","size":2097152}'
expect 'the disk goes' 0 '' -- "$vmm" device del one s0
expect 'the drive goes' 0 '{}' -- "$vmm" qmp one blockdev-del '{"node-name":"n0"}'
expect 'its image is free again' 0 '' -- "$vmm" device add one "scsi-disk,path=$more,id=s0"
expect 'for whoever wants it' 0 '' -- "$vmm" device del one s0

# ---- a guest that lets go ----

rounds=5
"$vmm" run --kernel "$build/guest/hotplug.elf" --append "rounds=$rounds" --memory 64M --cpus 2 --net none \
	--device debug-exit --serial "file:$tmp/hot.console" --timeout 100 --name hot </dev/null >"$tmp/hot.messages" 2>&1 &
hot=$!
pids+=("$hot")
hot_says() { grep -aqsx "$1" <(tr -d '\r' <"$tmp/hot.console"); }
there() { "$vmm" status hot; }
until_true there || bail_out 'the VM hot does not start'
kept=$tmp/kept.img
truncate -s 1M "$kept"
expect 'a drive for a guest' 0 '{}' -- "$vmm" qmp hot blockdev-add '{"driver":"file","node-name":"n0","filename":"'"$kept"'"}'
# A disk with an image of its own and one with the drive, in turn.
sources=("path=$more" drive=n0)
for i in $(seq "$rounds"); do
	# The next one may come to the slot before the guest has had a look at it empty.
	"$vmm" device add hot "virtio-blk,${sources[i % 2]},id=d" && until_true hot_says "in use $i" &&
		"$vmm" device del hot d && until_true hot_says "let go $i" || break
done >"$tmp/hot.rounds" 2>&1
# The last one may find the VM on its way out.
wait "$hot"
status=$?
if [ "$i" = "$rounds" ] && [ "$status" = 0 ] && ! grep -aq '^not ok' "$tmp/hot.console"; then
	ok 'a guest uses PCI devices that come, and lets go of them when asked'
else
	not_ok 'a guest uses PCI devices that come, and lets go of them when asked' \
		"round $i of $rounds, exit status $status" "$tmp/hot.rounds" "$tmp/hot.console" "$tmp/hot.messages"
fi

# ---- raw QMP ----

expect 'qmp runs one command' 0 '"running": true' -- "$vmm" qmp one query-status
expect 'qmp takes arguments' 0 '{}' -- "$vmm" qmp one block_resize '{"device":"d0","size":3145728}'
expect 'qmp tells how long requests took' 0 '"rd_total_time_ns": 0' -- "$vmm" qmp one query-blockstats
expect 'qmp tells errors' 1 "has not been found ('vmm qmp one query-commands' lists them)" -- "$vmm" qmp one frobnicate
printf '%s\n' 'garbage' '{"execute":"query-name","id":7}' | "$vmm" qmp one >"$console" 2>&1
if grep -q 'JSON parse error' "$console" && grep -q '{"return": {"name": "one"}, "id": 7}' "$console"; then
	ok 'qmp passes standard input on, and waits for the answers'
else
	not_ok 'qmp passes standard input on, and waits for the answers' '' "$console"
fi

# ---- the end ----

expect 'kill' 0 '' -- "$vmm" kill one
if wait_for_end "$one" 30 && wait "$watcher"; then
	ok 'the VM and who watched it have ended'
else
	not_ok 'the VM and who watched it have ended' '' "$tmp/events"
fi
for event in STOP RESUME RESET POWERDOWN 'DEVICE_DELETED {"device": "s0"' \
	'DEVICE_TRAY_MOVED {"device": "cd0", "id": "cd0", "tray-open": true}' \
	'SHUTDOWN {"guest": false, "reason": "host-qmp-quit"}'; do
	if grep -qF "$event" "$tmp/events"; then
		ok "an event was printed: $event"
	else
		not_ok "an event was printed: $event" '' "$tmp/events"
	fi
done
if [ -z "$(ls -A "$XDG_RUNTIME_DIR/vmm")" ]; then
	ok 'nothing of it is left'
else
	not_ok 'nothing of it is left' "$(ls -R "$XDG_RUNTIME_DIR/vmm")"
fi
expect 'it is not there any more' 1 'there is no VM of that name' -- "$vmm" status one

# One in the foreground, whose user is elsewhere.
"$vmm" run --kernel "$idle" --memory 64M --serial none --net none --name fore </dev/null >"$tmp/fore" 2>&1 &
fore=$!
pids+=("$fore")
until_true "$vmm" status fore || bail_out 'it does not start'
expect 'kill, of one in the foreground' 0 '' -- "$vmm" kill fore
wait "$fore"
ended=$?
if [ "$ended" = 1 ] && [ "$(cat "$tmp/fore")" = 'vmm: the VM was ended over its control socket' ]; then
	ok 'it says why it ended'
else
	not_ok 'it says why it ended' "exit status $ended" "$tmp/fore"
fi

# A VM that is killed cannot tidy up: its socket stays, and harms nobody.
expect 'another VM' 0 '' -- "${start[@]}" --name two
two=$("$vmm" qmp two vmm-status | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
pids+=("$two")
kill -KILL "$two"
wait_for_end "$two" 30 || bail_out 'it does not die'
expect 'a dead VM is no VM' 1 'there is no VM of that name' -- "$vmm" status two
expect 'its name can be used again' 0 '' -- "${start[@]}" --name two
two=$("$vmm" qmp two vmm-status | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
pids+=("$two")
"$vmm" events two >"$tmp/two.events" 2>&1 &
watcher=$!
pids+=("$watcher")
tries=30
until "$vmm" pause two && "$vmm" resume two && heard "$tmp/two.events"; do
	[ $((tries -= 1)) != 0 ] || bail_out 'no event arrives'
done
"$vmm" stop two >"$tmp/two.stop" 2>&1 &
stopper=$!
pids+=("$stopper")
pressed() { grep -q POWERDOWN "$tmp/two.events"; }
until_true pressed || bail_out 'nobody presses the power button'
# One that does not answer, and then dies while somebody waits for it.
kill -STOP "$two"
stopped() { ! grep -qv '^[0-9]* (.*) T' /proc/"$two"/task/*/stat; } # each thread, in its time
until_true stopped || bail_out 'it does not stop'
expect 'ls does not wait for a VM that is silent' 0 'two                  silent                -    -          -' -- "$vmm" ls
expect 'and knows its process' 0 "\"pid\": $two" -- "$vmm" ls --json
expect 'a command says which process that is' 1 "its process, $two, is held up" -- "$vmm" kill two
expect 'names that cannot be had are no empty list' 1 'Not a directory' -- env XDG_RUNTIME_DIR="$disk" "$vmm" ls
"$vmm" status two >"$console" 2>&1 &
waiter=$!
pids+=("$waiter")
kill -KILL "$two"
wait "$waiter"
waited=$?
if [ "$waited" = 1 ] && [ "$(wc -l <"$console")" = 1 ]; then
	ok 'who waits for a VM that dies is told'
else
	not_ok 'who waits for a VM that dies is told' "exit status $waited" "$console"
fi
wait_for_end "$two" 30 || bail_out 'it does not die'
wait "$watcher"
watched=$?
if [ "$watched" = 1 ] && grep -q 'there was no SHUTDOWN' "$tmp/two.events"; then
	ok 'and who watches its events as well'
else
	not_ok 'and who watches its events as well' "exit status $watched" "$tmp/two.events"
fi
wait "$stopper"
stopped=$?
if [ "$stopped" = 1 ] && [ "$(wc -l <"$tmp/two.stop")" = 1 ]; then
	ok 'and who has asked it to power off'
else
	not_ok 'and who has asked it to power off' "exit status $stopped" "$tmp/two.stop"
fi
# A VM that takes the name over holds a lock until its socket is in place.
expect 'ls lets be what a VM is about to use' 0 'NAME' -- flock "$XDG_RUNTIME_DIR/vmm/two" "$vmm" ls
if [ -e "$XDG_RUNTIME_DIR/vmm/two/control.sock" ]; then
	ok 'and removes nothing'
else
	not_ok 'and removes nothing' "$(ls -R "$XDG_RUNTIME_DIR/vmm")"
fi
expect 'ls cleans up after dead VMs' 0 'NAME' -- "$vmm" ls
if [ -e "$XDG_RUNTIME_DIR/vmm/two" ]; then
	not_ok 'and their folders are gone' "$(ls -R "$XDG_RUNTIME_DIR/vmm")"
else
	ok 'and their folders are gone'
fi

finish
