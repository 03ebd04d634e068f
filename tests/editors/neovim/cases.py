"""The cases that every editor goes through. No model text is written down here: what is shown is read from the editor,
accepted, and the file on disk must be the text before, what was shown, and the text after.

    CASES["accept"](work)
"""
from editor import Failure

READINGS = "station/readings.py"
TABLE = "src/table.rs"

# Where a line is opened (below the line that holds this text), what is typed, and what more to type when nothing is said.
FIELD = (READINGS, "self.wind_speed = 0.0", "        ", "self.wind_direction = ", "0.")
CALL = (READINGS, 'print("wind speed"', "        ", 'print("rain", self.', "mean_wind_")
RANGE = (TABLE, '"rain", 0.0', "\t\t", 'Range::new("sun", ', "0.0, 1")
BODY = (READINGS, "self.mean_wind_speed())", "        ", "<BS>def mean_rain(self) -> float:<CR>", "    return sum(")


def require(condition, text):
    if not condition:
        raise Failure(text)


class Line:
    """A line that is opened in a file and typed on until the editor shows a suggestion."""

    def __init__(self, work, place, transform=lambda data: data, prefix=""):
        self.work, self.ed = work, work.editor
        name, anchor, self.indent, typed, more = place
        self.path = work.copy(name, transform)
        self.original = self.path.read_bytes()
        self.ed.open(self.path)
        self.ed.rpc.funcs.search(rf"\V{anchor}")
        self.row = self.ed.rpc.current.window.cursor[0]
        self.typed = self.indent + prefix
        self.ed.keys("o")
        self.ed.until(lambda: self.ed.before_cursor() == self.indent, f"an opened line indented by {self.indent!r}")
        self.ed.type(prefix)
        self.until_shown(typed, more)

    def until_shown(self, typed, more):
        """Types, and goes on for as long as nothing is shown."""
        for part in [typed, *more]:
            self.ed.type(part)
            self.typed += part
            self.ed.until(lambda: self.ed.before_cursor() == self.typed, f"the typed text {self.typed!r}")
            try:
                self.shown = self.ed.wait("require('infill').shown()", "ghost text", patience=3)
            except Failure:
                continue
            return self.check_drawn()
        raise Failure(f"no suggestion behind {self.typed!r}")

    def check_drawn(self):
        """What accepting would insert is what the user sees."""
        drawn = self.ed.until(self.ed.drawn, "drawn ghost text")
        require(self.shown.startswith(drawn), f"drawn {drawn!r}, but accepting inserts {self.shown!r}")
        first = drawn.split("\n")[0]
        self.ed.until(lambda: self.ed.screen().find(first.strip()) >= 0, f"{first!r} on the screen")
        self.after = self.ed.lua("return vim.api.nvim_get_current_line():sub(vim.api.nvim_win_get_cursor(0)[2] + 1)")
        self.replaced = self.ed.lua("return select(3, require('infill.buffer').get():current())")

    def accept(self):
        self.ed.keys("<Tab>")
        whole = self.typed + self.shown
        self.ed.until(lambda: whole in "\n".join(self.ed.lines()), f"the accepted text {whole!r}")
        self.typed, self.shown = whole, ""

    def expected(self, eol=b"\n"):
        """The file with the new line, byte for byte."""
        after = self.after.encode()[self.replaced:]
        new = (self.typed.encode() + after).replace(b"\n", eol)
        lines = self.original.split(eol)
        return eol.join([*lines[: self.row], new, *lines[self.row:]])

    def save(self, eol=b"\n"):
        self.ed.keys("<Esc>:write<CR>")
        self.ed.wait("not vim.bo.modified", "a saved file")
        found, expected = self.path.read_bytes(), self.expected(eol)
        require(found == expected, f"on disk {difference(found, expected)}")


def difference(found, expected):
    """The first line that differs: enough to see what happened."""
    for n, (a, b) in enumerate(zip(found.split(b"\n") + [None], expected.split(b"\n") + [None]), 1):
        if a != b:
            return f"line {n} is {a!r}, expected {b!r}"
    return "the ends differ"


