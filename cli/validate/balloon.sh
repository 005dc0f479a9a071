# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#: title   virtio-balloon: memory that goes back to the host
#: class   virtio-balloon
#: modules virtio_balloon
#: cpus    2
#: memory  512M
#: device  virtio-balloon id=balloon,free-page-hint=on

full=$((512 << 20))

rss() {
	ask rss
	rss=$answer
}

# use MIB: the guest's kernel hands out that much memory, and gets it back.
use() {
	head -c "$1m" /dev/zero >/dev/shm/use
}

rss_below() {
	rss
	[ "$rss" -lt "$1" ]
}

prepare() {
	modprobe virtio_balloon
}

check probe 30 'the driver has taken the device'
check_probe() {
	prepare
	balloon_status
	[ "$(value driver)" = true ]
	[ "$(value actual)" = $full ]
}

check inflate 120 'inflate to a target; the RSS of the host process falls'
check_inflate() {
	n=$(mib 256 64)
	use "$n"
	rm /dev/shm/use
	rss
	before=$rss
	target $((full - (n << 20)))
	balloon_status
	[ "$(value returned-inflated)" -ge $((n << 20)) ] || fail "only $(value returned-inflated) bytes went back"
	# What was inflated need not be what was used: but some of it was.
	wait_until 20 rss_below $((before - (n << 20) / 4)) || fail "RSS was $before bytes and is $rss"
	figure "$((before >> 20)) to $((rss >> 20)) MiB"
}

# meminfo NAME: that line of /proc/meminfo, in kB.
meminfo() {
	awk -v name="$1:" '$1 == name {print $2}' /proc/meminfo
}

# Pages that are just being reported are nobody's: the guest's kernel takes them out of its free lists for that.
free_grows_by() {
	now=$(meminfo MemFree)
	[ $((now - before)) -gt "$1" ]
}

check deflate 60 'deflate; the guest has its memory back'
check_deflate() {
	n=$(mib 256 64)
	before=$(meminfo MemFree)
	target $full
	wait_until 10 free_grows_by $((n << 9)) || fail "MemFree was $before kB and is $now"
	figure "MemFree $((before >> 10)) to $((now >> 10)) MiB"
}

# near A B PERCENT
near() {
	d=$(($1 - $2))
	[ "${d#-}" -le $(($2 / 100 * $3)) ]
}

statistics_match() {
	ask action balloon stats
	[ -n "$(value free-memory)" ] && [ "$(value age-ms)" -lt 2000 ] &&
		near "$(value total-memory)" $(($(meminfo MemTotal) << 10)) 1 &&
		near "$(value free-memory)" $(($(meminfo MemFree) << 10)) 10 &&
		near "$(value available-memory)" $(($(meminfo MemAvailable) << 10)) 10
}

check statistics 60 'statistics match /proc/meminfo'
check_statistics() {
	ask action balloon stats-interval seconds=1
	wait_until 15 statistics_match || fail "$answer, but $(grep ^Mem /proc/meminfo | tr -s '\n ' ' ')"
	figure "free $(($(value free-memory) >> 20)) MiB"
	ask action balloon stats-interval seconds=0
}

check reporting 120 'free page reporting: what the guest frees goes back to the host'
check_reporting() {
	n=$(mib 256 64)
	use "$n"
	rss
	before=$rss
	rm /dev/shm/use
	wait_until 60 rss_below $((before - (n << 19))) || fail "RSS was $before bytes and is $rss"
	balloon_status
	[ "$(value returned-reported)" -ge $((n << 19)) ] || fail "only $(value returned-reported) bytes were reported"
	figure "$((before >> 20)) to $((rss >> 20)) MiB"
}

hinted() {
	balloon_status
	[ "$(value hints-complete)" = true ]
}

check hinting 60 'free page hinting: all free memory, on demand'
check_hinting() {
	balloon_status
	before=$(value returned-hinted)
	ask action balloon hint-start
	wait_until 30 hinted || fail "not complete: $answer"
	ask action balloon hint-stop
	balloon_status
	[ "$(value returned-hinted)" -gt "$before" ] || fail 'nothing was hinted'
	figure "$(($(value returned-hinted) >> 20)) MiB"
}

check oom 120 'out of memory: the balloon deflates before anything is killed'
check_oom() {
	free=$(awk '/^MemAvailable/ {print $2}' /proc/meminfo)
	# All but 64 MiB; then twice that is needed.
	goal=$((full - ((free - 65536) << 10)))
	target $((goal >> 12 << 12))
	head -c 128m /dev/zero | tail -c 128m | wc -c >/run/count
	[ "$(cat /run/count)" = $((128 << 20)) ] || fail 'the program that needed memory was killed'
	balloon_status
	[ "$(value actual)" -gt "$goal" ] || fail 'the balloon stayed as it was'
	figure "$((goal >> 20)) to $(($(value actual) >> 20)) MiB"
	target $full
}

check bind 60 'unbind and bind, with pages in the balloon'
check_bind() {
	goal=$((full - ($(mib 64 16) << 20)))
	target $goal
	bind_cycle virtio_balloon
	wait_until 60 is_actual $goal
}

check module 60 'module unload and load, with pages in the balloon'
check_module() {
	goal=$((full - ($(mib 64 16) << 20)))
	target $goal
	module_cycle virtio_balloon
	wait_until 60 is_actual $goal
	target $full
}

check reboot 60 'guest reboot while the balloon inflates'
check_reboot() {
	ask action balloon target "size=$((256 << 20))"
	ask reboot
	reboot -f
	sleep 1000
}
resume_reboot() {
	target $full
}

check log 10 'the kernel has not complained'
check_log() {
	quiet_kernel
}
