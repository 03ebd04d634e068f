#!/usr/bin/env python3
"""Stubs of the macOS frameworks that the program is linked with, for a machine without Apple's SDK.

    editors/release.d/frameworks.py FOLDER
    -> FOLDER/CoreFoundation.framework/CoreFoundation.tbd, Security.framework/…, SystemConfiguration.framework/…

Certificates (rustls-native-certs) and proxies (hyper-util) are asked of macOS itself, through three frameworks that every macOS has. To link, only
their names and those of their functions are needed, which a text-based stub lists: here all that the crates declare as foreign. It holds nothing of
Apple's. A crate that links another framework makes the link fail, with its name: add it below.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FRAMEWORKS = {
    "CoreFoundation": "core-foundation-sys",
    "Security": "security-framework-sys",
    "SystemConfiguration": "system-configuration-sys",
}
BLOCK = re.compile(r'extern "C" \{(.*?)^\s*\}', re.S | re.M)
NAME = re.compile(r'link_name = "([^"]+)"|pub (?:fn|static(?: mut)?) (\w+)')
STUB = """--- !tapi-tbd
tbd-version:     4
targets:         [ x86_64-macos, arm64-macos ]
install-name:    '/System/Library/Frameworks/{name}.framework/Versions/A/{name}'
current-version: 1
compatibility-version: 1
exports:
  - targets:         [ x86_64-macos, arm64-macos ]
    symbols:         [ {symbols} ]
...
"""


def sources():
    """Folders of the crates, by name."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", "aarch64-apple-darwin"]
    found = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
    return {p["name"]: Path(p["manifest_path"]).parent for p in found["packages"]}


def declared(folder):
    """What a crate declares as foreign: functions, statics, and the names that some go by."""
    texts = [f.read_text() for f in sorted(folder.glob("src/**/*.rs"))]
    pairs = [pair for text in texts for block in BLOCK.findall(text) for pair in NAME.findall(block)]
    return sorted({a or b for a, b in pairs})


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folders = sources()
    for name, crate in FRAMEWORKS.items():
        if crate not in folders:
            sys.exit(f"{crate} is no longer among the dependencies: take {name} out of {Path(__file__).name}")
        symbols = ", ".join(f"'_{symbol}'" for symbol in declared(folders[crate]))
        folder = Path(sys.argv[1], f"{name}.framework")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.tbd").write_text(STUB.format(name=name, symbols=symbols))


if __name__ == "__main__":
    main()
