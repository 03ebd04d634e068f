"""One real Neovim in a terminal (tmux), steered over its RPC socket: keys go in, the screen and its state come out.

    with Editor(nvim, folder, ghost="own") as ed:
        ed.open(path)
        ed.keys("ofoo(")
        ed.wait("require('infill').shown()")
"""
import os
import pathlib
import shlex
import subprocess
import time
from contextlib import suppress

import pynvim

PLUGIN = pathlib.Path(__file__).resolve().parents[3] / "editors" / "neovim"
COLUMNS, ROWS = 100, 30
PATIENCE = 15  # seconds until a condition that does not come is a failure

INIT = """
vim.opt.runtimepath:prepend({plugin!r})
vim.o.swapfile = false
vim.o.statusline = "%f %= %{{v:lua.require'infill'.status()}}"
vim.g.rust_recommended_style = 0
{lines}
"""


class Failure(Exception):
    """What a case expected and did not see."""


class Editor:
    # What was on the screen of the last one that a failure left, plain and in colours.
    failed = None

    def __init__(self, nvim, folder, lines, environment=None):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.socket = self.folder / "rpc"
        self.tmux = ["tmux", "-L", f"infill-{os.getpid()}-{self.folder.name}", "-f", "/dev/null"]
        init = self.folder / "init.lua"
        init.write_text(INIT.format(plugin=str(PLUGIN), lines=lines))
        home = {f"XDG_{name}_HOME": str(self.folder / name.lower()) for name in ("CONFIG", "STATE", "DATA", "CACHE")}
        # Whatever the model has is shown: what is tested is the editor.
        self.environment = {"INFILL_COMPLETION_SHOW_THRESHOLD": "off", "INFILL_ENGINE_SHARED": "false", "TERM": "xterm-256color", **home, **(environment or {})}
        # Given a background, Neovim does not ask the terminal for its colour and wait.
        self.command = [*nvim, "--listen", str(self.socket), "--clean", "--cmd", "set background=dark", "-u", str(init)]

    def __enter__(self):
        words = [f"{name}={value}" for name, value in self.environment.items()]
        # The server takes INFILL_… for settings; this one is the tests'.
        command = shlex.join(["env", "-u", "INFILL_BIN", *words, *self.command])
        subprocess.run([*self.tmux, "new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), command], check=True)
        try:
            self.rpc = self._until(self._attach, "Neovim's RPC socket")
            self.wait("vim.v.vim_did_enter == 1", "a started Neovim")
        except BaseException as failure:
            self.__exit__(type(failure))
            raise
        return self

    def _attach(self):
        try:
            return pynvim.attach("socket", path=str(self.socket))
        except OSError:
            return None  # not there, or not listening yet

    def __exit__(self, failure=None, *_):
        if failure:
            with suppress(Failure):
                Editor.failed = self.screen(), self.screen("-e")
        # After a failure Neovim may have ended, and tmux with it.
        subprocess.run([*self.tmux, "kill-server"], check=not failure)

    def lua(self, code, *arguments):
        # While it waits for a key, as after a long message, Neovim answers no other call.
        self._until(lambda: not self.rpc.api.get_mode()["blocking"], "Neovim, which waits for a key: see the screen", 3)
        return self.rpc.exec_lua(code, *arguments)

    def keys(self, keys):
        """Keys as a user presses them, such as "ofoo<CR>"."""
        self.rpc.input(keys)

    def type(self, text):
        """Text as a user types it: nothing in it is a key's name."""
        self.keys(text.replace("<", "<lt>"))

    def wait(self, expression, what=None, patience=PATIENCE):
        """Waits until a Lua expression is true; returns its value."""
        return self._until(lambda: self.lua(f"return {expression}"), what or expression, patience)

    def _until(self, condition, what, patience=PATIENCE):
        end = time.monotonic() + patience
        while time.monotonic() < end:
            value = condition()
            if value:
                return value
            time.sleep(0.03)  # looking is a process of its own, and the editors that are tested need the processor
        raise Failure(f"waited in vain for: {what() if callable(what) else what}")

    def until(self, condition, what):
        return self._until(condition, what)

    def open(self, path):
        """Opens a file, and waits for the server."""
        self.rpc.command(f"edit! {path}")
        self.wait("#vim.lsp.get_clients({ name = 'infill', bufnr = 0 }) > 0", "a client attached to the buffer")
        self.wait("vim.lsp.get_clients({ name = 'infill', bufnr = 0 })[1].initialized", "an initialized client")
        self.wait("require('infill.buffer').get() ~= nil", "suggestions attached to the buffer")

    def lines(self):
        return list(self.rpc.current.buffer)

    def before_cursor(self):
        row, column = self.rpc.current.window.cursor
        line = self.lines()[row - 1].encode()
        return line[:column].decode()

    def shown(self):
        return self.lua("return require('infill').shown()")

    def drawn(self):
        """The ghost text that is drawn, from the extmarks of whoever draws it."""
        return self.lua("""
            for _, name in ipairs({ 'infill', 'nvim.lsp.inline_completion' }) do
              local ns = vim.api.nvim_get_namespaces()[name]
              for _, mark in ipairs(ns and vim.api.nvim_buf_get_extmarks(0, ns, 0, -1, { details = true }) or {}) do
                local lines = { mark[4].virt_text, unpack(mark[4].virt_lines or {}) }
                local texts = vim.tbl_map(function(chunks) return chunks[1][1] end, lines)
                if mark[4].virt_text then return table.concat(texts, '\\n') end
              end
            end""")

    def read_messages(self):
        """Presses ENTER until Neovim waits for it no longer."""
        while self.rpc.api.get_mode()["blocking"]:
            self.keys("<CR>")
            time.sleep(0.05)

    def screen(self, *options):
        """What the user sees; with "-e" in its colours, as escape sequences."""
        done = subprocess.run([*self.tmux, "capture-pane", "-p", *options], capture_output=True, text=True)
        if done.returncode:
            raise Failure(f"Neovim has ended: {done.stderr.strip()}")
        return done.stdout

    def messages(self):
        return self.lua("return vim.fn.execute('messages')")
