#!/bin/bash
# SPDX-License-Identifier: MIT
#
# The command line: what it says to bad input, how it ends, and that it leaves nothing behind.

# shellcheck source-path=SCRIPTDIR source=lib.sh
. "$(dirname "$0")/lib.sh"

[ -x "$vmm" ] || bail_out "$vmm is not there: make"
[ -e "$build/guest/exit.elf" ] || bail_out "$build/guest is not there: make guests"
exit_elf=$build/guest/exit.elf
files=$tmp/files
mkdir "$files"

# patched NAME BYTES: exit.elf with other instructions than `xor eax, eax; out 0xf4, al`.
patched() {
	local at
	at=$(LC_ALL=C grep -aboP '\x31\xc0\xe6\xf4' "$exit_elf" | head -n 1 | cut -d: -f1)
	cp "$exit_elf" "$files/$1"
	# shellcheck disable=SC2059 # the bytes are a format
	printf "$2" | dd of="$files/$1" bs=1 seek="$at" conv=notrunc status=none
}
patched idle.elf '\220\220\220\220'
patched five.elf '\260\005\346\364'

kvm=yes
{ exec 9<>/dev/kvm; } 2>/dev/null || kvm=
exec 9>&-

# ---- bad input ----

# What a run may leave nowhere: files (in its folder, the temporary one, and in $files), processes.
mkdir "$tmp/cwd" "$tmp/tmpdir"
leftovers() {
	find "$tmp/cwd" "$tmp/tmpdir" -mindepth 1
	find "$files" | sort | comm -13 "$tmp/before" -
	grep -lazs "^VMM_TEST_MARK=$$\$" /proc/[0-9]*/environ
}

# judge NAME STATUS [TEXT...]: the last run must have ended so, with one line on standard error that
# has every TEXT, nothing on standard output, and no leftovers.
judge() {
	local name=$1 wanted=$2 text left
	shift 2
	left=$(leftovers)
	if [ "$status" != "$wanted" ]; then
		not_ok "$name" "exit status $status, wanted $wanted" "$messages"
	elif [ "$(wc -l <"$messages")" != 1 ] || ! grep -q '^vmm: ' "$messages"; then
		not_ok "$name" 'not one line "vmm: …" on standard error' "$messages"
	elif [ -s "$console" ]; then
		not_ok "$name" 'something on standard output' "$console"
	elif [ -n "$left" ]; then
		not_ok "$name" "left behind: $left"
	else
		for text; do
			grep -qF -- "$text" "$messages" && continue
			not_ok "$name" "the message lacks \"$text\"" "$messages"
			return
		done
		ok "$name"
	fi
}

# refuses NAME STATUS TEXT... -- COMMAND...
refuses() {
	local expected=()
	while [ "$1" != -- ]; do
		expected+=("$1")
		shift
	done
	shift
	find "$files" | sort >"$tmp/before"
	status=0
	(cd "$tmp/cwd" && VMM_TEST_MARK=$$ TMPDIR=$tmp/tmpdir \
		exec timeout -k 5 60 "$@" </dev/null >"$console" 2>"$messages") || status=$?
	judge "${expected[@]}"
}

# The same where the VM needs /dev/kvm to come as far as the mistake.
refuses_with_kvm() {
	if [ -n "$kvm" ]; then refuses "$@"; else skip "$1" '/dev/kvm cannot be opened'; fi
}

run=("$vmm" run --kernel "$exit_elf")

