# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#: title   virtio-serial: ports and consoles
#: class   virtio-serial
#: modules virtio_console
#: cpus    2
#: memory  512M
#: device  virtio-serial id=bus,max-ports=64
#: devices 32 serial-port id=port@n,bus=bus,name=port@n,chardev=unix:@/port@n
#: device  serial-port id=stalled,bus=bus,name=stalled,chardev=unix:@/stalled
#: device  console-port id=console,bus=bus,name=console,chardev=unix:@/console-port

prepare() {
	modprobe virtio_console
	wait_until 20 count_ports 34
	name_ports
}

check probe 60 'every port is there by its name'
check_probe() {
	prepare
	[ -c $ports/port0 ]
	[ -c $ports/port31 ]
	[ -c /dev/hvc0 ]
	figure "$(ls $ports | wc -l) ports"
}

check ports 300 '32 ports at once, both ways, with sha256'
check_ports() {
	n=$(mib 16)
	make_data "$n"
	start=$(milliseconds)
	i=0
	while [ $i -lt 32 ]; do
		ask stream all$i unix:@/port$i "$n"M "$n"M
		exchange port$i "$n" &
		i=$((i + 1))
	done
	wait
	ms=$(($(milliseconds) - start))
	i=0
	while [ $i -lt 32 ]; do
		finished all$i port$i
		i=$((i + 1))
	done
	figure "32 x $n MiB both ways, $(per_second $((64 * n)) $ms)"
}

check stalled 60 'a port whose peer does not read does not stop another one'
check_stalled() {
	n=$(mib 16)
	make_data "$n"
	# A client that is there, and neither sends nor receives.
	ask stream idle unix:@/stalled 0 64M pause
	dd if=/dev/zero of=$ports/stalled bs=64k count=256 &
	stalled=$!
	ask stream beside unix:@/port0 "$n"M "$n"M
	exchange port0 "$n"
	finished beside port0
	kill -0 $stalled || fail 'the stalled port took everything'
	kill $stalled
	figure "$n MiB both ways beside it"
}

check reconnect 60 'a client goes and comes back'
check_reconnect() {
	make_data 1
	for turn in 1 2 3; do
		ask stream again$turn unix:@/port1 1M 1M
		exchange port1 1
		finished again$turn port1
	done
	figure '3 connections'
}

console_is() {
	[ "$(stty -F /dev/hvc0 size)" = "$1" ]
}

check resize 30 'a console has the size that its terminal has'
check_resize() {
	ask action console resize columns=132,rows=43
	wait_until 10 console_is '43 132' || {
		# Linux before 6.16 reads the two numbers the other way round.
		console_is '132 43' || fail "the size is $(stty -F /dev/hvc0 size)"
	}
	figure "$(stty -F /dev/hvc0 size)"
}

has_port() {
	grep -qx "$1" /sys/class/virtio-ports/vport*/name
}
has_no_port() {
	! has_port "$1"
}

check hotplug 60 'ports are added and removed while others run'
check_hotplug() {
	make_data 1
	for turn in 1 2; do
		ask add serial-port id=new,bus=bus,name=new,chardev=unix:@/new$turn
		wait_until 10 has_port new
		name_ports
		ask stream new$turn unix:@/new$turn 1M 1M
		exchange new 1
		finished new$turn new
		ask remove new
		wait_until 10 has_no_port new
	done
}

check bind 60 'unbind and bind'
check_bind() {
	make_data 1
	bind_cycle virtio_console
	wait_until 20 count_ports 34
	name_ports
	ask stream bind unix:@/port2 1M 1M
	exchange port2 1
	finished bind port2
}

check module 60 'module unload and load'
check_module() {
	make_data 1
	module_cycle virtio_console
	wait_until 20 count_ports 34
	name_ports
	ask stream module unix:@/port3 1M 1M
	exchange port3 1
	finished module port3
}

check reboot 120 'guest reboot with ports busy'
check_reboot() {
	ask stream busy unix:@/port4 1G 1G
	cat /dev/zero >$ports/port4 &
	cat $ports/port5 >/dev/null &
	ask reboot
	reboot -f
	sleep 1000
}
resume_reboot() {
	make_data 1
	ask stream after unix:@/port6 1M 1M
	exchange port6 1
	finished after port6
}

check log 10 'the kernel has not complained'
check_log() {
	quiet_kernel
}
