# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#: title   virtio-scsi: disks and CD-ROM drives
#: class   virtio-scsi
#: modules virtio_scsi sd_mod sr_mod sg isofs crc32c_generic crc32c_intel
#: tools   fio blkdiscard sg_inq sg_vpd sg_readcap sg_luns sg_turs sg_requests sg_modes sg_sync
#: tools   sg_write_same sg_unmap sg_compare_and_write sg_verify sg_persist sg_start sg_reset sg_get_lba_status
#: cpus    2
#: memory  768M
#: file    data 128M
#: file    discard 64M
#: file    large-sectors 64M
#: file    readonly 4M
#: file    hot 16M
#: iso     cd1 FIRST
#: iso     cd2 SECOND
#: device  virtio-scsi id=main,queues=@cpus
#: device  scsi-disk id=data,bus=main,target=0,path=@/data,serial=data,wwn=0x5000c50015ea71aa
#: device  scsi-disk id=discard,bus=main,target=1,path=@/discard,serial=discard
#: device  scsi-disk id=large,bus=main,target=2,path=@/large-sectors,serial=large-sectors,logical-block-size=4096
#: device  scsi-disk id=readonly,bus=main,target=3,lun=7,path=@/readonly,serial=readonly,readonly=on
#: device  scsi-cd id=cd,bus=main,target=4,path=@/cd1
#: device  virtio-scsi id=many
#: files   256 many@n 1M

prepare() {
	modprobe -a virtio_scsi sd_mod sr_mod sg
	wait_until 20 count_disks 4
}

check probe 60 'disks and the drive are there, with serial number, WWN and flags'
check_probe() {
	prepare
	disk data
	[ "$(cat /sys/block/$dev/size)" = $((128 << 11)) ]
	[ "$(cat /sys/block/$dev/device/wwid)" = naa.5000c50015ea71aa ]
	[ "$(cat /sys/block/$dev/ro)" = 0 ]
	disk readonly
	[ "$(cat /sys/block/$dev/ro)" = 1 ]
	readlink /sys/block/$dev/device | grep ':3:7$'
	[ -b /dev/sr0 ]
	figure '4 disks, 1 CD-ROM'
}

# devices.sh has the functions of what all disks must pass.
check verify 120 'fio --verify=crc32c: random writes of mixed sizes, read back'
check outside 60 'the image holds what the guest wrote, and the guest reads what the image holds'
check flush 60 'fsync reaches the device as a flush'
check discard 60 'discard (UNMAP) frees blocks in the image'
check zeroes 60 'write-zeroes (WRITE SAME): the range reads as zeroes, its neighbours stay'
check sectors 120 '4 KiB sectors'

check multiqueue 60 'each CPU has its queue'
check_multiqueue() {
	disk data
	cpus=$(nproc)
	[ "$(find /sys/block/$dev/mq -mindepth 1 -maxdepth 1 -type d | wc -l)" = "$cpus" ]
	cpu=0
	while [ "$cpu" -lt "$cpus" ]; do
		taskset "$((1 << cpu))" dd if=/dev/$dev of=/dev/null bs=4k count=32 iflag=direct
		cpu=$((cpu + 1))
	done
	busy=$(awk '/-request/ {
		n = 0
		for (i = 2; $i ~ /^[0-9]+$/; i++)
			n += $i
		if (n > 0)
			busy++
	} END {print busy + 0}' /proc/interrupts)
	[ "$busy" -ge "$cpus" ] || fail "only $busy queues had interrupts"
	figure "$cpus queues"
}

check readonly 30 'writes to a read-only disk are refused'

check commands 120 'a sweep of commands with sg3_utils'
check_commands() {
	need sg_inq sg_vpd sg_luns sg_readcap sg_modes sg_turs sg_requests sg_sync sg_verify sg_write_same \
		sg_unmap sg_compare_and_write sg_persist sg_start sg_reset
	disk discard
	d=/dev/$dev
	sg_turs "$d"
	sg_inq "$d" | grep 'Vendor identification: VMM'
	for page in 00 80 83 b0 b1 b2; do
		sg_vpd -p 0x$page "$d"
	done
	sg_luns "$d"
	sg_readcap "$d" | grep 'Last LBA=131071'
	sg_readcap --16 "$d" | grep 'Last LBA=131071'
	sg_requests "$d"
	sg_modes -p 8 "$d"
	sg_sync "$d"
	head -c 4096 /dev/urandom >/tmp/sectors
	dd if=/tmp/sectors of="$d" bs=4096 count=1 oflag=direct
	sg_verify --lba=0 --count=8 "$d"
	sg_verify --lba=0 --count=8 --ndo=4096 --in=/tmp/sectors "$d"
	head -c 512 /tmp/sectors >/tmp/one
	sg_write_same --lba=16 --num=16 --in=/tmp/one "$d"
	dd if="$d" bs=512 skip=31 count=1 iflag=direct >/tmp/read
	cmp /tmp/one /tmp/read
	sg_unmap --lba=16 --num=16 "$d"
	dd if="$d" bs=512 skip=31 count=1 iflag=direct | cmp - /dev/zero 2>&1 | grep 'EOF on -'
	{
		cat /tmp/one
		head -c 512 /dev/zero
	} >/tmp/pair
	sg_compare_and_write --lba=0 --num=1 --in=/tmp/pair "$d"
	! sg_compare_and_write --lba=0 --num=1 --in=/tmp/pair "$d" || fail 'COMPARE AND WRITE took another sector'
	sg_persist --out --register --param-sark=abc "$d"
	sg_persist --out --reserve --param-rk=abc --prout-type=1 "$d"
	sg_persist --in --read-reservation "$d" | grep -i 'Key=0xabc'
	sg_persist --out --release --param-rk=abc --prout-type=1 "$d"
	sg_persist --out --register --param-rk=abc --param-sark=0 "$d"
	sg_start --stop "$d"
	sg_start --start "$d"
	sg_reset --device "$d"
	! sg_verify --lba=131072 --count=1 "$d" || fail 'VERIFY behind the end passed'
	figure '24 commands'
}