GREY = "\x1b[90m"


def accept(work):
    line = Line(work, FIELD)
    line.ed.until(lambda: GREY + line.shown in line.ed.screen("-e"), "the suggestion in grey")
    work.capture("ghost")
    line.accept()
    work.capture("accepted")
    line.save()


def type_through(work):
    line = Line(work, RANGE)
    require(len(line.shown) > 1, f"a suggestion of one character, {line.shown!r}, cannot be typed through")
    # In one go, so that no answer of the server comes between: the character, and what is shown behind it.
    first = line.shown[0]
    shown = line.ed.lua("""
        vim.api.nvim_feedkeys(..., 'nt', false)
        local shown = {}
        vim.api.nvim_create_autocmd('TextChangedI', { buffer = 0, once = true, callback = function()
          shown[1] = require('infill').shown() or vim.NIL
        end })
        _G.typed_through = shown""", first)
    line.ed.wait("_G.typed_through[1] ~= nil", "the typed character")
    shown = line.ed.lua("return _G.typed_through[1]")
    require(shown == line.shown[1:], f"behind the typed {first!r} {shown!r} is shown, expected {line.shown[1:]!r}")
    line.typed, line.shown = line.typed + first, line.shown[1:]
    line.accept()
    line.save()


def undo(work):
    line = Line(work, FIELD)
    before = line.ed.lines()
    line.accept()
    accepted = line.ed.lines()
    line.ed.keys(" # more<Esc>")
    line.ed.until(lambda: line.ed.lines() != accepted, "text typed after accepting")
    for step, lines in (("what was typed after", accepted), ("the accepted text", before)):
        line.ed.keys("u")
        line.ed.until(lambda: line.ed.rpc.eval("mode()") == "n" and line.ed.lines() == lines, f"u to remove {step} and nothing else")
    line.ed.keys("<C-r>")
    line.ed.until(lambda: line.ed.lines() == accepted, "CTRL-R to bring the accepted text back")
    line.save()


def auto_closed(work):
    work.editor.rpc.command("inoremap ( ()<Left>")
    try:
        line = Line(work, (CALL[0], CALL[1], CALL[2], "print(", '"rain", self.'))
        require(line.after == ")", f"behind the cursor stands {line.after!r}, expected the closed bracket")
        line.accept()
        line.save()
    finally:
        work.editor.rpc.command("iunmap (")
    depth = 0
    for character in line.typed + line.after[line.replaced:]:
        depth += {"(": 1, ")": -1}.get(character, 0)
        require(depth >= 0, f"{line.typed + line.after!r} closes a bracket that is not open")


def crlf(work):
    line = Line(work, FIELD, transform=lambda data: data.replace(b"\n", b"\r\n"))
    require(line.ed.rpc.eval("&fileformat") == "dos", "the file is not seen as one with CRLF")
    line.accept()
    line.save(eol=b"\r\n")
    bare = line.path.read_bytes().replace(b"\r\n", b"")
    require(b"\r" not in bare and b"\n" not in bare, "a lone CR or LF on disk")


def emoji(work):
    line = Line(work, FIELD, prefix='self.icon = "🌧️ 😀"; ')
    work.capture("emoji")
    line.accept()
    line.save()


def tabs(work):
    line = Line(work, RANGE)
    require(line.typed.startswith("\t\t"), "the line is not indented by tabs")
    work.capture("tabs")
    line.accept()
    line.save()


def save(work):
    line = Line(work, FIELD)
    line.accept()
    line.save()
    # The saved document goes on being completed.
    line.ed.keys("A")
    line.ed.keys("<CR>")
    line.typed += "\n" + line.indent
    line.ed.until(lambda: line.ed.before_cursor() == line.indent, "a new line")
    line.typed_before, line.typed = line.typed[: -len(line.indent)], line.indent
    line.until_shown("self.rain = ", "0.")
    line.accept()
    line.typed = line.typed_before + line.typed
    line.save()


CASES = {case.__name__: case for case in (accept, type_through, undo, auto_closed, crlf, emoji, tabs, save)}
