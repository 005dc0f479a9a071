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

declare -A packages=(
	[6.1-cloud]=linux-image-cloud-amd64
	[6.1]=linux-image-amd64
	[6.12-cloud]='linux-image-6.12.*+deb12-cloud-amd64'
)

drivers=$("$VMM_BUILD/vmm" validate --list | sed -n 's/^\([a-z]*\):.*/\1/p')
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

run_inside() {
	"$repo/tests/testhost/run-if-needed" --memory 6144 --scratch 8G --timeout "${VMM_VALIDATE_TIMEOUT:-10000}" -- \
		"$here/validate/inside" "${todo[@]}"
	echo "# status $?"
}

count=0
failed=0
status=0

# take LINE: number the results, note what is done.
take() {
	local name left=()
	case $1 in
	'ok - '* | 'not ok - '*)
		count=$((count + 1))
		[ "${1%% *}" = ok ] || failed=$((failed + 1))
		printf '%s\n' "${1%% - *} $count - ${1#* - }"
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
# vmm. Then what is left gets a fresh one, twice at most.
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
	echo "Bail out! status $status, with these left: ${todo[*]}"
	exit 1
fi
[ "$failed" = 0 ]
