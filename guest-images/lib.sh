# SPDX-License-Identifier: MIT
# shellcheck shell=sh
#
# What the scripts of this folder and of tests/testhost share: messages, and the cache.
# Sourced, not run. The sourcing script sets $prog (its name in messages) first.

# Everything that is built lives here, each thing in a folder named KIND-HASH.
vmm_cache=${VMM_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:?HOME is not set}/.cache}/vmm}

# Reproducible outputs: every time stamp that we write is this one.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-1735689600}
LC_ALL=C
export SOURCE_DATE_EPOCH LC_ALL
umask 022

say() {
    printf '%s: %s\n' "${prog:?}" "$*" >&2
}

die() {
    say "$*"
    exit 1
}

# need TOOL PACKAGE: TOOL must be there; PACKAGE has it.
need() {
    PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null 2>&1 ||
        die "$1 is missing; install it with 'make deps' (Debian package $2)"
}

# hash_of WORD...: 16 hexadecimal digits that stand for these words.
hash_of() {
    printf '%s\n' "$@" | sha256sum | cut -c1-16
}

# hash_files FILE...: the same for the content of files.
hash_files() {
    cat -- "$@" | sha256sum | cut -c1-16
}

# cached KIND KEY BUILD [ARG...]: sets $cached to the folder $vmm_cache/KIND-KEY. Where it does not
# exist yet, BUILD FOLDER ARG... is called with an empty folder to fill, which then gets the final name
# in one step: nobody ever sees half of it. One builder at a time for each KIND; the others wait.
cached() {
    cached_kind=$1
    cached_build=$3
    cached=$vmm_cache/$1-$2
    shift 3
    if [ -d "$cached" ]; then
        touch -c "$cached"
        return 0
    fi
    need flock util-linux
    mkdir -p "$vmm_cache"
    exec 9>"$vmm_cache/.$cached_kind.lock"
    flock -n 9 || {
        say "waiting for another run that is building a $cached_kind"
        flock 9
    }
    if [ ! -d "$cached" ]; then
        # Holding the lock, what stands there was left by a run that died.
        cached_tmp=$vmm_cache/.$cached_kind.build
        rm -rf "$cached_tmp"
        mkdir -p "$cached_tmp"
        trap 'rm -rf "$cached_tmp"' EXIT
        trap 'exit 129' HUP
        trap 'exit 130' INT
        trap 'exit 143' TERM
        "$cached_build" "$cached_tmp" "$@" 9>&-
        mv -T "$cached_tmp" "$cached"
        trap - EXIT HUP INT TERM
        # What nobody has used for two months goes.
        find "$vmm_cache" -maxdepth 1 -name "$cached_kind-*" -mtime +60 -exec rm -rf {} +
    fi
    exec 9>&-
}