# The second controller stands empty until here.
many_host() {
	for host in /sys/class/scsi_host/host*; do
		host=${host##*/host}
		ls /sys/class/scsi_device | grep -q "^$host:" || return 0
	done
	fail 'no controller without disks'
}

check many 300 '256 disks on one controller, with the usual names'
check_many() {
	many_host
	virtio=$(basename "$(readlink -f "/sys/class/scsi_host/host$host/../../..")")
	echo "$virtio" >/sys/bus/virtio/drivers/virtio_scsi/unbind
	i=0
	while [ $i -lt 256 ]; do
		ask add scsi-disk "id=many$i,bus=many,target=$i,path=@/many$i,serial=many$i"
		i=$((i + 1))
	done
	start=$(milliseconds)
	echo "$virtio" >/sys/bus/virtio/drivers/virtio_scsi/bind
	wait_until 120 count_disks 260 || fail "$(find /sys/block -name 'sd*' | wc -l) disks"
	ms=$(($(milliseconds) - start))
	# The 260th is sdiz.
	[ -b /dev/sdiz ]
	for i in 0 100 255; do
		dev=$(ls "/sys/class/scsi_disk/$host:0:$i:0/device/block")
		[ "$(serial_of "$dev")" = many$i ]
		head -c 4096 /dev/urandom >/tmp/sectors
		dd if=/tmp/sectors of=/dev/$dev bs=4096 count=1 oflag=direct
		ask sha256 many$i 4096
		[ "$answer" = "$(sha256sum </tmp/sectors | cut -d' ' -f1)" ]
	done
	echo "$virtio" >/sys/bus/virtio/drivers/virtio_scsi/unbind
	i=0
	while [ $i -lt 256 ]; do
		ask remove many$i
		i=$((i + 1))
	done
	echo "$virtio" >/sys/bus/virtio/drivers/virtio_scsi/bind
	figure "found in $ms ms"
}

check hotplug 60 'hot add, and hot remove under I/O'
check_hotplug() {
	ask add scsi-disk id=hot,bus=main,target=9,lun=3,path=@/hot,serial=hot
	disk hot
	readlink "/sys/block/$dev/device" | grep ':9:3$' || fail 'not at the address where it was added'
	write_pattern "$dev" 1
	while dd if=/dev/$dev of=/dev/null bs=64k count=64 iflag=direct; do :; done &
	reader=$!
	ask remove hot
	wait_until 10 gone "/sys/block/$dev" || fail 'the disk is still there'
	wait $reader
	ask sha256 hot 1048576
	[ "$answer" = "$sum" ] || fail 'the image is not what was written'
}

gone() {
	[ ! -e "$1" ]
}

check resize 30 'a larger image is noticed'
check limit 120 'rate limits: bytes and operations, set and lifted while the guest runs'

cd_has() {
	mount -t iso9660 -o ro /dev/sr0 /mnt || return 1
	text=$(cat /mnt/file.txt)
	umount /mnt
	[ "$text" = "$1" ]
}

cd_empty() {
	! dd if=/dev/sr0 of=/dev/null bs=2k count=1
}

check cdrom 60 'mount a CD-ROM, eject it from inside and outside, change it'
check_cdrom() {
	modprobe -a sr_mod isofs
	[ "$(cat /sys/block/sr0/ro)" = 1 ] || ! dd if=/dev/zero of=/dev/sr0 bs=2k count=1
	wait_until 10 cd_has FIRST
	ask action cd change path=@/cd2
	wait_until 10 cd_has SECOND
	ask action cd eject
	wait_until 10 cd_empty || fail 'still readable after the eject'
	ask action cd change path=@/cd1
	wait_until 10 cd_has FIRST
	sg_start --eject /dev/sr0
	wait_until 10 cd_empty || fail 'still readable after the eject by the guest'
	sg_start --load /dev/sr0
	wait_until 10 cd_has FIRST
}

check bind 60 'unbind and bind'
check_bind() {
	keeps_data bind_cycle virtio_scsi
}

check module 60 'module unload and load'
check_module() {
	keeps_data module_cycle virtio_scsi
}

check reboot 120 'guest reboot with a disk busy; what was flushed is there'

check log 10 'the kernel has not complained'
check_log() {
	quiet_kernel
}
