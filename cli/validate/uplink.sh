# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# Cards by the last byte of their address: 1 a user network with limits set at run time; 2 a user network that
# lets nothing out but through what was forwarded; 3 passt, which runs outside.
#
#: title   virtio-net: rate limits, restricted user networks, passt
#: class   virtio-net
#: include lib-net.sh
#: modules virtio_net
#: tools   ip
#: cpus    2
#: memory  512M
#: namespace network
#: program passt --foreground --one-off --quiet --ipv4-only --runas @user --socket @/passt --interface lo --mac-addr 52:55:0a:05:00:01 --address 10.5.0.15 --netmask 24 --gateway 10.5.0.1 --dns 10.5.0.1
#: device  virtio-net id=limited,mac=52:54:00:00:00:01,backend=user,,net=10.0.3.0/24
#: device  virtio-net id=closed,mac=52:54:00:00:00:02,backend=user,,restrict=on,,hostfwd=tcp::0-:5001,,guestfwd=tcp:10.0.2.100:80-unix:@/service
#: device  virtio-net id=passt,mac=52:54:00:00:00:03,backend=stream:unix:@/passt,,reconnect=1

. /bin/lib-net.sh

have_nics() {
	find_nic 1 && find_nic 2 && find_nic 3
}

# lease N: sets $address and $gateway by DHCP.
lease() {
	nic "$1"
	ip link set "$nic" up
	dhcp "$nic"
	read -r address gateway _ </run/dhcp
}

need_passt() {
	try program passt || case $answer in
	*'not installed'*) skip "$answer" ;;
	*) fail "$answer" ;;
	esac
	nic 3
	ip link set "$nic" up
	wait_until 10 carrier_is 1 || fail 'passt has not taken the connection'
}

prepare() {
	modprobe virtio_net
	wait_until 10 have_nics
	ip link set lo up
	lease 1
	lease 2
	! try program passt || lease 3
}

check dhcp 60 'user networks: an address by DHCP, also where it was given and where it is restricted'
check_dhcp() {
	modprobe virtio_net
	wait_until 10 have_nics
	ip link set lo up
	lease 1
	[ "$address $gateway" = '10.0.3.15 10.0.3.2' ]
	lease 2
	[ "$address" = 10.0.2.15 ]
	figure "10.0.3.15, $address"
}

check passt 180 'passt: an address by DHCP, and TCP both ways at once, with sha256'
check_passt() {
	need_passt
	lease 3
	[ "$address $gateway" = '10.5.0.15 10.5.0.1' ]
	n=$(mib 64)
	outward passt 10.5.0.1 "$n"
	figure "$n MiB each way, $(per_second $((2 * n)) "$ms")"
}

check restrict 60 'restrict=on: the host is not reached, where another card reaches it'
check_restrict() {
	make_data 1
	ask stream restrict listen:0 1M 1M
	! nc -w 3 10.0.2.2 "$answer" </dev/null || fail 'a connection got out'
	# It takes one connection: so the first one has not come to it.
	nc 10.0.3.2 "$answer" </tmp/data >/tmp/got
	judge restrict
}

check hostfwd 180 'restrict=on: the host connects to the guest (hostfwd), both ways at once, with sha256'
check_hostfwd() {
	n=$(mib 64)
	inward hostfwd closed "$n"
	figure "$n MiB each way, $(per_second $((2 * n)) "$ms")"
}

check guestfwd 180 'restrict=on: the guest connects to a service (guestfwd), both ways at once, with sha256'
check_guestfwd() {
	n=$(mib 64)
	make_data "$n"
	ask stream service listen:@/service "$n"M "$n"M
	nc 10.0.2.100 80 </tmp/data >/tmp/got
	judge service
	figure "$n MiB each way, $(per_second $((2 * n)) "$ms")"
}

# limited NAME LEAST: 2 MiB both ways take LEAST milliseconds at least.
limited() {
	start=$(milliseconds)
	outward "$1" 10.0.3.2 2
	took=$(($(milliseconds) - start))
	[ $took -ge "$2" ] || fail "$1: 2 MiB each way in $took ms"
}

# 2 MiB less 64 KiB at 512 KiB a second take 3,875 ms; with packets' headers more.
check limits 240 'limits set at run time: bytes from the guest, bytes to it, packets from it'
check_limits() {
	ask action limited throttle tx-bps=512K,tx-bps-burst=64K
	limited from 3800
	sent=$took
	ask action limited throttle rx-bps=512K,rx-bps-burst=64K
	limited to 3800
	received=$took
	ask action limited throttle tx-pps=20,tx-pps-burst=2
	start=$(milliseconds)
	ping -c 60 -i 0.01 10.0.3.2 >/run/ping
	took=$(($(milliseconds) - start))
	# The guest itself drops some of what waits for long.
	answers=$(sed -n 's/.* \([0-9]*\) packets received.*/\1/p' /run/ping)
	[ "$answers" -ge 10 ] || fail "only $answers of 60 pings were answered"
	[ $took -ge $(((answers - 3) * 50)) ] || fail "$answers pings in $took ms"
	ask action limited throttle
	outward unlimited 10.0.3.2 2
	figure "2 MiB in $sent ms from the guest, in $received ms to it, $answers pings in $took ms"
}

check log 10 'the kernel has not complained'
check_log() {
	quiet_kernel
}