refuses 'no command' 2 'help' -- "$vmm"
refuses 'unknown command' 2 "'rum'" 'did you mean run?' -- "$vmm" rum
refuses 'a command as other tools call it' 2 "'list'" 'did you mean ls?' -- "$vmm" list
refuses 'unknown option before the command' 2 "'--hlep'" 'did you mean --help?' -- "$vmm" --hlep
refuses 'unknown help topic' 2 "'exit'" -- "$vmm" help exit
refuses 'check-host takes no argument' 2 "'x'" -- "$vmm" check-host x
refuses 'config: unknown option' 2 'did you mean --disk?' "'vmm config --help'" -- "$vmm" config --dsk x
refuses 'a config file that is not there' 1 "$tmp/none" 'No such file' -- "$vmm" run --config "$tmp/none"
refuses 'a config file that is a folder' 1 "$tmp" 'directory' -- "$vmm" run --config "$tmp"
refuses 'validate: no kernel' 2 '--kernel' -- "$vmm" validate
refuses 'validate: not a kernel' 1 'neither a bzImage' -- "$vmm" validate --kernel /bin/sh
refuses 'validate: no such kernel' 1 'No such file' -- "$vmm" validate --kernel "$tmp/none"
refuses 'validate: unknown driver' 2 "'scsy'" 'did you mean scsi?' -- "$vmm" validate --kernel x --only net,scsy
refuses 'validate: unknown rings' 2 'split, packed or both' -- "$vmm" validate --kernel x --ring round
refuses 'validate: no jobs' 2 '1 to 64' -- "$vmm" validate --kernel x --jobs 0
refuses 'validate: unknown option' 2 'did you mean --modules?' -- "$vmm" validate --module x
refuses 'unknown option' 2 '--kernal' 'did you mean --kernel?' -- "$vmm" run --kernal=x
refuses 'unknown option that resembles none' 2 '--frobnicate' '--help' -- "${run[@]}" --frobnicate
refuses 'unknown short option' 2 '-z' -- "${run[@]}" -z
refuses 'a long option with one dash' 2 '-kernel' 'did you mean --kernel?' -- "$vmm" run -kernel x
refuses 'an argument that is no option' 2 "'bzImage'" -- "${run[@]}" bzImage
refuses 'an option without its value' 2 '--initrd needs a value' -- "${run[@]}" --initrd
refuses 'an option in place of a value' 2 '--initrd needs a value' -- "${run[@]}" --initrd --quiet
refuses 'a value where none belongs' 2 '--quiet' "'yes'" -- "${run[@]}" --quiet=yes
refuses 'no kernel' 2 '--kernel' -- "$vmm" run
for n in 0 -1 256 10000 99999999999999999999 two 1.5 ''; do
	refuses "--cpus '$n'" 2 '--cpus' "$n" '1 to 255' -- "${run[@]}" "--cpus=$n"
done
refuses '--memory without a unit' 2 '512' 'did you mean 512M?' -- "${run[@]}" --memory 512
refuses '--memory below the least' 2 '--memory 8M' '16M' -- "${run[@]}" --memory 8M
refuses '--memory that is no size' 2 '--memory lots' '512M' -- "${run[@]}" --memory lots
refuses '--memory beyond 64 bits' 2 '--memory 99999999T' -- "${run[@]}" --memory 99999999T
refuses '--memory with an unknown key' 2 "'hugepage'" 'did you mean hugepages?' 'prealloc' -- \
	"${run[@]}" --memory 64M,hugepage=on
refuses '--memory with a bad switch' 2 'prealloc=maybe' 'on' -- "${run[@]}" -m 64M,prealloc=maybe
refuses '--memory, more than the host has' 1 '104857600' 'host' -- "${run[@]}" --memory 100T
refuses '--serial' 2 'stdoi' 'did you mean stdio?' 'unix:PATH' -- "${run[@]}" --serial stdoi
refuses '--log' 2 'loud' 'error, warn, info, debug, text or json' -- "${run[@]}" --log loud
refuses '--log in a folder that is not there' 1 '--log' "$files/none/x" 'No such file' -- \
	"${run[@]}" --log "info,file=$files/none/x"
mkfifo "$files/pipe"
refuses '--log to a pipe that nobody reads' 1 "$files/pipe" 'nobody reads' -- \
	"${run[@]}" --log "file=$files/pipe"
refuses '--on-reboot' 2 'rest' 'did you mean reset?' -- "${run[@]}" --on-reboot rest
for n in 0 -5 soon 1s 0.0; do
	refuses "--timeout $n" 2 "--timeout $n" 'seconds' -- "${run[@]}" "--timeout=$n"
done
refuses 'unknown device' 2 'virtio-blok' 'did you mean virtio-blk?' -- "${run[@]}" --device virtio-blok
refuses 'no device' 2 '--device' -- "${run[@]}" --device ''
refuses 'unknown option of a device' 2 '"pth"' '"path"' 'readonly' -- \
	"${run[@]}" --device virtio-blk,pth=x
