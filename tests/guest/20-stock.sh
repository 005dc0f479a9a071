#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Stock guests: Debian's kernels and userland, unmodified, on build/vmm. One session of the nested test
# host (or this machine itself, where its KVM can) runs them all: stock/inside has the tests,
# stock/root/bin/t is what runs in the small guests. 20-stock.sh [TEST...] runs only these;
# VMM_NEWER_KERNEL is the package of the second kernel.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

[ -x "$vmm" ] || bail_out "$vmm is not there: make"
export VMM_BUILD=$build

here=$repo/tests/guest
images=$repo/guest-images
overlay=$here/stock/root
settings=$("$images/debian-disk" --env) || bail_out 'cannot build the Debian disk'
eval "$settings"
newer=$("$images/kernel" "${VMM_NEWER_KERNEL:-linux-image-6.12.*+deb12-cloud-amd64}") || bail_out 'no second kernel'

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
	todo=(disks_2 disks_1 persistence small_memory luns reboot triple_fault panic disk_full kill vhost hotplug debian control)

# Memory of the test host is lazy: one guest has 5 GiB and touches little of it. Two minutes for each round
# of the test hotplug.
run_todo --memory 6144 --scratch 6G --timeout $((1500 + ${VMM_HOTPLUG_ROUNDS:-2} * 120)) -- "$here/stock/inside"
