# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# Interfaces by the last byte of their address: 1 the user network; 2 and 3 are joined by a stream
# socket, 4 and 5 by datagram sockets; 6 a tap, whose other end is this host (in a network namespace
# that only the run has). 3 and 5 live in a namespace of the guest, so that packets between the two
# of a pair take the long way.
#
#: title   virtio-net: networks
#: class   virtio-net
#: include lib-net.sh
#: modules virtio_net 8021q
#: tools   ip ethtool iperf3
#: cpus    2
#: memory  512M
#: namespace network
#: device  virtio-net id=user,mac=52:54:00:00:00:01,backend=user,,hostfwd=tcp::0-:5001,,pcap=@/user.pcap
#: device  virtio-net id=stream0,mac=52:54:00:00:00:02,speed=10000,backend=stream:unix:@/stream,,server=on
#: device  virtio-net id=stream1,mac=52:54:00:00:00:03,backend=stream:unix:@/stream
#: device  virtio-net id=dgram0,mac=52:54:00:00:00:04,backend=dgram:unix:@/dgram1,,local=@/dgram0
#: device  virtio-net id=dgram1,mac=52:54:00:00:00:05,backend=dgram:unix:@/dgram0,,local=@/dgram1
#: optional virtio-net id=tap,mac=52:54:00:00:00:06,queues=@cpus,backend=tap,,ifname=vmmtap0,,queues=@cpus
#: address vmmtap0 10.9.0.1 24

. /bin/lib-net.sh

need_tap() {
	need_devices
	nic 6
}

# There again, wherever they were: unbound drivers bring their interfaces back to the first namespace.
have_nics() {
	for n in 1 2 3 4 5; do
		find_nic $n || return 1
	done
}

configure() {
	[ -e /var/run/netns/peer ] || {
		mkdir -p /var/run/netns
		ip netns add peer
		ip netns exec peer ip link set lo up
	}
	ip link set lo up
	nic 1
	dhcp "$nic"
	pair 2 3 10.1.0
	pair 4 5 10.2.0
	! find_nic 6 || {
		ip addr add 10.9.0.2/24 dev "$nic"
		ip link set "$nic" up
	}
}

# pair A B NET: A has NET.1, and B, in the namespace, NET.2.
pair() {
	nic "$2"
	ip link set "$nic" netns peer
	in_peer ip addr add "$3.2/24" dev "$nic"
	in_peer ip link set "$nic" up
	nic "$1"
	ip addr add "$3.1/24" dev "$nic"
	ip link set "$nic" up
}

in_peer() {
	ip netns exec peer "$@"
}

# The interface of the other side of the pair whose network is $1.
peer_nic() {
	in_peer ip -o addr show to "$1.2" | awk '{print $2}'
}

peer_listens() {
	in_peer netstat -ltn | grep ":$1 "
}

# between NET MIB: from the guest to its other half, and back, at the same time; sets $ms.
between() {
	make_data "$2"
	head -c "$2m" /dev/urandom >/tmp/back
	{
		cat /tmp/back
		sleep 1000
	} | in_peer /bin/busybox nc -l -p 5002 >/tmp/there &
	wait_until 10 peer_listens 5002
	from=$(milliseconds)
	# nc ends with the first end of file: there is none.
	{
		cat /tmp/data
		sleep 1000
	} | nc "$1.2" 5002 >/tmp/got &
	wait_until 120 complete /tmp/there "$2"
	wait_until 120 complete /tmp/got "$2"
	ms=$(($(milliseconds) - from))
	kill $(pidof nc) 2>/dev/null || :
	kill $(pidof sleep) 2>/dev/null || :
	cmp /tmp/data /tmp/there || fail 'other bytes came there'
	cmp /tmp/back /tmp/got || fail 'other bytes came back'
}

complete() {
	[ "$(stat -c %s "$1")" -ge $(($2 << 20)) ]
}

prepare() {
	modprobe virtio_net
	wait_until 10 have_nics
	configure
}

check probe 60 'the interfaces are there, with address, MTU and speed'
check_probe() {
	modprobe virtio_net
	wait_until 10 have_nics
	nic 2
	ip link set "$nic" up
	[ "$(cat /sys/class/net/$nic/speed)" = 10000 ]
	[ "$(cat /sys/class/net/$nic/duplex)" = full ]
	ethtool -i "$nic" | grep 'driver: virtio_net'
	figure "$(ls -d /sys/class/net/*/device | wc -l) interfaces"
}