refuses 'unknown option of a disk' 2 '--disk' '"cach"' '"cache"' -- "${run[@]}" --disk x,cach=none
refuses 'bad value of a disk' 2 'cache=nine' '"none"' 'writethrough' -- "${run[@]}" --disk x,cache=nine
refuses 'disk without a path' 2 '--disk' 'path' -- "${run[@]}" --disk readonly=on
refuses 'disk with nothing' 2 '--disk' -- "${run[@]}" --disk ''
refuses 'disk on an unknown bus' 2 'bus=scis' 'virtio or scsi' 'did you mean scsi?' -- \
	"${run[@]}" --disk x,bus=scis
refuses 'disk of an unknown kind' 2 'media=dvd' 'disk or cdrom' -- "${run[@]}" --disk x,media=dvd
refuses 'a CD-ROM that is not SCSI' 2 'media=cdrom' 'bus=scsi' -- "${run[@]}" --disk x,media=cdrom
refuses 'unknown option of a stream' 2 '--serial' '"bogus"' 'wait-for' -- \
	"${run[@]}" --serial stdio,bogus=1
refuses 'unknown stream of a device' 2 'isa-serial' 'stdoi' 'did you mean stdio?' -- \
	"${run[@]}" --device isa-serial,chardev=stdoi
refuses '--control that is no socket' 2 '--control tcp:1' 'unix:PATH or none' -- \
	"${run[@]}" --control tcp:1
refuses '--control without a path' 2 '--control unix:' 'unix:PATH or none' -- "${run[@]}" --control unix:
refuses 'a --name that cannot be the name of a folder' 2 "--name 'a/b'" '--control none' -- \
	"${run[@]}" --name a/b
refuses '--detach without a way to reach the VM' 2 '--detach' '--name' -- "${run[@]}" --detach
refuses '--detach with the terminal' 2 '--detach' 'stdio' -- \
	"${run[@]}" --detach --control unix:/nonexistent/s --serial stdio
refuses_with_kvm 'a control socket in no folder' 1 '/nonexistent/s' 'No such file' -- \
	"${run[@]}" --memory 64M --control unix:/nonexistent/s
refuses 'a VM that does not run' 1 '/nonexistent/s' 'no VM listens' -- "$vmm" status /nonexistent/s
refuses 'a VM by name without XDG_RUNTIME_DIR' 1 'XDG_RUNTIME_DIR' -- \
	env -u XDG_RUNTIME_DIR "$vmm" status web
refuses 'no list without XDG_RUNTIME_DIR' 1 'XDG_RUNTIME_DIR' -- env -u XDG_RUNTIME_DIR "$vmm" ls
refuses 'status of which VM' 2 'usage: vmm status NAME' -- "$vmm" status
refuses 'status of two VMs' 2 "'b'" 'usage: vmm status NAME' -- "$vmm" status a b
refuses 'an option that a command does not take' 2 '--follow' 'usage: vmm kill NAME' -- \
	"$vmm" kill a --follow
refuses 'the schema of some options' 2 '--schema' 'stands alone' -- "$vmm" config --schema --kernel x
refuses 'an option of other commands, with its usage' 2 '--json' '(usage: vmm pause NAME)' -- "$vmm" pause web --json
for words in 'pause web --json' 'disk resize web d0 1G --json' 'net link web n0 up --json' 'events web --timeout 1'; do
	# shellcheck disable=SC2086 # words
	if "$vmm" $words 2>&1 | grep -q 'did you mean'; then
		not_ok "no option is proposed that is none of the command: $words" "$("$vmm" $words 2>&1)"
	else
		ok "no option is proposed that is none of the command: $words"
	fi
done
refuses 'a misspelt option of a command' 2 '--jsno' 'did you mean --json?' -- "$vmm" ls --jsno
refuses 'a command that is nearly one' 2 "'pasue'" 'did you mean pause?' -- "$vmm" pasue
refuses 'a balloon of no size' 2 "'big'" 'size' -- "$vmm" balloon a big
refuses 'an option of the backend as one of the card' 2 'hostfwd' 'backend=NETWORK,,hostfwd=tcp::2299-:22' -- \
	"$vmm" device add a virtio-net,backend=user,hostfwd=tcp::2299-:22
