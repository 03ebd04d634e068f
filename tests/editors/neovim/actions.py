"""Code actions in Neovim: chosen by its own menu, shown before they are applied, undone in one step. The model is a small server
here that speaks vLLM's API and answers what a case says.

    ACTIONS["fixes"](work)
"""
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cases import READINGS, require

# Neovim 0.11 and later have this mapping. No message waits for ENTER: while one does, Neovim answers no call.
LINES = """require('infill').setup({{ ghost = '{ghost}' }})
    vim.o.cmdheight = 6
    pcall(function() vim.o.messagesopt = 'wait:100,history:500' end)
    vim.keymap.set({{ 'n', 'x' }}, 'gra', vim.lsp.buf.code_action)"""


# Neovim gives up waiting for a busy machine, and an engine that is not known yet is vim.NIL.
CONVERSES = """(function()
    local rpc, client = require('infill.rpc'), vim.lsp.get_clients({ name = 'infill' })[1]
    local answer = rpc.request_sync(client, 'infill/status', vim.empty_dict(), 2000)
    local engine = answer and answer.result and answer.result.engine
    return type(engine) == 'table' and engine.chat
end)()"""


class Model(BaseHTTPRequestHandler):
    """An Instruct model with one answer."""

    answer, asked = "", []

    def do_GET(self):
        self.reply({"data": [{"id": "DeepSeek-Coder-V2-Lite-Instruct", "owned_by": "vllm", "max_model_len": 8192}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/chat/completions":
            if not body["stream"]:
                return self.reply({"choices": [{"message": {"role": "assistant", "content": "H"}}]})
            self.asked.append(body["messages"])
            return self.stream({"delta": {"content": self.answer}}, {"delta": {}, "finish_reason": "stop"})
        if self.path == "/v1/completions":
            return self.stream({"text": "", "finish_reason": "stop"})
        self.send_error(404)

    def reply(self, value, kind="application/json"):
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, *choices):
        events = [b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n" for choice in choices]
        self.reply(b"".join(events) + b"data: [DONE]\n\n", "text/event-stream")

    def log_message(self, *_):
        pass


@contextmanager
def editor(work, answer):
    """An editor on the project whose model answers so, once it is known to converse."""
    handler = type("Model", (Model,), {"answer": answer, "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        with work.new_editor("actions", LINES.format(ghost=work.ghost), {"INFILL_ENGINE_URL": url}) as ed:
            ed.open(work.copy(READINGS))
            ed.wait(CONVERSES, "a model that converses")
            yield ed, handler
        server.shutdown()


def choose(ed, title, keys="Vgra"):
    """Opens the menu on the line of the cursor, and chooses by its number."""
    # Not in Visual mode still, where V ends it; and no menu or question that has been answered is on the screen.
    ed.keys("<C-\\><C-n>")
    ed.rpc.command("mode")
    ed.until(lambda: title not in ed.screen(), "a screen without the last menu")
    ed.keys(keys)
    ed.until(lambda: title in ed.screen(), f"{title!r} in the menu")
    line = next(line for line in ed.screen().splitlines() if title in line)
    ed.keys(line.strip().split(":")[0] + "<CR>")


def fixes(work):
    with editor(work, "Here:\n```python\nLIMIT = 7\n```\n") as (ed, model):
        ed.rpc.current.buffer[:] = ["LIMTI = 7", "print(LIMIT)"]
        before = ed.lines()
        for key, after in (("2", before), ("1", ["LIMIT = 7", "print(LIMIT)"])):
            ed.rpc.current.window.cursor = (1, 0)
            choose(ed, "infill: fix")
            ed.until(lambda: "+ LIMIT = 7" in ed.screen() and "- LIMTI = 7" in ed.screen(), "the edit before it is made")
            work.capture("action-preview", editor=ed)
            ed.keys(key + "<CR>")
            # Looked at from outside: Neovim answers nothing while it waits for ENTER.
            ed.until(lambda: (seen := ed.screen()) and ("Type number" not in seen or "Press ENTER" in seen), "the question answered")
            ed.read_messages()
            ed.until(lambda after=after: ed.lines() == after, lambda: f"{after}, is {ed.lines()}")
            ed.read_messages()
        require("LIMTI = 7" in model.asked[0][1]["content"], f"the model is shown the line: {model.asked[0]}")
        ed.keys("<C-\\><C-n>u")
        ed.until(lambda: ed.lines() == before, "the text as it was, after one undo")


def refuses(work):
    with editor(work, "You should rename it.") as (ed, _):
        before = ed.lines()
        ed.rpc.current.window.cursor = (1, 0)
        choose(ed, "infill: fix")
        ed.until(lambda: any("prose and no code block" in look() for look in (ed.screen, ed.messages)), "why there is no edit")
        ed.read_messages()
        require(ed.lines() == before, "the text was changed")


def explains(work):
    with editor(work, "It keeps **readings**.") as (ed, _):
        choose(ed, "infill: explain")
        ed.until(lambda: "It keeps **readings**." in ed.screen(), "the explanation, in a window")


def hidden(work):
    """nano has no chat template."""
    ed = work.editor
    ed.open(work.copy(READINGS))
    ed.lua("vim.keymap.set({ 'n', 'x' }, 'gra', vim.lsp.buf.code_action)")
    ed.keys("Vgra")
    ed.until(lambda: any("No code actions available" in look() for look in (ed.screen, ed.messages)), "no actions")
    ed.keys("<Esc>")


ACTIONS = {case.__name__: case for case in (fixes, refuses, explains, hidden)}
