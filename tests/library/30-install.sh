#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
#
# What `make install` puts where, and the examples as a new user would try them: built against the
# installed library with pkg-config, run with bare-metal guests.
# shellcheck source-path=SCRIPTDIR source=../guest/lib.sh
. "$(dirname "$0")/../guest/lib.sh"

root=$tmp/root
if make -s -C "$repo" O="$build" PREFIX=/usr "DESTDIR=$root" install >"$messages" 2>&1; then
	ok 'install: make install DESTDIR=… PREFIX=/usr'
else
	not_ok 'install: make install DESTDIR=… PREFIX=/usr' 'it failed' "$messages"
	finish
fi

missing=$(for f in bin/vmm lib/libvmm.a lib/libvmm.so lib/libvmm.so.0 include/vmm.h lib/pkgconfig/vmm.pc \
	share/man/man1/vmm.1 share/man/man3/vmm_create.3 share/man/man3/vmm_next_event.3 \
	share/doc/vmm/api.md share/bash-completion/completions/vmm share/vmm/config.schema.json; do
	[ -e "$root/usr/$f" ] || echo "$f"
done)
if [ -z "$missing" ]; then
	ok 'install: command, library, header, pkg-config, man pages, reference, completion, schema'
else
	not_ok 'install: command, library, header, pkg-config, man pages, reference, completion, schema' "missing: $missing"
fi
if grep -F '/usr/share/doc/vmm/api.md' "$root/usr/share/man/man3/vmm_create.3" >"$messages"; then
	ok 'man pages: they say where the reference is'
else
	not_ok 'man pages: they say where the reference is' "$(tail -n 1 "$root/usr/share/man/man3/vmm_create.3")"
fi

export PKG_CONFIG_PATH=$root/usr/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$root
export LD_LIBRARY_PATH=$root/usr/lib
read -ra flags < <(pkg-config --cflags --libs vmm)
mkdir "$tmp/bin"
for example in console command device; do
	if gcc -std=c11 -pthread -Wall -Wextra -Werror -o "$tmp/bin/$example" "$repo/examples/$example.c" \
		"${flags[@]}" 2>"$messages"; then
		ok "$example: builds against the installed library"
	else
		not_ok "$example: builds against the installed library" 'it does not' "$messages"
	fi
done

read -ra flags < <(pkg-config --static --cflags --libs vmm | sed 's/-lvmm/-l:libvmm.a/')
if gcc -pthread -o "$tmp/bin/static" "$repo/examples/console.c" "${flags[@]}" 2>"$messages" &&
	! ldd "$tmp/bin/static" | grep -F libvmm >"$messages"; then
	ok 'console: builds with the archive, and needs no shared library'
else
	not_ok 'console: builds with the archive, and needs no shared library' 'it does not' "$messages"
fi

# expect NAME STATUS TEXT COMMAND...
expect() {
	local name=$1 wanted=$2 text=$3
	shift 3
	timeout -k 5 60 "$@" >"$console" 2>"$messages" </dev/null
	status=$?
	if [ "$status" = "$wanted" ] && grep -aqF -- "$text" "$console" "$messages"; then
		ok "$name"
	else
		not_ok "$name" "status $status, wanted $wanted; or no \"$text\"" "$console" "$messages"
	fi
}

guests=$build/guest
expect 'console: an error is a sentence' 1 'no-such-kernel' "$tmp/bin/console" "$tmp/no-such-kernel"
if { exec 9<>/dev/kvm; } 2>/dev/null; then
	exec 9>&-
	expect 'console: a guest is booted and its console printed' 0 'hello from a PVH guest' \
		"$tmp/bin/console" "$guests/hello.elf"
	expect 'command: what it prints' 0 'hello there' "$tmp/bin/command" "$guests/shell.elf" '' 'echo hello there'
	expect 'command: its status' 1 '' "$tmp/bin/command" "$guests/shell.elf" '' false
	expect 'command: one that is not there' 127 'not found' "$tmp/bin/command" "$guests/shell.elf" '' nonsense
	expect 'command: a guest without a shell' 125 'no shell' "$tmp/bin/command" "$guests/hello.elf" '' true
	expect 'device: a guest finds it' 0 'the guest read 3 times and says 3' "$tmp/bin/device" "$guests/counter.elf"
else
	skip 'examples: running them' '/dev/kvm cannot be opened'
fi

uninstall() {
	make -s -C "$repo" O="$build" PREFIX=/usr "DESTDIR=$root" uninstall >"$messages" 2>&1
}

# Folders that others share stay.
remains() {
	find "$root" -type f -o -type l -o -type d -path '*/vmm'
}

touch "$root/usr/share/vmm/of-the-user"
if uninstall && [ "$(find "$root" -type f)" = "$root/usr/share/vmm/of-the-user" ]; then
	ok "uninstall: a file of the user's stays"
else
	not_ok "uninstall: a file of the user's stays" "$(remains)" "$messages"
fi
rm -f "$root/usr/share/vmm/of-the-user"
if uninstall && [ -z "$(remains)" ]; then
	ok 'uninstall: nothing is left'
else
	not_ok 'uninstall: nothing is left' "$(remains)" "$messages"
fi
finish
