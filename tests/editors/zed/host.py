"""A stand-in for Zed: loads the compiled extension and asks it what Zed asks, one line per case.

    python host.py zed_infill.wasm /usr/bin/infill WORKDIR

It gives the extension a worktree, a PATH and settings (all that it imports of Zed), and the
last cases start the command that came back and speak LSP to it as Zed does: settings, a file, completion items.
"""
import json
import struct
import sys
import traceback

from wasmtime import Engine, Store, WasiConfig
from wasmtime import component as wasm

from lsp import Server

API_VERSION = (0, 7, 0)  # that of the crate in editors/zed/Cargo.toml; Zed refuses a version it does not know
ON_PATH = "/usr/local/bin/infill"


class Zed:
    """One loaded extension; `settings` is the value of lsp.infill, `on_path` what the worktree finds."""

    def __init__(self, path, workdir, settings=None, on_path=None):
        self.settings, self.on_path, self.asked = settings or {}, on_path, []
        engine = Engine()
        self.store = Store(engine)
        wasi = WasiConfig()
        wasi.env = [("PWD", "/ext")]  # Zed sets it: the extension reads it when it starts
        wasi.preopen_dir(workdir, "/ext")
        wasi.inherit_stderr()
        self.store.set_wasi(wasi)
        component = wasm.Component.from_file(engine, path)
        self.instance = self.linker(engine, component).instantiate(self.store, component)
        self.call("init-extension")

    def linker(self, engine, component):
        linker = wasm.Linker(engine)
        linker.add_wasip2()
        with linker.root() as root:
            for name in component.type.imports(engine):
                if name.startswith("zed:"):  # types only; a function of Zed's that the extension came to use fails to link
                    root.add_instance(name).close()
            for number, name in enumerate(("worktree", "project", "key-value-store"), 1):
                root.add_resource(name, wasm.ResourceType.host(number), lambda *_: None)
            root.add_func("[method]worktree.id", lambda store, tree: self.of(store, tree, 1))
            root.add_func("[method]worktree.which", lambda store, tree, name: self.of(store, tree, self.which(name)))
            root.add_func("get-settings", self.get_settings)
        return linker

    @staticmethod
    def of(store, worktree, value):
        worktree.drop(store)
        return value

    def which(self, name):
        self.asked.append(("which", name))
        return self.on_path

    def get_settings(self, _store, _location, category, key):
        self.asked.append((category, key))
        written = {"binary": None, "initialization_options": None, "settings": None}
        return wasm.Variant("ok", json.dumps({**written, **self.settings}))

    def call(self, name, *arguments):
        function = self.instance.get_func(self.store, name)
        result = function(self.store, *arguments)
        if hasattr(function, "post_return"):
            function.post_return(self.store)
        return result

    def ask(self, name):
        """What the extension answers for this worktree: ("ok" or "err", value)."""
        worktree = wasm.ResourceHost.own(1, 1).to_any(self.store)
        result = self.call(name, "infill", worktree)
        if isinstance(result, wasm.Variant):
            return result.tag, result.payload
        return ("err" if isinstance(result, str) else "ok"), result  # untagged where the types alone tell which

    def command(self):
        tag, value = self.ask("language-server-command")
        assert tag == "ok", value
        return value.command, list(value.args), [tuple(pair) for pair in value.env]


def api_version(load, path, _binary):
    """The section that Zed reads before it loads the extension."""
    data = open(path, "rb").read()
    name = b"zed:api-version"
    at = data.index(name) + len(name)
    found = struct.unpack(">HHH", data[at : at + 6])
    assert found == API_VERSION, f"{found}, expected {API_VERSION}"


def settings_first(load, *_):
    named = {"path": "/opt/infill", "arguments": ["lsp", "--log", "f"], "env": {"INFILL_LOG": "debug"}}
    zed = load(settings={"binary": named}, on_path=ON_PATH)
    got = zed.command()
    assert got == ("/opt/infill", ["lsp", "--log", "f"], [("INFILL_LOG", "debug")]), got
    assert zed.asked == [("lsp", "infill")], zed.asked


def then_the_path(load, *_):
    zed = load(on_path=ON_PATH)
    got = zed.command()
    assert got == (ON_PATH, ["lsp"], []), got
    assert ("which", "infill") in zed.asked, zed.asked


def missing(load, *_):
    tag, error = load().ask("language-server-command")
    assert tag == "err", error
    for part in ("not on the PATH", "cargo install", '"binary"', '"arguments": ["lsp"]'):
        assert part in error, f"no {part!r} in: {error}"


def wrong_settings(load, *_):
    tag, error = load(settings={"binary": {"path": 7}}).ask("language-server-command")
    assert tag == "err" and '"lsp.infill"' in error, (tag, error)


def configuration(load, *_):
    zed = load(settings={"settings": {"languages": ["python"]}})
    tag, options = zed.ask("language-server-initialization-options")
    assert (tag, json.loads(options)) == ("ok", {"languages": ["python"]}), options
    tag, answer = zed.ask("language-server-workspace-configuration")
    assert (tag, json.loads(answer)) == ("ok", {"infill": {"languages": ["python"]}}), answer


def serves(load, _path, binary):
    """The command starts the server, and it offers completion items: Zed shows no inline completions of a language server."""
    capabilities, items, complaints = session(load, binary, {"completion": {"show_threshold": "off"}})
    assert capabilities.get("completionProvider"), f"no completion items offered: {capabilities}"
    assert items, "no completion item, although the threshold is off"
    assert not complaints, complaints


def settings_arrive(load, _path, binary):
    """Both ways the settings take (initialization, workspace/configuration) switch a language off."""
    _, items, complaints = session(load, binary, {"languages": ["!python"], "completion": {"show_threshold": "off"}})
    assert not items and not complaints, (items, complaints)


def session(load, binary, settings):
    """What the server announces, offers in a Python file, and complains of, started as the extension says."""
    zed = load(settings={"settings": settings}, on_path=binary)
    command, arguments, env = zed.command()
    options = json.loads(zed.ask("language-server-initialization-options")[1])
    configured = json.loads(zed.ask("language-server-workspace-configuration")[1])
    lines = [f"    total += values[{i}]\n" for i in range(8)]
    text = "def add(values):\n    total = 0\n" + "".join(lines) + "    to"
    with Server([command, *arguments], dict(env), configured) as server:
        capabilities = server.initialize(options)["capabilities"]
        items = server.complete("file:///add.py", "python", text, len(lines) + 2, 6)
        return capabilities, items, server.complaints


CASES = [api_version, settings_first, then_the_path, missing, wrong_settings, configuration, serves, settings_arrive]


def main(path, binary, workdir):
    failed = 0
    for case in CASES:
        try:
            case(lambda **given: Zed(path, workdir, **given), path, binary)
            print(f"ok {case.__name__}")
        except Exception as error:
            failed += 1
            print(f"FAIL {case.__name__}: {error or type(error).__name__}")
            traceback.print_exc(limit=-2)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
