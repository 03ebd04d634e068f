"""What is the plugin's own beside suggestions: help, health, statusline, commands, a missing binary, starting by name.

    EXTRAS["statusline"](work)
"""
import shutil

from cases import FIELD, READINGS, Line, require
from editor import PLUGIN


def statusline(work):
    ed = work.editor
    ed.open(work.copy(READINGS))
    ed.wait("require('infill').status() == 'infill: nano'", "the model in the statusline")
    ed.until(lambda: "infill: nano" in ed.screen(), "the statusline on the screen")
    ed.keys(":Infill toggle<CR>")
    ed.until(lambda: "infill: off" in ed.screen(), "switched off in the statusline")
    ed.keys(":Infill toggle<CR>")
    ed.until(lambda: "infill: nano" in ed.screen(), "switched on again")


def counted(work):
    """The server counts what became of its suggestions."""
    count = "select(1, vim.lsp.get_clients({ name = 'infill' })[1]:request_sync('infill/status', vim.empty_dict(), 2000, 0))"
    if work.variant.startswith("0.10"):
        count = count.replace("]:request_sync", "].request_sync")
    work.editor.open(work.copy(READINGS))
    before = work.editor.lua(f"return {count}.result")
    Line(work, FIELD).accept()
    work.editor.wait(f"{count}.result.accepted == {before['accepted'] + 1}", "one more accepted")
    work.editor.keys("<Esc>")


def restarts(work):
    ed = work.editor
    ed.open(work.copy(READINGS))
    old = ed.lua("return vim.lsp.get_clients({ name = 'infill' })[1].id")
    ed.keys(":Infill restart<CR>")
    ed.wait(f"(vim.lsp.get_clients({{ name = 'infill' }})[1] or {{ id = {old} }}).id ~= {old}", "another client")
    line = Line(work, FIELD)
    line.accept()
    line.save()


def status_command(work):
    ed = work.editor
    ed.open(work.copy(READINGS))
    ed.keys(":Infill status<CR>")
    ed.until(lambda: "model nano, shown " in ed.screen(), "the server's answer on the screen")
    ed.keys(":Infill nothing<CR>")
    ed.until(lambda: 'unknown command "nothing": use log, restart, status, toggle' in ed.screen(), "what can be used")


def health_of(work, ed, name):
    ed.rpc.command("checkhealth infill")
    ed.wait("vim.bo.filetype == 'checkhealth' and vim.fn.search('other plugins', 'nw') > 0", "the report")
    text = "\n".join(ed.lines())
    work.keep(f"{name}.txt", text)
    ed.rpc.command("bwipeout!")
    return text


def health(work):
    work.editor.open(work.copy(READINGS))
    report = health_of(work, work.editor, "checkhealth")
    require("ERROR" not in report and "WARNING" not in report, f"complaints about a good setup:\n{report}")
    for text in ("version 0.", "model nano", "accepted ", "no other plugin"):
        require(text in report, f"{text!r} is not in the report:\n{report}")


def health_of_a_bad_setup(work):
    lines = f"""vim.g.loaded_copilot = 1
        require('infill').setup({{ ghost = '{work.ghost}', settings = {{ completion = {{ colour = 'red' }} }} }})"""
    with work.new_editor("bad", lines) as ed:
        ed.keys(f":edit {work.copy(READINGS)}<CR>")
        ed.until(lambda: "colour" in ed.screen(), "the server's complaint")
        ed.read_messages()
        ed.wait("require('infill.buffer').get() ~= nil", "suggestions attached")
        ed.lua("vim.keymap.set('i', '<Tab>', 'x', { buffer = 0 })")
        report = health_of(work, ed, "checkhealth-bad")
    for text in ('setting "completion.colour" is unknown', "the server said: ", "copilot.vim shows ghost text too", "<Tab> in buffer"):
        require(text in report, f"{text!r} is not in the report:\n{report}")


def missing_binary(work):
    with work.new_editor("missing", f"require('infill').setup({{ ghost = '{work.ghost}', binary = 'no-such-infill' }})") as ed:
        ed.keys(f":edit {work.copy(READINGS)}<CR>")
        ed.until(lambda: "no-such-infill" in ed.screen(), "a message")
        ed.read_messages()
        ed.keys(":edit!<CR>")
        messages = ed.messages()
        require(messages.count("no-such-infill") == 1, f"not one message:\n{messages}")
        require("Install it" in messages, f"no remedy:\n{messages}")
        report = health_of(work, ed, "checkhealth-missing")
    require('"no-such-infill" is not an executable' in report, f"not in the report:\n{report}")


def other_version(work):
    """A program of another release is told apart by :checkhealth."""
    program = work.folder / "other-infill"
    program.write_text("#!/bin/sh\n[ \"$1\" = --version ] && echo infill 9.9.9\n")
    program.chmod(0o755)
    with work.new_editor("other", f"require('infill').setup({{ ghost = '{work.ghost}', binary = '{program}' }})") as ed:
        report = health_of(work, ed, "checkhealth-other")
    for text in ("version 9.9.9 of", "does not belong to version 0.", "install both from the same release"):
        require(text in report, f"{text!r} is not in the report:\n{report}")


def wrong_option(work):
    with work.new_editor("wrong", "") as ed:
        for options, complaint in (
            ("{ keyz = {} }", 'unknown option "keyz"'),
            ("{ keys = { acept = '<Tab>' } }", 'unknown key "acept"'),
            ("{ debounce = '1' }", '"debounce" is a number'),
            ("{ ghost = 'x' }", '"ghost" is "auto"'),
        ):
            error = ed.lua(f"return select(2, pcall(require('infill').setup, {options}))")
            require(complaint in error and ":help infill-options" in error, f"{options}: {error}")


def help_tags(work):
    copy = work.folder / "help"
    shutil.copytree(PLUGIN / "doc", copy / "doc")
    ed = work.editor
    ed.rpc.command(f"helptags {copy}/doc")
    ed.rpc.command(f"set runtimepath+={copy}")
    for tag in ("infill", "infill-options", "infill-keys", "infill.status()", ":Infill", "infill-health"):
        ed.rpc.command(f"help {tag}")
        require(ed.lua("return vim.fn.expand('%:t')") == "infill.txt", f":help {tag} opens another file")
        require(f"*{tag}*" in ed.rpc.current.line, f":help {tag} opens at {ed.rpc.current.line!r}")
        ed.rpc.command("helpclose")


def by_name(work):
    """Neovim's own way to switch a server on, without setup(). 0.10 does not have it."""
    main = work.editor
    with work.new_editor("by-name", "vim.lsp.enable('infill')") as work.editor:
        try:
            line = Line(work, FIELD)
            line.accept()
            line.save()
        finally:
            work.editor.rpc.command("stopinsert")
    work.editor = main


EXTRAS = {case.__name__: case for case in (statusline, counted, restarts, status_command, health, health_of_a_bad_setup)}
EXTRAS |= {case.__name__: case for case in (missing_binary, other_version, wrong_option, help_tags, by_name)}
