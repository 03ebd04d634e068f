"""Cases against a server that says what it is told to (scripted.lua): several lines, brackets that are replaced, answers
that come late, several suggestions.

    SCRIPTED["several_lines"](work)
"""
import pathlib
import time

from cases import require

LUA = pathlib.Path(__file__).with_name("scripted.lua")


class Script:
    """An editor with a scripted server, in a file with one line, the cursor at `column`."""

    def __init__(self, editor, path, line, column, eol, encoding):
        self.ed, self.path = editor, path
        path.write_bytes((line + eol).encode())
        editor.keys("<C-\\><C-n>")
        editor.rpc.command(f"edit! {path}")
        editor.lua("scripted.start(...)", encoding)
        editor.wait("require('infill.buffer').get() ~= nil", "the scripted server")
        editor.rpc.current.window.cursor = (1, max(column - 1, 0))
        self.column = column

    def say(self, *items):
        """What is answered from now on: texts that replace from one column to another."""
        self.ed.lua("scripted.items = ...", [dict(zip(("insertText", "from", "to"), item)) for item in items])

    def insert(self):
        self.ed.keys("a" if self.column else "i")
        self.ed.wait("vim.api.nvim_get_mode().mode == 'i'", "insert mode")

    def shown(self, text):
        self.ed.until(lambda: self.ed.shown() == text, lambda: f"{text!r} shown, is {self.ed.shown()!r}")

    def hidden(self):
        self.ed.until(lambda: not self.ed.drawn(), "no ghost text")

    def has(self, *lines):
        self.ed.until(lambda: self.ed.lines() == list(lines), lambda: f"lines {lines!r}, are {self.ed.lines()!r}")

    def outcome(self, what, text):
        told = "select(2, scripted.told('infill/outcome'))"
        self.ed.wait(f"scripted.told('infill/outcome') > 0 and {told}.outcome == '{what}'", f"the server told {what!r}")
        require(self.ed.lua(f"return {told}.text") == text, f"told as {what}: {self.ed.lua(f'return {told}.text')!r}")


def script(work, line, column=None, eol="\n", encoding="utf-8"):
    column = len(line.encode()) if column is None else column
    return Script(work.scripted, work.folder / f"{work.case}.txt", line, column, eol, encoding)


def several_lines(work):
    s = script(work, "if x:", eol="\r\n")
    s.say(("if x:\r\n\ty = 1\r\n\tz = 2", 0))
    s.insert()
    s.shown("\n\ty = 1\n\tz = 2")
    s.ed.wait("#vim.fn.getline(1, '$') == 1", "the text as it was")
    s.ed.until(lambda: "        z = 2" in s.ed.screen(), "the last line on the screen, its tab as blanks")
    work.capture("several-lines", editor=s.ed)
    s.ed.keys("<Tab>")
    s.has("if x:", "\ty = 1", "\tz = 2")
    require(tuple(s.ed.rpc.current.window.cursor) == (3, 6), "the cursor is not behind the accepted text")
    s.ed.keys("<Esc>:write<CR>")
    s.ed.wait("not vim.bo.modified", "a saved file")
    require(s.path.read_bytes() == b"if x:\r\n\ty = 1\r\n\tz = 2\r\n", f"on disk {s.path.read_bytes()!r}")
    s.ed.keys("u")
    s.has("if x:")


def replaced_brackets(work):
    s = script(work, "print(a[)]", column=8)
    s.say(("1])[0", 8, 9))
    s.insert()
    s.shown("1])[0")
    s.ed.keys("<Tab>")
    s.has("print(a[1])[0]")
    s.outcome("accepted", "1])[0")


def in_parts(work):
    s = script(work, "")
    s.say(("one two(3)\n  four", 0))
    s.insert()
    s.shown("one two(3)\n  four")
    for key, line, rest in (("<M-Right>", "one", " two(3)\n  four"), ("<M-Right>", "one two", "(3)\n  four")):
        s.say((line + rest, 0))
        s.ed.keys(key)
        s.has(line)
        s.shown(rest)
    s.outcome("partly", " two")
    s.say(("one two(3)\n  four", 0))
    s.ed.keys("<M-C-Right>")
    s.has("one two(3)")
    s.shown("\n  four")
    s.ed.keys("<Tab>")
    s.has("one two(3)", "  four")
    s.ed.keys("<Esc>u")
    s.has("one two(3)")


def late_answers(work):
    s = script(work, "fo")
    s.say(("foo_bar", 0))
    s.ed.lua("scripted.hold = true")
    s.insert()
    for typed, shown in (("o", "_bar"), ("x", None)):
        s.ed.wait("scripted.held ~= nil", "a request")
        # The answer comes right behind the key, before anything is asked anew.
        s.ed.lua("""
            local held = scripted.held
            scripted.held = nil
            vim.api.nvim_create_autocmd('TextChangedI', { buffer = 0, once = true, callback = held })""")
        s.ed.type(typed)
        s.ed.until(lambda: s.ed.before_cursor().endswith(typed), f"the typed {typed!r}")
        require(s.ed.shown() == shown, f"behind the typed {typed!r} {s.ed.shown()!r} is shown, expected {shown!r}")


