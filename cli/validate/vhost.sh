# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# A tap whose packets the host's kernel moves by itself. That it does so is seen from what vmm counts:
# bytes arrive, and vmm's counters stand still.
#
#: title   virtio-net: a tap with vhost
#: class   virtio-net
#: include lib-net.sh
#: modules virtio_net
#: tools   ip ethtool
#: cpus    2
#: memory  512M
#: namespace network
#: optional virtio-net id=tap,mac=52:54:00:00:00:01,queues=@cpus,backend=tap,,ifname=vmmtap0,,queues=@cpus,,vhost=on
#: address vmmtap0 10.9.0.1 24

. /bin/lib-net.sh

need_vhost() {
	need_devices
	nic 1
}

configure() {
	ip link set lo up
	nic 1
	ip addr replace 10.9.0.2/24 dev "$nic"
	ip link set "$nic" up
}

prepare() {
	modprobe virtio_net
	ask left-out
	[ -n "$answer" ] || {
		wait_until 10 find_nic 1
		configure
	}
}

# Sets $passed to what vmm has counted of packets.
count_passed() {
	ask action tap status
	passed=$(printf '%s\n' "$answer" | grep -o '"packets":[0-9]*' | tr '\n' ' ')
	[ -n "$passed" ] || fail 'the card counts no packets'
}

# bypass COMMAND...: runs it; no packet passes through vmm meanwhile.
bypass() {
	count_passed
	before=$passed
	"$@"
	count_passed
	[ "$passed" = "$before" ] || fail "packets passed through vmm: $before before, $passed after"
}

check probe 60 'the driver finds it, and the kernel has all queue pairs'
check_probe() {
	prepare
	need_vhost
	# The kernel knows no packed rings: they are not offered, even where the card was told to.
	[ "$(cut -c 35 "/sys/class/net/$nic/device/features")" = 0 ]
	wait_until 10 reaches 10.9.0.1
	wait_until 10 status_has tap vhost-queue-pairs "$(nproc)"
	figure "$(nproc) queue pairs"
}

check tcp 180 'TCP both ways at once, with sha256, and no packet through vmm'
check_tcp() {
	need_vhost
	n=$(mib 64)
	bypass outward tcp 10.9.0.1 "$n"
	figure "$n MiB each way, $(per_second $((2 * n)) "$ms")"
}

check multiqueue 120 'several queue pairs: switched by ethtool, and used by their CPUs'
check_multiqueue() {
	need ethtool
	need_vhost
	ethtool -L "$nic" combined 1
	status_has tap vhost-queue-pairs 1
	bypass outward one-queue 10.9.0.1 1
	ethtool -L "$nic" combined "$(nproc)"
	status_has tap vhost-queue-pairs "$(nproc)"
	bypass each_cpu 10.9.0.1
	[ "$(busy_queues "$nic" output)" = "$(nproc)" ] || fail 'not all transmit queues were used'
	[ "$(busy_queues "$nic" input)" -ge 1 ]
	figure "$(busy_queues "$nic" output) transmit and $(busy_queues "$nic" input) receive queues"
}

check offloads 180 'each offload off and on, with data'
check_offloads() {
	need ethtool
	need_vhost
	n=$(mib 16)
	count=0
	for what in tx sg tso gro; do
		for value in off on; do
			ethtool -K "$nic" $what $value || {
				# "fixed" ones cannot be switched.
				echo "$what cannot be switched $value"
				continue
			}
			count=$((count + 1))
			outward $what-$value 10.9.0.1 "$n"
		done
	done
	[ $count -ge 6 ] || fail "only $count could be switched"
	figure "$count changes, $n MiB each way after each"
}

check link 60 'link down takes the queues from the kernel, link up gives them back'
check_link() {
	need_vhost
	for turn in 1 2 3; do
		ask action tap link state=down
		wait_until 10 carrier_is 0
		status_has tap vhost-queue-pairs 0
		! reaches 10.9.0.1 || fail 'a packet passed'
		ask action tap link state=up
		wait_until 10 carrier_is 1
		wait_until 10 status_has tap vhost-queue-pairs "$(nproc)"
		wait_until 10 reaches 10.9.0.1
	done
	bypass outward link 10.9.0.1 1
	figure '3 times'
}

# An eighth of the data after the other, and a pause behind each.
pieces() {
	for turn in 0 1 2 3 4 5 6 7; do
		dd if=/tmp/data bs=64K skip=$((turn * n * 2)) count=$((n * 2))
		ask pause
	done
}

check pause 180 'the machine pauses while data is on its way both ways, 8 times'
check_pause() {
	need_vhost
	n=$(mib 64)
	make_data "$n"
	ask stream pause listen:0 "$n"M "$n"M
	port=$answer
	pieces | nc 10.9.0.1 "$port" >/tmp/got
	judge pause
	status_has tap vhost-queue-pairs "$(nproc)"
	bypass outward paused 10.9.0.1 1
	figure "$n MiB each way, $(per_second $((2 * n)) "$ms")"
}

check bind 90 'unbind and bind'
check_bind() {
	need_vhost
	bind_cycle virtio_net
	wait_until 10 find_nic 1
	configure
	wait_until 10 reaches 10.9.0.1
	bypass outward bind 10.9.0.1 1
}

check module 90 'module unload and load'
check_module() {
	need_vhost
	module_cycle virtio_net
	wait_until 10 find_nic 1
	configure
	wait_until 10 reaches 10.9.0.1
	bypass outward module 10.9.0.1 1
}

check reboot 120 'guest reboot with the network busy'
check_reboot() {
	need_vhost
	sends_plainly "$nic"
	wait_until 10 reaches 10.9.0.1
	ask stream busy listen:0 1G 1G
	nc 10.9.0.1 "$answer" </dev/zero >/dev/null &
	wait_until 10 under_way
	ask reboot
	reboot -f
	sleep 1000
}
# Both directions of the stream "busy" have begun.
under_way() {
	ask stream-stat busy
	case $answer in
	0\ * | *\ 0) return 1 ;;
	esac
}
resume_reboot() {
	wait_until 10 reaches 10.9.0.1
	bypass outward after 10.9.0.1 1
}

check log 10 'the kernel has not complained'
check_log() {
	quiet_kernel
}