refuses 'a disk of no size' 2 "'big'" 'size' -- "$vmm" disk resize a d0 big
refuses 'a link that is neither up nor down' 2 'up|down' -- "$vmm" net link a net0 sideways
refuses 'devices in another way' 2 'is not ls, add, del or act' -- "$vmm" device list a
refuses 'a device to add with a value that has no key' 2 "'=b'" 'key=value' -- \
	"$vmm" device add a scsi-disk,=b
refuses 'help on a device to add' 2 "'vmm run --device scsi-disk,help' lists the keys" -- \
	"$vmm" device add a scsi-disk,help
refuses 'stop with a timeout that is none' 2 '--timeout soon' -- "$vmm" stop a --timeout soon
refuses 'QMP arguments that are no JSON' 2 'JSON' -- "$vmm" qmp a query-block '{'
refuses '--serial with nothing' 2 '--serial needs a value' -- "${run[@]}" --serial=
refuses 'an id twice' 2 '--disk' 'id=x' -- "${run[@]}" --disk a,id=x --disk b,id=x
refuses 'an id of a disk and of the serial port' 2 '--serial' 'id=x' -- \
	"${run[@]}" --serial none,id=x --disk a,id=x
for id in 0a a/b '' "$(printf '%064d' 0 | tr 0 a)"; do
	refuses "the id '$id'" 2 '--disk' "id=$id: " 'begins with a letter' -- \
		"${run[@]}" --disk "a,id=$id"
done
refuses 'two ids' 2 'id is given twice' -- "${run[@]}" --disk a,id=x,id=y
refuses '--port without a stream' 2 '--port agent' 'NAME=STREAM' -- "${run[@]}" --port agent
refuses '--port without a name' 2 '--port =pty' 'NAME=STREAM' -- "${run[@]}" --port =pty
refuses '--defaults' 2 '--defaults maybe' 'on' -- "${run[@]}" --defaults maybe
for option in net console balloon rng; do
	refuses "--$option with nothing" 2 "--$option needs a value" -- "${run[@]}" "--$option="
done

# Options that stand for a device which this build may lack; then they say that.
"$vmm" run --device help >"$tmp/classes"
refuses_of() { # CLASS, then as refuses
	local class=$1 name=$2
	shift
	if grep -q "^  $class " "$tmp/classes"; then
		refuses "$@"
	else
		while [ "$1" != -- ]; do shift; done
		refuses "$name (no $class)" 2 "this build has no device" "$@"
	fi
}
refuses_of virtio-net 'unknown network backend' 2 '--net' 'usre' -- "${run[@]}" --net usre
refuses_of virtio-net 'unknown option of a network' 2 '--net' 'maac' -- "${run[@]}" --net user,maac=x
refuses_of virtio-net 'bad value of a network card' 2 '--net' 'queues=0' -- \
	"${run[@]}" --net user,queues=0
refuses_of console-port 'unknown stream of a console' 2 '--console' 'stdoi' 'did you mean stdio?' -- \
	"${run[@]}" --console stdoi
refuses_of console-port 'standard input for two' 2 'standard input' 'console-port' 'isa-serial' -- \
	"${run[@]}" --console stdio --serial stdio
refuses_of serial-port 'a port name twice' 2 '--port a' 'already' -- \
	"${run[@]}" --port a=pty --port a=none
refuses_of serial-port 'unknown option of a port' 2 '--port a' 'lnk' -- "${run[@]}" --port a=pty,lnk=x
refuses_of virtio-balloon 'a balloon that is neither on nor off' 2 '--balloon maybe' 'on, off or KEY=VALUE' -- \
	"${run[@]}" --balloon maybe
refuses_of virtio-balloon 'unknown option of the balloon' 2 '--balloon' 'sise' -- \
	"${run[@]}" --balloon sise=1
refuses_of virtio-rng 'unknown option of the entropy' 2 '--rng' 'byts' -- "${run[@]}" --rng byts=1
refuses_of scsi-disk 'unknown option of a SCSI disk' 2 '--disk' 'pth' -- \
	"${run[@]}" --disk x,bus=scsi,pth=y

