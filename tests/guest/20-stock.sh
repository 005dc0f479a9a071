#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Stock guests: Debian's kernels and userland, unmodified, on build/vmm. One session of the nested test
# host (or this machine itself, where its KVM can) runs them all: stock/inside has the tests,
# stock/root/bin/t is what runs in the small guests. 20-stock.sh [TEST...] runs only these.
set -u

here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)
VMM_BUILD=$(realpath -m "${VMM_BUILD:-$repo/build}")
export VMM_BUILD

bail_out() {
	echo "Bail out! $*"
	exit 1
}

[ -x "$VMM_BUILD/vmm" ] || bail_out "$VMM_BUILD/vmm is not there: make"

images=$repo/guest-images
overlay=$here/stock/root
settings=$("$images/debian-disk" --env) || bail_out 'cannot build the Debian disk'
eval "$settings"
newer=$("$images/kernel" 'linux-image-6.12.*+deb12-cloud-amd64') || bail_out 'no kernel 6.12'

# KERNEL, KERNELDIR, INITRD and DISK come from the settings.
export VMM_STOCK_KERNEL=$KERNEL VMM_STOCK_BOOT_INITRD=$INITRD VMM_STOCK_DISK=$DISK
export VMM_STOCK_NEWER_KERNEL=$newer/vmlinuz
# shellcheck disable=SC2155 # a failure of these shows in the guests
{
	export VMM_STOCK_VERSION=$(cat "$KERNELDIR/version")
	export VMM_STOCK_INITRD=$("$images/initramfs" --overlay "$overlay" "$KERNELDIR")
	export VMM_STOCK_NEWER_VERSION=$(cat "$newer/version")
	export VMM_STOCK_NEWER_INITRD=$("$images/initramfs" --overlay "$overlay" "$newer")
}

todo=("$@")
[ $# -gt 0 ] ||
	todo=(disks_2 disks_1 persistence small_memory reboot panic disk_full kill vhost hotplug debian)

# Memory of the test host is lazy: one guest has 5 GiB and touches little of it.
run_inside() {
	# Two minutes for each round of the test hotplug.
	"$repo/tests/testhost/run-if-needed" --memory 6144 --scratch 6G \
		--timeout $((1500 + ${VMM_HOTPLUG_ROUNDS:-2} * 120)) -- \
		"$here/stock/inside" "${todo[@]}"
	echo "# status $?"
}

count=0
failed=0
status=0

# take LINE: number the results, note what is done.
take() {
	local name left=()
	case $1 in
	'ok '* | 'not ok '*)
		count=$((count + 1))
		[ "${1%% *}" = ok ] || failed=$((failed + 1))
		printf '%s\n' "${1%% [0-9]*} $count - ${1#* - }"
		return
		;;
	'# done '*)
		for name in "${todo[@]}"; do
			[ "# done $name" = "${1% [0-9]* s}" ] || left+=("$name")
		done
		todo=("${left[@]}")
		;;
	'# status '*) status=${1#\# status } ;;
	esac
	printf '%s\n' "$1"
}

echo "# $("$repo/tests/testhost/needed" || :)"
# QEMU's emulation of nested virtualization is not perfect: a test host that dies (125) says nothing about
# vmm. Then the tests that are left get a fresh one, twice at most.
for attempt in 1 2 3; do
	while IFS= read -r line; do
		take "$line"
	done < <(run_inside)
	if [ "$status" != 125 ] || [ "$attempt" = 3 ]; then
		break
	fi
	echo "# the test host died; once more for ${todo[*]}"
done

echo "1..$count"
if [ "$status" != 0 ]; then
	echo "Bail out! status $status, with these tests left: ${todo[*]}"
	exit 1
fi
[ "$failed" = 0 ]
