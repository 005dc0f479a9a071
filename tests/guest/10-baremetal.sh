#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The bare-metal guests of guest-images/pvh on this machine's KVM, whatever it can do. Each line that a
# guest prints (`ok NAME`, `not ok NAME WHY`) counts here as part of one test for each run of a guest.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

disk=$tmp/disk.img
serial=stdio

# guest PROGRAM COMMANDLINE [ARGUMENT...]: a run; standard input goes to the guest's console.
guest() {
	local program=$1 text=$2
	shift 2
	run_vmm 100 run --kernel "$build/guest/$program.elf" --memory 64M --append "$text" \
		--serial "$serial" --device debug-exit "$@"
}

# passes NAME WANTED [TEXT...]: judges the last run by its exit status, the guest's own lines, and what
# its console or the messages must contain.
passes() {
	local name=$1 wanted=$2 text
	shift 2
	if [ "$status" != "$wanted" ]; then
		not_ok "$name" "exit status $status, wanted $wanted" "$console" "$messages"
		return
	fi
	if grep -aq '^not ok' "$console"; then
		not_ok "$name" "$(grep -a '^not ok' "$console")" "$console" "$messages"
		return
	fi
	for text; do
		if ! grep -aqF -- "$text" "$console" "$messages"; then
			not_ok "$name" "no \"$text\"" "$console" "$messages"
			return
		fi
	done
	ok "$name"
}

fresh_disk() {
	rm -f "$disk"
	truncate -s 1M "$disk"
}

[ -x "$vmm" ] || bail_out "$vmm is not there: make"
[ -e "$build/guest/exit.elf" ] || bail_out "$build/guest is not there: make guests"
if ! { exec 9<>/dev/kvm; } 2>/dev/null; then
	echo "1..0 # SKIP /dev/kvm cannot be opened"
	exit 0
fi
exec 9>&-

guest exit '' </dev/null
passes 'exit: the debug-exit port ends the VM' 1

guest hello 'text=abc,def' </dev/null
passes 'hello: command line, ACPI tables, power-off' 0 'hello from a PVH guest' 'text: abc,def'

guest uart '' </dev/null
passes 'uart: registers, FIFO, loopback, interrupts' 0

# The line is there before the guest runs, and held until the guest asks.
printf 'what is typed\n' >"$tmp/input"
serial='stdio,wait-for=type a line'
guest uart echo=on <"$tmp/input"
serial=stdio
passes 'uart: input arrives by interrupts' 0 'echo: what is typed'

guest rtc "epoch=$(date +%s)" </dev/null
passes 'rtc: the time of day' 0

for cpus in 1 2 4; do
	guest smp "cpus=$cpus" --cpus "$cpus" </dev/null
	passes "smp: $cpus processors, APIC ids, topology" 0
done

fresh_disk
for engine in io_uring threads; do
	guest blk '' --disk "path=$disk,engine=$engine,queues=2" </dev/null
	passes "blk: data, indirect, errors, reset in flight ($engine)" 0
done
if [ "$(od -An -tx1 -j 0 -N 4 "$disk" | tr -d ' ')" = 00000000 ]; then
	not_ok 'blk: what was written is in the image' 'the image is empty' "$console"
else
	ok 'blk: what was written is in the image'
fi

fresh_disk
for transport in pci mmio; do
	for ring in split packed; do
		for test in blk rings; do
			guest "$test" "ring=$ring transport=$transport" \
				--device "virtio-blk,path=$disk,queues=2,transport=$transport,packed=on" </dev/null
			passes "$test: $ring rings, $transport" 0
		done
	done
done

guest rings 'ring=packed transport=mmio' \
	--device "virtio-blk,path=$disk,queues=2,transport=mmio,packed=on,notification-data=on" </dev/null
passes 'rings: doorbells that could carry data' 0

fresh_disk
guest pci '' --disk "path=$disk" </dev/null
passes 'pci: CF8 and ECAM, BAR sizing, relocation, decode' 0

guest msix '' --disk "path=$disk,queues=2" </dev/null
passes 'msix: delivery, masks, pending bits, INTx' 0

for by in acpi i8042 triple; do
	fresh_disk
	guest reboot "by=$by" --disk "path=$disk" </dev/null
	passes "reboot: by $by, and the disk is kept" 0 'first boot' 'second boot'
done

fresh_disk
guest reboot by=acpi --disk "path=$disk" --on-reboot exit </dev/null
passes 'reboot: --on-reboot exit' 6 'first boot'

guest panic '' </dev/null
passes 'panic: pvpanic ends the VM' 4 'panicked'

guest fault kind=triple --on-reboot exit </dev/null
passes 'fault: a triple fault is a reset' 6

guest fault kind=mmio-code </dev/null
if [ "$status" = 1 ] && [ -s "$messages" ]; then
	ok 'fault: code that KVM cannot run ends the VM with a message'
else
	not_ok 'fault: code that KVM cannot run ends the VM with a message' "exit status $status" \
		"$console" "$messages"
fi

finish
