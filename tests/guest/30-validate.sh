#!/bin/bash
# SPDX-License-Identifier: MIT
#
# `vmm validate` over Debian's kernels. One session of the nested test host (or this machine itself, where
# its KVM can) runs all; validate/inside does it there.
#
#   VMM_VALIDATE=all       three kernels, all drivers, split and packed rings (make check-guest)
#   anything else          a cut of that which takes some minutes in the nested test host (make check)
#
# 30-validate.sh [KERNEL:DRIVER:RINGS...] runs only these; KERNEL is 6.1-cloud, 6.1 or 6.12-cloud.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

[ -x "$vmm" ] || bail_out "$vmm is not there: make"
export VMM_BUILD=$build

declare -A packages=(
	[6.1-cloud]=linux-image-cloud-amd64
	[6.1]=linux-image-amd64
	[6.12-cloud]='linux-image-6.12.*+deb12-cloud-amd64'
)

drivers=$("$vmm" validate --list | sed -n 's/^\([a-z]*\):.*/\1/p')
todo=("$@")
if [ $# = 0 ] && [ "${VMM_VALIDATE-}" = all ]; then
	for kernel in 6.1-cloud 6.1 6.12-cloud; do
		for driver in $drivers; do
			todo+=("$kernel:$driver:split" "$kernel:$driver:packed")
		done
	done
elif [ $# = 0 ]; then
	# Not scsi and serial, which take longest; every kernel and both kinds of rings are among them.
	todo=(6.1-cloud:blk:split 6.12-cloud:net:packed 6.1:rng:split 6.12-cloud:balloon:packed)
fi

kernels=
for item in "${todo[@]}"; do
	kernel=${item%%:*}
	[ -n "${packages[$kernel]-}" ] || bail_out "$item: KERNEL:DRIVER:RINGS, with a kernel of ${!packages[*]}"
	case " $kernels" in *" $kernel="*) continue ;; esac
	folder=$("$repo/guest-images/kernel" "${packages[$kernel]}") || bail_out "no kernel ${packages[$kernel]}"
	kernels="$kernels $kernel=$folder"
done
export VMM_VALIDATE_KERNELS=$kernels

# Where processors are emulated, amounts of data shrink.
slow=1
! "$repo/tests/testhost/needed" >/dev/null || slow=16
export VMM_VALIDATE_SLOW=${VMM_VALIDATE_SLOW:-$slow}

run_todo --memory 6144 --scratch 8G --timeout "${VMM_VALIDATE_TIMEOUT:-10000}" -- "$repo/tests/guest/validate/inside"