check dhcp 60 'user network: an address by DHCP'
check_dhcp() {
	configure
	read -r address gateway dns </run/dhcp
	[ "$gateway" = 10.0.2.2 ]
	[ "$dns" = 10.0.2.3 ]
	figure "$address"
}

check ping 60 'ping over every backend'
check_ping() {
	for address in 10.0.2.2 10.1.0.2 10.2.0.2; do
		wait_until 10 reaches $address || fail "no answer from $address"
	done
	! find_nic 6 || wait_until 10 reaches 10.9.0.1 || fail 'no answer over the tap'
	figure "$(ping -c 5 10.1.0.2 | sed -n 's,^round.*= \([^/]*\)/\([^/]*\)/.*,\2 ms (stream),p')"
}

has_ipv6() {
	nic 1
	ip -6 addr show dev "$nic" | grep fec0
}

check ipv6 60 'user network: an IPv6 address by router advertisement, and a ping'
check_ipv6() {
	wait_until 20 has_ipv6
	wait_until 10 ping -6 -c 1 -W 2 fec0::2
}

check user 180 'user network: TCP from the guest, both ways at once, with sha256'
check_user() {
	n=$(mib 64)
	outward user 10.0.2.2 "$n"
	figure "$n MiB each way, $(per_second $((2 * n)) "$ms")"
}

check forward 180 'user network: TCP to the guest (hostfwd), both ways at once, with sha256'
check_forward() {
	n=$(mib 64)
	inward forward user "$n"
	figure "$n MiB each way, $(per_second $((2 * n)) "$ms")"
}

check stream 180 'stream: TCP both ways at once, with the bytes compared'
check_stream() {
	n=$(mib 64)
	between 10.1.0 "$n"
	figure "$n MiB each way, $(per_second $((2 * n)) "$ms")"
}

check dgram 180 'dgram: TCP both ways at once, with the bytes compared'
check_dgram() {
	n=$(mib 64)
	between 10.2.0 "$n"
	figure "$n MiB each way, $(per_second $((2 * n)) "$ms")"
}

check tap 180 'tap: TCP both ways at once, with sha256'
check_tap() {
	need_tap
	n=$(mib 64)
	outward tap 10.9.0.1 "$n"
	figure "$n MiB each way, $(per_second $((2 * n)) "$ms")"
}

check iperf3 120 'iperf3 over the stream backend'
check_iperf3() {
	need iperf3
	in_peer iperf3 -s -1 -D -p 5201
	wait_until 10 peer_listens 5201
	iperf3 -c 10.1.0.2 -t 3 >/run/iperf3
	figure "$(awk '/receiver/ {print $7, $8}' /run/iperf3)"
}

check offloads 300 'each offload off and on, with data (tap, else stream)'
check_offloads() {
	need ethtool
	n=$(mib 16)
	net=10.9.0 count=0
	find_nic 6 || {
		nic 2
		net=10.1.0
	}
	for what in tx rx sg tso gso gro; do
		ethtool -k "$nic" >/run/features
		for value in off on; do
			ethtool -K "$nic" $what $value || {
				# "fixed" ones cannot be switched.
				echo "$what cannot be switched $value"
				continue
			}
			count=$((count + 1))
			if [ $net = 10.9.0 ]; then
				outward $what-$value 10.9.0.1 "$n"
			else
				between $net "$n"
			fi
		done
	done
	[ $count -ge 8 ] || fail "only $count could be switched"
	figure "$count changes, $n MiB each way after each"
}

check multiqueue 120 'several queue pairs: switched by ethtool, and used by their CPUs'
check_multiqueue() {
	need ethtool
	need_tap
	ethtool -L "$nic" combined 1
	outward one-queue 10.9.0.1 1
	ethtool -L "$nic" combined "$(nproc)"
	ethtool -l "$nic" | tail -n 2 | grep "Combined:.*$(nproc)"
	status_has tap queue-pairs "$(nproc)"
	each_cpu 10.9.0.1
	[ "$(busy_queues "$nic" output)" = "$(nproc)" ] || fail 'not all transmit queues were used'
	[ "$(busy_queues "$nic" input)" -ge 1 ]
	figure "$(busy_queues "$nic" output) transmit and $(busy_queues "$nic" input) receive queues"
}

