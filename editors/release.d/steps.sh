# The steps of editors/release, which sets root, tools, out and logs and then sources this file.
#
#   install_tools; one linux-x64 x86_64-unknown-linux-gnu x86_64-unknown-linux-gnu.2.28; echo "$state $size $remark"

version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -1)
zig_version=0.17.1
zigbuild_version=0.24.0

die() { printf 'release: %s\n' "$*" >&2; exit 1; }
step() { printf '== %s (%ss)\n' "$*" "$SECONDS" >&2; }

install_tools() {
    command -v rustup >/dev/null || die "rustup is missing: it brings Rust's standard library for each platform (https://rustup.rs)"
    export PATH=$tools/bin:$PATH
    [ "$("$tools/bin/cargo-zigbuild" --version 2>/dev/null)" = "cargo-zigbuild $zigbuild_version" ] && return
    step "zig $zig_version and cargo-zigbuild $zigbuild_version"
    python3 -m venv "$tools" || die "python3 with the venv module is missing (apt-get install python3-venv)"
    "$tools/bin/pip" install -q "ziglang==$zig_version" "cargo-zigbuild==$zigbuild_version" || die "pip could not install zig from PyPI"
}

# One platform; sets state, size and remark.
one() {
    local platform=$1 target=$2 zig=$3 program
    program=$out/$platform/infill$([[ $platform == win32-* ]] && echo .exe || true)
    state="not possible" size=- remark=
    rm -rf "${out:?}/$platform" "$out"/infill-*"$platform"*
    rustup target add "$target" >"$logs/$platform-target.log" 2>&1 || { remark=$(last_error "$platform-target"); return; }
    if compile "$platform" "$target" "$zig" "$program"; then
        state=built size=$(numfmt --to=si "$(stat -c %s "$program")")
        remark=$(try_it "$platform" "$program")
        licences "$target" "$(dirname "$program")"
        archive "$platform" "$program"
        extension "$platform" "$program"
    elif type_check "$platform" "$zig"; then
        state=type-checked remark="does not link: $(last_error "$platform-build")"
    else
        remark=$(last_error "$platform-check")
    fi
}

compile() {
    local platform=$1 target=$2 zig=$3 program=$4
    step "$platform: cargo zigbuild --target $zig"
    (cd "$root" && with_frameworks "$platform" cargo zigbuild --release --locked --bin infill --target "$zig") >"$logs/$platform-build.log" 2>&1 || return 1
    install -D "$CARGO_TARGET_DIR/$target/release/$(basename "$program")" "$program"
}

# Runs a command; for macOS, with the stubs that stand in for its frameworks.
with_frameworks() {
    local platform=$1
    shift
    [[ $platform == darwin-* ]] || { "$@"; return; }
    "$root/editors/release.d/frameworks.py" "$tools/frameworks"
    RUSTFLAGS="${RUSTFLAGS:-} -L framework=$tools/frameworks" "$@"
}

type_check() {
    step "$1: it does not link; cargo check"
    (cd "$root" && cargo-zigbuild check --release --locked --bin infill --target "${2%.2.28}") >"$logs/$1-check.log" 2>&1
}

last_error() { grep -m1 -iE '^error' "$logs/$1.log" || tail -1 "$logs/$1.log"; }

# Runs the program where this machine can, itself or in an emulator: its arithmetic against the reference (which starts no second
# program: an emulator's child would need the kernel's help). Prints what was seen.
try_it() {
    local platform=$1 program=$2 emulator arguments
    emulator=$(runner "$platform") || { echo "not run: no such machine here, and no emulator"; return; }
    for arguments in --version "verify $root/fixtures/reference/lite"; do
        # shellcheck disable=SC2086  # words, not one
        $emulator "$program" $arguments >>"$logs/$platform-run.log" 2>&1 ||
            die "$platform: built, but \`infill $arguments\` fails: $(tail -1 "$logs/$platform-run.log") ($logs/$platform-run.log)"
    done
    echo "runs${emulator:+ in ${emulator%% *}}: --version, verify"
}

# What runs a platform's programs here: nothing (they run themselves) or an emulator; fails where neither is at hand.
# For arm64: apt-get install qemu-user-static libc6-arm64-cross. Not wine: Debian 12's (8.0) lacks bcryptprimitives.dll, which
# every Rust program needs.
runner() {
    local libc=/usr/aarch64-linux-gnu
    case $(uname -m)-$1 in
        x86_64-linux-x64 | aarch64-linux-arm64) ;;
        *-linux-arm64) [ -d $libc/lib ] && command -v qemu-aarch64-static >/dev/null && echo "qemu-aarch64-static -L $libc" ;;
        *) false ;;
    esac
}

# What the licences of infill, of the crates in it, of Rust's library and of what zig adds ask to go along.
licences() {
    local target=$1 folder=$2 rust zig=$tools/lib/python3*/site-packages/ziglang
    rust=$(rustc --print sysroot)/share/doc/rust/COPYRIGHT-library.html
    # shellcheck disable=SC2206  # a pattern
    zig=($zig)
    local more=("zig's compiler-rt=${zig[0]}/LICENSE" "LLVM's libunwind=${zig[0]}/lib/libunwind/LICENSE.TXT")
    [[ $target != *windows* ]] || more+=("mingw-w64=${zig[0]}/lib/libc/mingw/COPYING")
    cp "$root"/LICENSE-* "$folder"
    "$root/editors/release.d/licences.py" "$target" "${more[@]}" >"$folder/THIRD-PARTY-LICENSES" || die "the licences of what is linked in (above)"
    cp "$rust" "$folder/THIRD-PARTY-LICENSES-rust.html" || die "Rust's own licences are missing: rustup's toolchain has them in share/doc"
}

# The program with its licences, as people unpack it.
archive() {
    local name=infill-$version-$1 folder
    folder=$(dirname "$2")
    if [[ $1 == win32-* ]]; then
        (cd "$folder" && python3 -m zipfile -c "$out/$name.zip" ./*)
    else
        tar -C "$folder" --owner=0 --group=0 --numeric-owner -czf "$out/$name.tar.gz" .
    fi
}

# VS Code's extension with the program inside.
extension() {
    local code=$root/editors/vscode
    command -v npm >/dev/null || die "npm is missing, so no .vsix can be made (Node 20: apt-get install nodejs npm)"
    step "$1: .vsix"
    [ -d "$code/node_modules" ] || npm ci --prefix "$code" --ignore-scripts --no-audit --no-fund >"$logs/npm.log" 2>&1 || die "npm ci: $logs/npm.log"
    npm run --prefix "$code" package -- --target "$1" --binary "$2" --out "$out/infill-$1-$version.vsix" >"$logs/$1-vsix.log" 2>&1 ||
        die "$1: no .vsix: $(tail -1 "$logs/$1-vsix.log") ($logs/$1-vsix.log)"
}

print_table() {
    printf '\n%-13s %-13s %-6s %s\n' platform state size ''
    local row platform state size remark
    for row in "${rows[@]}"; do
        IFS='|' read -r platform state size remark <<<"$row"
        printf '%-13s %-13s %-6s %s\n' "$platform" "$state" "$size" "$remark"
    done
    printf '\n%s\n' "$out:"
    (cd "$out" && while read -r sum file; do printf '%s  %6s  %s\n' "$sum" "$(stat -c %s "$file" | numfmt --to=si)" "$file"; done <SHA256SUMS)
}
