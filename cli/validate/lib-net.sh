# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# What the scripts about networks share ("#: include"): finding a card by the last byte of its
# address, 52:54:00:00:00:0N, and what goes through it.

# find_nic N: sets $nic to the interface; false if it is not in this namespace.
find_nic() {
	for nic in /sys/class/net/*; do
		# A VLAN has the same address, but no device.
		if [ -e "$nic/device" ] && [ "$(cat "$nic/address")" = "52:54:00:00:00:0$1" ]; then
			nic=${nic##*/}
			return 0
		fi
	done
	return 1
}

nic() {
	find_nic "$1" || fail "no interface $1"
}

reaches() {
	ping -c 1 -W 2 "$1"
}

listens() {
	netstat -ltn | grep ":$1 "
}

carrier_is() {
	[ "$(cat "/sys/class/net/$nic/carrier")" = "$1" ]
}

# busy_queues NIC NAME: how many of its queues with this name have had interrupts.
busy_queues() {
	awk -v name="^$(basename "$(readlink -f "/sys/class/net/$1/device")")-$2" '
		$NF ~ name {
			n = 0
			for (i = 2; $i ~ /^[0-9]+$/; i++)
				n += $i
			if (n > 0)
				busy++
		}
		END {print busy + 0}' /proc/interrupts
}

# inward NAME ID MIB: connect from the host to the guest through the first hostfwd of the card ID, which leads
# to port 5001, and send both ways.
inward() {
	make_data "$3"
	ask action "$2" status
	port=$(value host)
	nc -l -p 5001 </tmp/data >/tmp/got &
	wait_until 10 listens 5001
	ask stream "$1" "tcp:${port##*:}" "$3M" "$3M"
	wait
	judge "$1"
}

# each_cpu ADDRESS: some connections to the host from each CPU.
each_cpu() {
	make_data 1
	cpu=0
	while [ $cpu -lt "$(nproc)" ]; do
		for turn in 1 2 3 4; do
			ask stream cpu$cpu-$turn listen:0 1M 1M
			taskset $((1 << cpu)) /bin/busybox nc "$1" "$answer" </tmp/data >/tmp/got
			judge cpu$cpu-$turn
		done
		cpu=$((cpu + 1))
	done
}

# status_has ID NAME VALUE: what a card reports of itself.
status_has() {
	ask action "$1" status
	[ "$(value "$2")" = "$3" ]
}

# sends_plainly NIC [COMMAND...]: from now on it sends without NAPI; COMMAND leads to its namespace. A kernel that breaks
# the queues of its devices at a shutdown (virtio_dev_shutdown) can otherwise spin for ever in start_xmit of a card
# that is busy then, whatever the device does: it waits for the end of buffers at which it does not look any more.
sends_plainly() {
	card=$1
	shift
	command -v ethtool || return 0
	"$@" ip link set "$card" down
	"$@" ethtool -C "$card" tx-frames 0
	"$@" ip link set "$card" up
}