refuses 'missing kernel' 1 "$files/none" 'No such file' -- "$vmm" run --kernel "$files/none"
refuses 'a directory as kernel' 1 "$files" -- "$vmm" run --kernel "$files"
: >"$files/empty"
refuses 'an empty kernel' 1 "$files/empty" -- "$vmm" run --kernel "$files/empty"
head -c 100000 /dev/urandom >"$files/noise"
refuses 'a kernel that is none' 1 "$files/noise" -- "$vmm" run --kernel "$files/noise"
head -c 200 "$exit_elf" >"$files/short.elf"
refuses 'a truncated vmlinux' 1 "$files/short.elf" -- "$vmm" run --kernel "$files/short.elf"

# A bzImage (boot protocol 2.15) whose header promises 1 MiB, of which the first 3000 bytes are there.
truncate -s 3000 "$files/short.bz"
put() {
	# shellcheck disable=SC2059 # the bytes are a format
	printf "$2" | dd of="$files/short.bz" bs=1 seek=$(($1)) conv=notrunc status=none
}
put 0x1f1 '\003'                  # setup_sects
put 0x1f4 '\000\000\001\000'      # syssize, in paragraphs
put 0x1fe '\125\252\353\146HdrS\017\002'
put 0x211 '\001'                  # loadflags: loaded high
put 0x230 '\000\000\040\000\001\025\003\000' # alignment, relocatable, 64-bit entry
put 0x238 '\377\007\000\000'      # cmdline_size
put 0x248 '\000\002\000\000\000\000\010\000' # payload
put 0x258 '\000\000\000\001\000\000\000\000\000\000\000\001' # pref_address, init_size
refuses 'a truncated bzImage' 1 "$files/short.bz" -- "$vmm" run --kernel "$files/short.bz"

refuses 'missing initrd' 1 "$files/none" 'No such file' -- "${run[@]}" --initrd "$files/none"
truncate -s 40M "$files/big"
refuses 'an initrd that does not fit' 1 -- "${run[@]}" --memory 32M --initrd "$files/big"
refuses 'a command line that is too long' 1 -- "${run[@]}" --append "$(printf '%0100000d' 0)"

refuses_with_kvm 'missing disk' 1 "$files/none" 'No such file' -- "${run[@]}" --disk "$files/none"
refuses_with_kvm 'a directory as disk' 1 "$files" 'directory' -- "${run[@]}" --disk "$files"
refuses 'a transport that there is not' 2 'transport=isa' 'pci' 'mmio' -- \
	"${run[@]}" --device "virtio-blk,path=$files/none,transport=isa"
nine=()
for n in 1 2 3 4 5 6 7 8 9; do
	truncate -s 1M "$files/nine-$n.img"
	nine+=(--device "virtio-blk,path=$files/nine-$n.img,transport=mmio")
done
refuses_with_kvm 'nine devices with transport=mmio' 1 'no more than 8' 'transport=mmio' -- \
	"${run[@]}" "${nine[@]}"
truncate -s 1000 "$files/odd.img"
refuses_with_kvm 'a disk of 1000 bytes' 1 "$files/odd.img" '1000' -- "${run[@]}" --disk "$files/odd.img"
refuses_with_kvm 'an empty disk' 1 "$files/empty" -- "${run[@]}" --disk "$files/empty"
refuses_with_kvm 'file:PATH in a folder that is not there' 1 "$files/none/x" -- \
	"${run[@]}" --serial "file:$files/none/x"
refuses_with_kvm 'a socket that was made is removed again' 1 "$files/none" -- \
	"${run[@]}" --device "isa-serial,chardev=unix:$files/socket" --disk "$files/none"

# ---- /dev/kvm ----

# shows NAME FILE WORD...: FILE has every word.
shows() {
	local name=$1 file=$2 word
	shift 2
	for word; do
		grep -qF -- "$word" "$file" && continue
		not_ok "$name" "$word is missing"
		return
	done
	ok "$name"
}