def slow_answer(work):
    s = script(work, "fo")
    s.say(("foo_bar", 0))
    s.ed.lua("scripted.hold = true")
    s.insert()
    s.ed.wait("scripted.held ~= nil", "a request")
    time.sleep(1.5)
    s.ed.lua("scripted.held()")
    s.shown("o_bar")
    require(s.ed.lua("return scripted.told('$/cancelRequest')") == 0, "a request was withdrawn while nothing was typed")


def supersedes(work):
    s = script(work, "a")
    s.ed.lua("scripted.hold = true")
    s.insert()
    s.ed.wait("scripted.held ~= nil", "a request")
    s.ed.lua("scripted.held = nil")
    s.ed.type("b")
    s.ed.wait("scripted.held ~= nil", "a second request")
    s.ed.wait("scripted.told('$/cancelRequest') > 0", "the first cancelled")


def cycles(work):
    s = script(work, "x = ")
    s.say(("1", 4), ("22", 4), ("333", 4))
    s.insert()
    s.ed.keys("<M-Bslash>")
    s.ed.wait("scripted.requests[#scripted.requests].params.context.triggerKind == 1", "an invoked request")
    s.shown("1")
    for key, text in (("<M-]>", "22"), ("<M-]>", "333"), ("<M-]>", "1"), ("<M-[>", "333")):
        s.ed.keys(key)
        s.shown(text)
    s.ed.until(lambda: "333 (3/3)" in s.ed.screen(), "which of how many, on the screen")
    s.ed.keys("<Tab>")
    s.has("x = 333")


def dismisses(work):
    s = script(work, "x = ")
    s.say(("42", 4))
    s.insert()
    s.shown("42")
    s.say()
    s.ed.keys("<C-]>")
    s.hidden()
    s.has("x = ")
    s.outcome("rejected", "42")


def utf16(work):
    s = script(work, "😀 = b", column=5, encoding="utf-16")
    s.say(("😀 ==", 0, 3))
    s.insert()
    s.shown("==")
    s.ed.keys("<Tab>")
    s.has("😀 === b")
    s.ed.keys("<Esc>")
    s.ed.keys("$")
    told = "(select(2, scripted.told('infill/cursor')) or { position = {} }).position"
    s.ed.wait(f"{told}.character == 7", lambda: f"the cursor told in UTF-16 units, 7, is {s.ed.lua(f'return {told}')}")


# nvim-cmp and blink.cmp as far as the plugin looks at them.
FAKE_MENUS = """
    local heard, window = {}, { visible = function() return _G.cmp_open end }
    package.loaded['cmp'] = { event = { on = function(_, name, act) heard[name] = act end } }
    package.loaded['blink.cmp'] = { is_visible = function() return _G.blink_open end }
    function _G.cmp_menu(open)
      _G.cmp_open = open
      heard[open and 'menu_opened' or 'menu_closed']({ window = window })
    end
    function _G.blink_menu(open)
      _G.blink_open = open
      vim.api.nvim_exec_autocmds('User', { pattern = open and 'BlinkCmpMenuOpen' or 'BlinkCmpMenuClose' })
    end"""


def menus(work):
    s = script(work, "alpha al")
    s.ed.lua(FAKE_MENUS)
    s.say(("alike", 6))
    s.insert()
    s.shown("ike")
    for menu in ("cmp_menu", "blink_menu"):
        s.ed.lua(f"{menu}(true)")
        s.hidden()
        s.ed.lua(f"{menu}(false)")
        s.shown("ike")
    s.ed.rpc.command("set completeopt=menuone,noinsert")
    s.ed.keys("<C-x><C-n>")
    s.ed.wait("vim.fn.pumvisible() == 1", "Neovim's popup menu")
    s.hidden()
    s.ed.keys("<C-e>")
    s.has("alpha al")
    s.shown("ike")


FALLBACKS = {
    "a plain key": ("", "\t"),
    "a mapping": ("vim.keymap.set('i', '<Tab>', 'plain')", "plain"),
    "an expression": ("vim.keymap.set('i', '<Tab>', function() return '<C-v>u0041' end, { expr = true })", "A"),
    "a function": ("vim.keymap.set('i', '<Tab>', function() vim.api.nvim_put({ 'put' }, 'c', false, true) end)", "put"),
    "a buffer's mapping": ("vim.keymap.set('i', '<Tab>', 'mine', { buffer = 0 })", "mine"),
    "a remapped one": ("vim.cmd('imap <Tab> <Plug>(x)'); vim.cmd('inoremap <Plug>(x) deep')", "deep"),
}


def falls_back(work):
    for what, (mapping, typed) in FALLBACKS.items():
        ed = work.scripted
        ed.keys("<C-\\><C-n>")
        ed.rpc.command("enew!")
        ed.lua(mapping)
        ed.lua("scripted.start('utf-8')")
        ed.wait("require('infill.buffer').get() ~= nil", "the scripted server")
        ed.keys("i<Tab>")
        ed.until(lambda: ed.lines() == [typed], lambda: f"{what}: {typed!r}, is {ed.lines()!r}")
        ed.rpc.command("silent! iunmap <Tab>")


LINES = "require('infill.options').set({{ ghost = '{ghost}' }})\ndofile('" + str(LUA) + "')"

SCRIPTED = {
    case.__name__: case
    for case in (several_lines, replaced_brackets, in_parts, late_answers, slow_answer, supersedes, cycles, dismisses, utf16, menus, falls_back)
}
