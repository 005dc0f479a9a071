# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# How devices are found and used, for all drivers' scripts that need one of the kind; runs in the guest, between
# lib.sh and the driver's script.

# ---- disks: virtio-blk and virtio-scsi ----

serial_of() { # DISK
	if [ -e "/sys/block/$1/serial" ]; then
		cat "/sys/block/$1/serial"
	else
		tail -c +5 "/sys/block/$1/device/vpd_pg80" 2>/dev/null | tr -d ' \0'
	fi
}

# find_disk SERIAL: sets $dev to its name.
find_disk() {
	for dev in /sys/block/[sv]d*; do
		dev=${dev##*/}
		[ "$(serial_of "$dev")" != "$1" ] || return 0
	done
	return 1
}

disk() {
	wait_until 10 find_disk "$1" || fail "no disk with the serial number $1"
}

count_disks() {
	[ "$(find /sys/block -name '[sv]d*' | wc -l)" = "$1" ]
}

has_size() { # DISK SECTORS
	[ "$(cat "/sys/block/$1/size")" = "$2" ]
}

# verify DISK MIB SECTOR: random writes of mixed sizes at several depths, read back with their sums.
verify() {
	fio --output=/run/fio --name=v --filename="/dev/$1" --direct=1 --size="$2m" --ioengine=io_uring \
		--rw=randwrite --bsrange="$3-64k" --blockalign="$3" --iodepth=16 --numjobs=1 \
		--verify=crc32c --verify_fatal=1 --do_verify=1 --randrepeat=0
	grep -E 'err= 0' /run/fio
}

# write_pattern DISK MIB: sets $sum to what was written.
write_pattern() {
	head -c "$2m" /dev/urandom >/tmp/pattern
	sum=$(sha256sum </tmp/pattern | cut -d' ' -f1)
	dd if=/tmp/pattern of="/dev/$1" bs=1M oflag=direct conv=fsync
}

sum_of() { # DISK MIB
	dd if="/dev/$1" bs=1M count="$2" iflag=direct | sha256sum | cut -d' ' -f1
}

# same_outside DISK FILE MIB: the image has what the guest writes, and the guest reads it back.
same_outside() {
	write_pattern "$1" "$3"
	ask sha256 "$2" $(($3 << 20))
	[ "$answer" = "$sum" ] || fail "wrote $sum, the image has $answer"
	[ "$(sum_of "$1" "$3")" = "$sum" ] || fail 'reads back something else'
}

# keeps_data COMMAND...: what takes the disk "data" away and brings it back leaves the bytes as they are.
keeps_data() {
	disk data
	write_pattern "$dev" 1
	"$@"
	disk data
	[ "$(sum_of "$dev" 1)" = "$sum" ] || fail 'other data than before'
}

# load_disk DISK: I/O for as long as the guest lives; it leaves the first 8 MiB as they are.
load_disk() {
	while :; do dd if=/dev/urandom of="/dev/$1" bs=256k seek=32 count=64 oflag=direct; done &
	while :; do dd if="/dev/$1" of=/dev/null bs=64k count=512 iflag=direct; done &
}

# Checks that any kind of disk must pass. The script that registers them has the disks data, discard, large-sectors
# and readonly: images and serial numbers of these names; the first has it as its id, too, the third the id "large".

check_verify() {
	need fio
	disk data
	n=$(mib 64)
	verify "$dev" "$n" 512
	figure "$n MiB, $(sed -n 's/^ *write: IOPS=\([^,]*\), BW=\([^ ]*\).*/\1 IOPS, \2/p' /run/fio)"
}

check_outside() {
	disk data
	n=$(mib 64)
	same_outside "$dev" data "$n"
	figure "$n MiB with sha256"
}

check_flush() {
	disk data
	[ "$(cat /sys/block/$dev/queue/write_cache)" = 'write back' ]
	# The sixteenth number in stat counts flushes.
	before=$(awk '{print $16}' /sys/block/$dev/stat)
	dd if=/dev/zero of=/dev/$dev bs=4k count=16 conv=fsync
	after=$(awk '{print $16}' /sys/block/$dev/stat)
	[ "$after" -gt "$before" ] || fail 'no flush'
	figure "$((after - before)) flushes"
}

check_discard() {
	need blkdiscard
	disk discard
	n=$(mib 32)
	write_pattern "$dev" "$n"
	ask stat discard
	before=${answer#* }
	[ "$before" -ge $((n << 20)) ] || fail "only $before bytes were allocated"
	blkdiscard -l $((n << 20)) "/dev/$dev"
	ask stat discard
	now=${answer#* }
	[ "$now" -lt $((before / 8)) ] || fail "$now of $before bytes are still allocated"
	[ "$(sum_of "$dev" "$n")" = "$(head -c "$n"m /dev/zero | sha256sum | cut -d' ' -f1)" ]
	figure "$((before >> 20)) to $((now >> 20)) MiB"
}

check_zeroes() {
	need blkdiscard
	disk data
	write_pattern "$dev" 4
	[ "$(cat /sys/block/$dev/queue/write_zeroes_max_bytes)" -gt 0 ]
	# BLKZEROOUT, which the driver turns into a command of its own.
	blkdiscard -z -o 1048576 -l 1048576 "/dev/$dev"
	dd if=/dev/zero of=/tmp/pattern bs=1M seek=1 count=1 conv=notrunc
	[ "$(sum_of "$dev" 4)" = "$(sha256sum </tmp/pattern | cut -d' ' -f1)" ] || fail 'wrong bytes'
}

check_sectors() {
	need fio
	disk large-sectors
	[ "$(cat /sys/block/$dev/queue/logical_block_size)" = 4096 ]
	n=$(mib 32)
	verify "$dev" "$n" 4k
	figure "$n MiB verified"
}

check_readonly() {
	disk readonly
	ask sha256 readonly
	sum=$answer
	! dd if=/dev/urandom of="/dev/$dev" bs=4k count=1 oflag=direct || fail 'a write was taken'
	blockdev --setrw "/dev/$dev" || :
	! dd if=/dev/urandom of="/dev/$dev" bs=4k count=1 oflag=direct || fail 'a write was taken after setrw'
	ask sha256 readonly
	[ "$answer" = "$sum" ] || fail 'the image has changed'
}

check_resize() {
	disk large-sectors
	ask action large resize size=96M
	wait_until 10 has_size "$dev" $((96 << 11)) || fail "the size is $(cat /sys/block/$dev/size)"
	dd if=/dev/urandom of=/dev/$dev bs=1M seek=95 count=1 oflag=direct
}

# read_timed SIZE COUNT: read one request after the other; sets $ms.
read_timed() {
	start=$(milliseconds)
	dd if="/dev/$dev" of=/dev/null bs="$1" count="$2" iflag=direct
	ms=$(($(milliseconds) - start))
}

# Beyond what a second allows there is the burst, and the last request, which may make a debt. How much slower
# it is than that depends on the host.
check_limit() {
	disk data
	ask action data throttle bps=1M,bps-burst=64K
	read_timed 64k 64
	[ "$ms" -ge $(((64 - 1 - 1) * 1000 / 16 - 20)) ] || fail "4 MiB in $ms ms, with 1 MiB a second"
	bytes=$ms
	ask action data throttle iops=40,iops-burst=4
	read_timed 4k 120
	[ "$ms" -ge $(((120 - 4 - 1) * 1000 / 40 - 20)) ] || fail "120 requests in $ms ms, with 40 a second"
	operations=$ms
	ask action data throttle
	read_timed 64k 64
	figure "4 MiB in $bytes ms, 120 requests in $operations ms; unlimited $(per_second 4 "$ms")"
}

check_reboot() {
	disk data
	write_pattern "$dev" 4
	load_disk "$dev"
	ask reboot
	reboot -f
	sleep 1000
}
resume_reboot() {
	disk data
	ask sha256 data $((4 << 20))
	[ "$(sum_of "$dev" 4)" = "$answer" ] || fail 'guest and image differ'
}

# ---- connections: network and serial ports ----

# make_data MIB: what is to be sent, in /tmp/data; its sum is $sum.
make_data() {
	[ "$(stat -c %s /tmp/data 2>/dev/null)" = $(($1 << 20)) ] || head -c "$1m" /dev/urandom >/tmp/data
	sum=$(sha256sum </tmp/data | cut -d' ' -f1)
}

# judge STREAM [SUM]: both ends have seen the same; SUM is that of what the guest received, else /tmp/got has it.
# Sets $ms.
judge() {
	got=${2-$(sha256sum </tmp/got | cut -d' ' -f1)}
	ask stream-wait "$1"
	set -- "$1" $answer
	[ "$got" = "$2" ] || fail "$1: the guest received other bytes"
	[ "$sum" = "$3" ] || fail "$1: the host received other bytes"
	ms=$4
}

# outward NAME ADDRESS MIB: connect from the guest to the host, and send both ways.
outward() {
	make_data "$3"
	ask stream "$1" listen:0 "$3M" "$3M"
	nc "$2" "$answer" </tmp/data >/tmp/got
	judge "$1"
}

# dhcp INTERFACE: bring it up; /run/dhcp has the address, the gateway and the name server.
dhcp() {
	cat >/run/dhcp.sh <<-'END'
		#!/bin/busybox sh
		[ "$1" = bound ] || exit 0
		ip -4 addr flush dev "$interface"
		ip addr add "$ip/$mask" dev "$interface"
		ip route add default via "$router"
		echo "$ip $router $dns" >/run/dhcp
	END
	chmod 755 /run/dhcp.sh
	ip link set "$1" up
	udhcpc -i "$1" -s /run/dhcp.sh -n -q -t 10
}

ports=/dev/virtio-ports

# Names as udev would make them.
name_ports() {
	mkdir -p $ports
	for port in /sys/class/virtio-ports/vport*; do
		[ -s "$port/name" ] || continue
		ln -sf "/dev/${port##*/}" "$ports/$(cat "$port/name")"
	done
}

count_ports() {
	[ "$(grep -l . /sys/class/virtio-ports/vport*/name | wc -l)" -ge "$1" ]
}

# exchange PORT MIB: send /tmp/data and receive as much at the same time; the sum goes to /tmp/PORT.sum.
exchange() {
	exec 4<>"$ports/$1"
	cat /tmp/data >&4 & # not by another open: a port has one user
	sender=$!
	head -c "$2m" <&4 | sha256sum | cut -d' ' -f1 >"/tmp/$1.sum"
	wait $sender
	exec 4>&-
}

# finished STREAM PORT: what both ends have seen is the same.
finished() {
	judge "$1" "$(cat "/tmp/$2.sum")"
}

# ---- balloons; the device has the id "balloon" ----

balloon_status() {
	ask action balloon status
}

# is_actual BYTES: the balloon has reached its target.
is_actual() {
	balloon_status
	[ "$(value actual)" = "$1" ]
}

target() {
	ask action balloon target "size=$1"
	wait_until 60 is_actual "$1"
}