# in_dev COMMANDS ARGUMENT...: runs the arguments with a /dev of their own, as COMMANDS prepare it.
own=(unshare -m)
[ "$(id -u)" = 0 ] || own=(unshare -rm)
in_dev() {
	local prepare=$1
	shift
	"${own[@]}" sh -c "mount -t tmpfs -o mode=755 none /dev && : >/dev/null && $prepare
		exec \"\$@\"" sh "$@"
}
if in_dev : true 2>/dev/null; then
	refuses 'no /dev/kvm' 1 '/dev/kvm' 'kvm_' -- "${own[@]}" sh -c \
		'mount -t tmpfs none /dev && : >/dev/null && exec "$@"' sh "${run[@]}" --serial none
	in_dev : "$vmm" check-host >"$console" 2>"$messages"
	status=$?
	if [ "$status" = 1 ] && grep -q '^bad  *KVM ' "$console" && grep -q '^ok  *memory' "$console"; then
		ok 'check-host without /dev/kvm'
	else
		not_ok 'check-host without /dev/kvm' "exit status $status" "$console" "$messages"
	fi
else
	skip 'no /dev/kvm' 'no mount namespaces here'
fi

# As an ordinary user, where the device is root's. The command is copied to where that user may read.
public=$(mktemp -d /tmp/vmm-test-public.XXXXXX)
trap 'clean_up; rm -rf "$public"' EXIT
cp "$vmm" "$exit_elf" "$public"
chmod -R a+rX "$public"
closed='mknod -m 600 /dev/kvm c 10 232 && '
if [ "$(id -u)" = 0 ] && in_dev "$closed" "$vmm" --version >/dev/null 2>&1; then
	ordinary=(setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all)
	refuses 'no permission for /dev/kvm' 1 'permission' '/dev/kvm' 'group' -- \
		unshare -m sh -c "mount -t tmpfs -o mode=755 none /dev && $closed exec \"\$@\"" sh \
		"${ordinary[@]}" "$public/vmm" run --kernel "$public/exit.elf" --serial none
	# advises NAME COMMANDS WORD...: check-host's advice where the commands have made /dev/kvm.
	advises() {
		local name=$1
		in_dev "$2" "${ordinary[@]}" "$public/vmm" check-host >"$console" 2>"$messages"
		shift 2
		shows "$name" "$console" "$@"
	}
	advises 'check-host: whom /dev/kvm is to belong to' "$closed" \
		'chgrp kvm /dev/kvm && chmod 0660 /dev/kvm && usermod -aG kvm USER; then log in again'
	advises 'check-host: which group to join' "$closed chgrp tty /dev/kvm && chmod 660 /dev/kvm && " \
		'usermod -aG tty USER, as root; then log in again'
else
	skip 'no permission for /dev/kvm' 'only root can set this up'
fi

# ---- help, manual, completion ----

"$vmm" run --help >"$console" 2>"$messages" </dev/null
mapfile -t options < <(sed -nE 's/^  (-., |    )--([a-z-]+).*/--\2/p' "$console")
if [ "${#options[@]}" -ge 14 ]; then ok 'run --help'; else not_ok 'run --help' 'too few options' "$console"; fi
shows 'every option is in the completion' "$repo/cli/vmm.bash-completion" "${options[@]}"
# In mdoc, `--name` is written `Fl Fl name`.
shows 'every option is in the manual page' "$repo/cli/vmm.1" "${options[@]/#--/Fl Fl }"
mapfile -t classes < <("$vmm" run --device help | sed -nE 's/^  ([a-z0-9-]+) .*/\1/p')
keys=()
for class in "${classes[@]}"; do
	mapfile -t -O "${#keys[@]}" keys < <("$vmm" run --device "$class,help" | sed -nE 's/^  ([a-z-]+)=.*/Cm \1/p')
done
shows 'every device and its options are in the manual page' "$repo/cli/vmm.1" \
	"${classes[@]/#/It Cm }" "${keys[@]}"
"$vmm" run --serial help >"$console" 2>"$messages" </dev/null
shows '--serial help lists the streams' "$console" stdio pty unix:PATH file:PATH none index=
"$vmm" run --net help >"$console" 2>"$messages" </dev/null
shows '--net help lists the networks, their keys and the card'"'"'s' "$console" user hostfwd= tap ifname= \
	stream:unix:PATH dgram:unix:PATH none mac=
for topic in run config validate check-host exit-status ls device; do
	if "$vmm" help "$topic" >"$console" 2>"$messages" && [ -s "$console" ] && [ ! -s "$messages" ]; then
		ok "help $topic"
	else
		not_ok "help $topic" "exit status $?" "$messages"
	fi
