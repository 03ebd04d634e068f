#!/usr/bin/env bash
# Newer editors than the system's Debian has: unpacks packages, with all they depend on (their own libc too), into a folder
# and relinks their programs so that they run from there. Apt's sources, lists and installed packages stay as they are.
#
#   tests/editors/forky.sh neovim hx                     # -> $E2E_DIR/forky/bin/nvim, $E2E_DIR/forky/bin/hx
#   SUITES=trixie DEST=$E2E_DIR/trixie tests/editors/forky.sh neovim
#
# E2E_DIR   everything downloaded lies under it (default: target/editors)
# SUITES    Debian suites to try, in this order (default: "forky sid trixie"); versions move, so callers assert them
# DEST      folder to unpack into (default: $E2E_DIR/forky)
# Run again with the same packages it does nothing; with others it adds them, from the suite of the first.
set -euo pipefail

fail() { printf 'forky.sh: %s\n' "$*" >&2; exit 1; }
[ $# -gt 0 ] || fail "name the Debian packages to unpack, such as: forky.sh neovim hx"
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
mkdir -p "${E2E_DIR:=$root/target/editors}" "${DEST:=$E2E_DIR/forky}"
DEST=$(readlink -f "$DEST")
state=$DEST/.apt          # a private apt: its own sources, lists and (empty) list of what is installed
have=$DEST/.have          # one file per package that is unpacked and linked

# Two drivers may ask at once.
exec 9>"$DEST/.lock"
flock 9

missing() { for p in "$@"; do [ -e "$have/$p" ] || echo "$p"; done; }

need_tools() {
    command -v apt-get >/dev/null || fail "apt-get is missing: this works on Debian and its derivatives only"
    command -v patchelf >/dev/null && return
    apt-get install -y -q patchelf || { apt-get update -q && apt-get install -y -q patchelf; } ||
        fail "patchelf is missing and could not be installed: apt-get install patchelf"
}

# The mirror that this system already uses for Debian.
mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/\?$' ||
        fail "no Debian mirror among apt's sources (apt-get indextargets)"
}

private_apt() {
    apt-get -q -o Dir::Etc::sourcelist="$state/suite.sources" -o Dir::Etc::sourceparts="$state/none" \
        -o Dir::Etc::preferencesparts="$state/none" -o Dir::State::lists="$state/lists" \
        -o Dir::State::status="$state/status" -o Dir::Cache="$state/cache" -o APT::Install-Recommends=false \
        -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
        -o APT::Update::Error-Mode=any -o APT::Sandbox::User=root \
        -o Binary::apt-get::APT::Keep-Downloaded-Packages=true "$@"
}

# Downloads packages and their closure from one suite; false when the suite lacks one of them.
download() {
    local suite=$1
    shift
    rm -rf "$state"
    mkdir -p "$state"/{lists/partial,cache/archives/partial,none}
    : >"$state/status"
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' \
        "$(mirror)" "$suite" >"$state/suite.sources"
    private_apt update && private_apt install -y --download-only "$@"
}

unpack() {
    local deb
    for deb in "$state"/cache/archives/*.deb; do dpkg-deb -x "$deb" "$DEST"; done
    rm -rf "$state"
}

# Programs get the unpacked loader and library path; it holds for their libraries too, unless one brings its own RUNPATH.
# No LD_LIBRARY_PATH, so that what an editor starts keeps the system's libraries.
relink() {
    local loader libs file
    loader=$(find "$DEST/usr/lib" -name 'ld-linux*.so.*' | head -1)
    [ -n "$loader" ] || fail "no program loader among the unpacked packages in $DEST"
    libs=$(dirname "$loader")
    find "$libs" -maxdepth 1 -type f -name '*.so*' | while read -r file; do
        if readelf -d "$file" 2>/dev/null | grep -q RUNPATH; then patchelf --force-rpath --set-rpath "$libs" "$file"; fi
    done
    programs | while read -r file; do
        patchelf --force-rpath --set-rpath "$libs" --set-interpreter "$loader" "$file"
    done
}

# The editors that are asked for here; other programs of the closure are not started.
programs() {
    local name
    for name in nvim hx; do
        if [ -e "$DEST/usr/bin/$name" ]; then readlink -f "$DEST/usr/bin/$name"; fi
    done
}

# bin/NAME sets what the program would look for under /usr.
wrap() {
    local name
    mkdir -p "$DEST/bin"
    for name in nvim hx; do
        [ -e "$DEST/usr/bin/$name" ] || continue
        printf '#!/bin/sh\nVIMRUNTIME="%s" HELIX_RUNTIME="%s" exec "%s" "$@"\n' "$DEST/usr/share/nvim/runtime" \
            "$DEST/usr/lib/hx/runtime" "$DEST/usr/bin/$name" >"$DEST/bin/$name"
        chmod +x "$DEST/bin/$name"
        "$DEST/bin/$name" --version >/dev/null || fail "$DEST/bin/$name does not run"
    done
}

wanted=$(missing "$@")
[ -n "$wanted" ] || exit 0
need_tools
for suite in $(cat "$DEST/.suite" 2>/dev/null || echo "${SUITES:-forky sid trixie}"); do
    # shellcheck disable=SC2086 # one word per package
    if download "$suite" $wanted; then
        unpack
        relink
        wrap
        echo "$suite" >"$DEST/.suite"
        mkdir -p "$have"
        for package in $wanted; do touch "$have/$package"; done
        echo "forky.sh: unpacked $(echo $wanted) from Debian $suite into $DEST"
        exit 0
    fi
    echo "forky.sh: $suite has no" $wanted "for this system; trying the next suite" >&2
done
fail "none of the suites (${SUITES:-forky sid trixie}) gave $(echo $wanted)"
