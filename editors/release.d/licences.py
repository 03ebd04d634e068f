#!/usr/bin/env python3
"""The licences of what is linked into the program for a target, as one text on stdout.

    editors/release.d/licences.py x86_64-unknown-linux-gnu [MORE...] > THIRD-PARTY-LICENSES

Crates: those that `cargo metadata` reaches from infill by normal dependencies on that target (not what only builds or tests it), with
every licence file that lies in their source; equal texts stand once. A crate without such a file gets the usual text of the
licence that its Cargo.toml names, with its authors. Rust's standard library is named at the end. MORE: other licence files, such as those
of a C library that the linker adds, each as NAME=FILE. Fails for a crate whose licence it has no text for.
"""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LICENCE = re.compile(r"(?i)^(licen[cs]e|copying|notice|copyright|unlicen[cs]e)|licen[cs]e(\.md|\.txt)?$")
NOT_TEXT = {".rs", ".py", ".c", ".h", ".json", ".toml"}
RULE = "\n" + "=" * 100 + "\n"


def linked(target):
    """The packages linked in, without infill itself, by name."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", target]
    found = json.loads(subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout)
    packages = {p["id"]: p for p in found["packages"]}
    needs = {n["id"]: n["deps"] for n in found["resolve"]["nodes"]}
    seen, todo = set(), [found["resolve"]["root"]]
    while todo:
        one = todo.pop()
        if one in seen:
            continue
        seen.add(one)
        todo += [d["pkg"] for d in needs[one] if any(kind["kind"] is None for kind in d["dep_kinds"])]
    seen.remove(found["resolve"]["root"])
    return sorted((packages[one] for one in seen), key=lambda p: (p["name"], p["version"]))


def files(package):
    """The licence files in a package's source, wherever they lie: ring and others carry code of others below."""
    folder = Path(package["manifest_path"]).parent
    own = {folder / package["license_file"]} if package["license_file"] else set()
    found = {f for f in folder.rglob("*") if f.is_file() and LICENCE.search(f.name) and f.suffix not in NOT_TEXT}
    return sorted(own | found)


def usual(package):
    """For a package that carries no text: MIT's, with its authors, which all of them allow so far."""
    if "MIT" not in re.split(r"[\s/()]+", package["license"] or ""):
        sys.exit(f"{package['name']} {package['version']} ({package['license']}) carries no licence text: add one to {Path(__file__).name}")
    body = (ROOT / "LICENSE-MIT").read_text()
    permission = body[body.index("Permission is hereby granted") :]
    return f"The MIT License (MIT)\n\nCopyright (c) {', '.join(package['authors']) or 'the authors of ' + package['name']}\n\n{permission}"


def texts(package):
    found = [f.read_text(errors="replace").strip() for f in files(package)]
    return found or [usual(package).strip()]


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    packages = linked(sys.argv[1])
    print(f"infill contains the work of others. These are the {len(packages)} crates linked into it, and the licences that they are under.\n")
    for p in packages:
        print(f"  {p['name']} {p['version']}: {p['license'] or 'see its text'}  {p['repository'] or ''}".rstrip())
    print("\nRust's standard library is linked in too: see THIRD-PARTY-LICENSES-rust.html.")
    by_text = {}
    for p in packages:
        for text in texts(p):
            key = hashlib.sha256(" ".join(text.split()).encode()).digest()
            by_text.setdefault(key, (text, []))[1].append(f"{p['name']} {p['version']}")
    for more in sys.argv[2:]:
        name, file = more.split("=", 1)
        by_text[name] = (Path(file).read_text(errors="replace").strip(), [name])
    for text, names in by_text.values():
        print(f"{RULE}{', '.join(names)}{RULE}\n{text}")


if __name__ == "__main__":
    main()