done
if [ "$("$vmm" --version)" = "vmm $(sed -n 's/.*define VMM_VERSION "\(.*\)"/\1/p' "$repo/include/vmm.h")" ]; then
	ok '--version'
else
	not_ok '--version' "$("$vmm" --version)"
fi
if [ -w /dev/full ]; then
	status=0
	"$vmm" help >/dev/full 2>"$messages" || status=$?
	if [ "$status" = 1 ] && grep -q 'standard output' "$messages"; then
		ok 'output that is lost is an error'
	else
		not_ok 'output that is lost is an error' "exit status $status" "$messages"
	fi
else
	skip 'output that is lost is an error' 'no /dev/full'
fi
if command -v mandoc >/dev/null; then
	if mandoc -Tlint -Wwarning "$repo/cli/vmm.1" >"$messages" 2>&1; then
		ok 'the manual page is clean'
	else
		not_ok 'the manual page is clean' 'mandoc -Tlint complains' "$messages"
	fi
elif command -v groff >/dev/null; then
	groff -ww -mdoc -Tutf8 "$repo/cli/vmm.1" 2>"$messages" >/dev/null
	if [ -s "$messages" ]; then
		not_ok 'the manual page is clean' 'groff complains' "$messages"
	else
		ok 'the manual page is clean'
	fi
else
	skip 'the manual page is clean' 'neither mandoc nor groff here'
fi

status=0
"$vmm" check-host >"$console" 2>"$messages" || status=$?
bad=0
! grep -q '^bad' "$console" || bad=1
if [ "$status" = "$bad" ] && grep -q 'KVM' "$console" && grep -q 'io_uring' "$console"; then
	ok 'check-host'
	shows 'check-host says what comes of the network devices' "$console" '--net tap' '--net tap,vhost=on'
else
	not_ok 'check-host' "exit status $status" "$console" "$messages"
fi

# ---- how it ends ----

if [ -z "$kvm" ]; then
	skip 'exit statuses, signals and the terminal' '/dev/kvm cannot be opened'
	finish
fi

idle=("$vmm" run --kernel "$files/idle.elf" --memory 32M)
five=("$vmm" run --kernel "$files/five.elf" --memory 32M --serial none)

ends() { # NAME STATUS: judges $status
	if [ "$status" = "$2" ]; then ok "$1"; else not_ok "$1" "exit status $status, wanted $2" "$messages"; fi
}

# wait_for COMMAND...: until it succeeds, for 30 s at most.
wait_for() {
	local tries=0
	until "$@"; do
		tries=$((tries + 1))
		[ "$tries" -lt 3000 ] || return 1
		sleep 0.01
	done
}

status=0
timeout 60 "${five[@]}" --device debug-exit >"$console" 2>"$messages" </dev/null || status=$?
ends 'debug-exit: 5 gives 11' 11

find "$files" | sort >"$tmp/before"
status=0
timeout 60 "${idle[@]}" --serial none --timeout 0.2 >"$console" 2>"$messages" </dev/null || status=$?
judge '--timeout' 124 '0.2' '--timeout'

# The guest takes no notice of its power button. The first signal is announced, the second ends. Nothing of this
# depends on what whoever started this script ignores (nohup: SIGHUP), which a process inherits.
for signal in TERM:143 INT:130 HUP:129; do
	find "$files" | sort >"$tmp/before"
	env --default-signal="${signal%:*}" "${idle[@]}" --serial "unix:$files/socket" >"$console" 2>"$messages" </dev/null &
	pids=($!)
	wait_for test -S "$files/socket"
	# The socket is there a moment before signals have their meaning; until then one ends all.
	wait_for grep -qs "^SigBlk:.*[1-9a-f]" "/proc/${pids[0]}/status"
	kill -"${signal%:*}" "${pids[0]}"
	wait_for grep -q 'once more' "$messages" || :
	kill -"${signal%:*}" "${pids[0]}" 2>/dev/null
	wait_for_end "${pids[0]}" 30 || kill -KILL "${pids[0]}"
	status=0
	wait "${pids[0]}" || status=$?
	judge "SIG${signal%:*} twice" "${signal#*:}" 'power off'
	pids=()
