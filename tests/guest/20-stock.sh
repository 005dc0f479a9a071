#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Stock guests: Debian's kernels and userland, unmodified, on build/vmm. One session of the nested test
# host (or this machine itself, where its KVM can) runs them all: stock/inside has the tests,
# stock/root/bin/t is what runs in the small guests.
set -eu

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
settings=$("$images/debian-disk" --include dbus --env) || bail_out 'cannot build the Debian disk'
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

echo "# $("$repo/tests/testhost/needed" || :)"
# Memory of the test host is lazy: one guest has 5 GiB and touches little of it.
exec "$repo/tests/testhost/run-if-needed" --memory 6144 --scratch 6G --timeout 1500 -- "$here/stock/inside" "$@"