check vlan 60 'VLAN: packets pass, and the filter knows the number'
check_vlan() {
	modprobe 8021q
	nic 2
	peer=$(peer_nic 10.1.0)
	ip link add link "$nic" name vlan7 type vlan id 7
	ip addr add 10.7.0.1/24 dev vlan7
	ip link set vlan7 up
	in_peer ip link add link "$peer" name vlan7 type vlan id 7
	in_peer ip addr add 10.7.0.2/24 dev vlan7
	in_peer ip link set vlan7 up
	wait_until 10 reaches 10.7.0.2
	ask action stream0 status
	echo "$answer" | grep -E '"vlan-table":\[([0-9]+,)*7[],]' || fail 'the filter does not have VLAN 7'
	ip link del vlan7
	in_peer ip link del vlan7
	ask action stream0 status
	! echo "$answer" | grep -E '"vlan-table":\[([0-9]+,)*7[],]' || fail 'the filter still has VLAN 7'
}

check mtu 60 'an MTU of 9000: large packets in one piece'
check_mtu() {
	nic 2
	peer=$(peer_nic 10.1.0)
	ip link set "$nic" mtu 9000
	in_peer ip link set "$peer" mtu 9000
	wait_until 10 reaches 10.1.0.2
	before=$(cat /sys/class/net/$nic/statistics/tx_packets)
	ping -c 10 -i 0.1 -s 8900 10.1.0.2
	sent=$(($(cat /sys/class/net/$nic/statistics/tx_packets) - before))
	[ "$sent" -lt 20 ] || fail "10 pings took $sent packets"
	between 10.1.0 1
	ip link set "$nic" mtu 1500
	in_peer ip link set "$peer" mtu 1500
}

check link 60 'the link goes down and comes up from outside'
check_link() {
	nic 2
	for turn in 1 2 3; do
		ask action stream0 link state=down
		wait_until 10 carrier_is 0
		! reaches 10.1.0.2 || fail 'a packet passed'
		ask action stream0 link state=up
		wait_until 10 carrier_is 1
		wait_until 10 reaches 10.1.0.2
	done
	figure '3 times'
}

check filter 60 'another MAC address, promiscuous mode and an announcement reach the device'
check_filter() {
	nic 2
	ip link set "$nic" address 52:54:00:00:00:12
	wait_until 10 status_has stream0 mac 52:54:00:00:00:12
	ip link set "$nic" promisc on
	wait_until 10 status_has stream0 promiscuous true
	ip link set "$nic" promisc off
	wait_until 10 status_has stream0 promiscuous false
	ip link set "$nic" address 52:54:00:00:00:02
	ask action stream0 announce
	wait_until 10 status_has stream0 announcing false
	wait_until 10 reaches 10.1.0.2
}

check capture 30 'pcap: what passes is in the file'
check_capture() {
	make_data 1
	ask stream capture listen:0 1M 1M
	{
		echo 'this is in the capture'
		cat /tmp/data
	} | head -c 1048576 | nc 10.0.2.2 "$answer" >/tmp/got
	ask stream-wait capture
	ask grep user.pcap this is in the capture
	ask stat user.pcap
	figure "$((${answer% *} >> 10)) KiB"
}

# The namespace goes, and its interfaces come back to the first one (after a while: by a work queue).
leave_peer() {
	ip netns del peer
	wait_until 10 have_nics
}

check bind 90 'unbind and bind'
check_bind() {
	leave_peer
	bind_cycle virtio_net
	wait_until 10 have_nics
	configure
	wait_until 10 reaches 10.1.0.2
	outward bind 10.0.2.2 1
}

check module 90 'module unload and load'
check_module() {
	leave_peer
	module_cycle virtio_net
	wait_until 10 have_nics
	configure
	wait_until 10 reaches 10.1.0.2
	outward module 10.0.2.2 1
}

check reboot 120 'guest reboot with the network busy'
check_reboot() {
	nic 1
	sends_plainly "$nic"
	nic 2
	sends_plainly "$nic"
	sends_plainly "$(peer_nic 10.1.0)" in_peer
	wait_until 10 reaches 10.0.2.2
	wait_until 10 reaches 10.1.0.2
	ask stream busy listen:0 1G 1G
	nc 10.0.2.2 "$answer" </dev/zero >/dev/null &
	ping -f 10.1.0.2 >/dev/null &
	ask reboot
	reboot -f
	sleep 1000
}
resume_reboot() {
	wait_until 10 reaches 10.1.0.2
	outward after 10.0.2.2 1
}

check log 10 'the kernel has not complained'
check_log() {
	quiet_kernel
}