done

# A disk that another VM uses, for as long as that runs.
truncate -s 1M "$files/disk.img"
"${idle[@]}" --serial "unix:$files/socket" --disk "$files/disk.img" >"$tmp/other" 2>&1 </dev/null &
pids=($!)
if wait_for test -S "$files/socket"; then
	refuses 'a disk that another VM uses' 1 "$files/disk.img" 'locked' -- \
		"${run[@]}" --serial none --disk "$files/disk.img"
	refuses 'the same, only for reading' 1 "$files/disk.img" 'locked' -- \
		"${run[@]}" --serial none --disk "$files/disk.img,readonly=on"
else
	not_ok 'a disk that another VM uses' 'the first VM does not start' "$tmp/other"
fi
kill -KILL "${pids[0]}"
wait "${pids[0]}" 2>/dev/null
pids=()
rm -f "$files/socket"
status=0
timeout 60 "${five[@]}" --device debug-exit --disk "$files/disk.img" \
	>"$console" 2>"$messages" </dev/null || status=$?
ends 'the disk is free once that VM is gone' 11

# Descriptors 0 to 2 closed: nothing else may take their numbers.
status=0
timeout 60 "${idle[@]}" --timeout 0.2 <&- >&- 2>&- || status=$?
ends 'standard descriptors closed' 124

# ---- the terminal ----

# On a terminal: starts a VM, waits until it has made the terminal raw, does $2 with the process $pid,
# and prints its status and whether the modes are what they were.
cat >"$tmp/on-terminal" <<'END'
exec 3<&0
before=$(stty -g)
wait_for_mode() { # -icanon (raw) or " icanon"
	tries=0
	until stty -a <&3 | grep -q -- "$1" || [ "$tries" = 1000 ]; do
		tries=$((tries + 1))
		sleep 0.01
	done
}
{
	wait_for_mode -icanon
	pid=$(cat "$1/pid")
	eval "$2"
} &
sh -c 'echo $$ >"$1/pid"; shift; exec "$@"' sh "$1" "$3" run --kernel "$4" --memory 32M
echo "status $?"
[ "$(stty -g)" != "$before" ] || echo restored
END

# on_terminal NAME STATUS ACTION
on_terminal() {
	mkfifo "$tmp/keys"
	exec 8<>"$tmp/keys"
	timeout -k 5 60 script -qec "bash '$tmp/on-terminal' '$tmp' '$3' '$vmm' '$files/idle.elf'" /dev/null \
		<&8 >"$console" 2>&1
	exec 8>&-
	rm "$tmp/keys"
	# Where that failed, the VM may still run.
	if grep -qs "$files/idle.elf" "/proc/$(cat "$tmp/pid")/cmdline"; then
		kill -KILL "$(cat "$tmp/pid")"
	fi
	if grep -q "^status $2" "$console" && grep -q '^restored' "$console"; then
		ok "$1"
	else
		not_ok "$1" "wanted status $2, and the terminal's modes restored" "$console"
	fi
}

if ! command -v script >/dev/null; then
	skip 'the terminal is restored' 'script(1) is missing'
	finish
fi
ulimit -c 0
# In a build with sanitizers these signals would give a report and another status.
export ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}handle_segv=0:handle_sigbus=0
# shellcheck disable=SC2016 # $pid is for the script
{
	on_terminal 'Ctrl-a x leaves, and the terminal is restored' 0 'printf "\001x" >"$1/keys"'
	on_terminal 'stopped by SIGTSTP it gives the terminal back, and takes it again' 0 \
		'kill -TSTP $pid; wait_for_mode " icanon"; kill -CONT $pid; wait_for_mode -icanon
		printf "\001x" >"$1/keys"'
	for signal in SEGV:139 ABRT:134 BUS:135 QUIT:131; do
		on_terminal "the terminal is restored after SIG${signal%:*}" "${signal#*:}" \
			"kill -${signal%:*} \$pid"
	done
	on_terminal 'the terminal is restored after SIGTERM twice' 143 \
		'kill -TERM $pid; timeout 30 grep -q "once more" < <(exec tail -c +1 -f "$1/console"); kill -TERM $pid'
}

finish
