# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#: title   virtio-rng: entropy
#: class   virtio-rng
#: modules virtio_rng
#: tools   rngtest
#: cpus    2
#: memory  256M
#: device  virtio-rng id=fast
#: device  virtio-rng id=slow,max-bytes=1K,period=1000

rng=/sys/class/misc/hw_random

# select N: the Nth device in the order of the PCI bus becomes /dev/hwrng.
select_rng() {
	name=$(tr ' ' '\n' <$rng/rng_available | grep '^virtio_rng' | sort | sed -n "$1p")
	echo "$name" >$rng/rng_current
	[ "$(cat $rng/rng_current)" = "$name" ]
}

have_rngs() {
	[ "$(tr ' ' '\n' <$rng/rng_available | grep -c '^virtio_rng')" = 2 ]
}

prepare() {
	modprobe virtio_rng
	wait_until 10 have_rngs
}

check probe 30 'the driver offers both devices as hwrng, and one of them is in use'
check_probe() {
	prepare
	grep '^virtio_rng' $rng/rng_current
	figure "$(cat $rng/rng_current)"
}

check rngtest 120 'rngtest over 1,000 blocks of 20,000 bits'
check_rngtest() {
	need rngtest
	select_rng 1
	blocks=$((1000 / slow))
	# Of a thousand good blocks, about one fails FIPS 140-2.
	head -c $((blocks * 2500 + 4)) /dev/hwrng >/tmp/random
	rngtest -c $blocks </tmp/random 2>/run/rngtest || :
	good=$(sed -n 's/.*FIPS 140-2 successes: //p' /run/rngtest)
	[ "$good" -ge $((blocks - 1 - blocks / 200)) ] || fail "$good of $blocks blocks passed"
	[ "$(head -c 4096 /dev/hwrng | sha256sum)" != "$(head -c 4096 /dev/hwrng | sha256sum)" ]
	figure "$good of $blocks blocks"
}

check limit 60 'the rate limit of 1 KiB a second holds'
check_limit() {
	select_rng 2
	# What the driver and the kernel have in store, and a full bucket.
	head -c 2048 /dev/hwrng >/dev/null
	start=$(milliseconds)
	head -c 6144 /dev/hwrng >/dev/null
	ms=$(($(milliseconds) - start))
	[ "$ms" -ge 4500 ] || fail "6 KiB in $ms ms"
	# On a real host it is not much slower either.
	[ "$ms" -le $((12000 * slow)) ] || fail "6 KiB took $ms ms"
	figure "6 KiB in $ms ms"
}

check bind 30 'unbind and bind'
check_bind() {
	bind_cycle virtio_rng
	wait_until 10 have_rngs
	select_rng 1
	[ "$(head -c 4096 /dev/hwrng | wc -c)" = 4096 ]
}

check module 30 'module unload and load'
check_module() {
	module_cycle virtio_rng
	wait_until 10 have_rngs
	select_rng 1
	[ "$(head -c 4096 /dev/hwrng | wc -c)" = 4096 ]
}

check reboot 60 'guest reboot with the device busy'
check_reboot() {
	cat /dev/hwrng >/dev/null &
	ask reboot
	reboot -f
	sleep 1000
}
resume_reboot() {
	select_rng 1
	[ "$(head -c 4096 /dev/hwrng | wc -c)" = 4096 ]
}

check log 10 'the kernel has not complained'
check_log() {
	quiet_kernel
}
