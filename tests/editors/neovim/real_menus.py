"""nvim-cmp and blink.cmp themselves beside the plugin. No package registry has them: clone both into one folder and name it. Seen to pass
with nvim-cmp of 2026-03-25 and blink.cmp 1.9.1, in Neovim 0.10.4, 0.11.4 and 0.12.4; and with blink.cmp 2, as of 2026-04-29 (1617522a), which needs
0.12 and blink.lib beside it.

    NVIM_MENUS=~/.local/share/nvim/lazy tests/editors/neovim/run --case blink_cmp
"""
import os
import pathlib

from scripted import LINES, Script

FOLDER = os.environ.get("NVIM_MENUS")

NVIM_CMP = """
local cmp = require('cmp')
cmp.register_source('words', { complete = function(_, _, done) done({ { label = 'alpha' }, { label = 'alps' } }) end })
cmp.setup({
  sources = { { name = 'words' } },
  snippet = { expand = function() end },
  mapping = {
    ['<C-e>'] = cmp.mapping.abort(),
    ['<Tab>'] = function(fallback)
      if cmp.visible() then cmp.select_next_item() else fallback() end
    end,
  },
})"""

BLINK_CMP = """
require('blink.cmp').setup({
  keymap = { preset = 'none', ['<Tab>'] = { 'select_next', 'fallback' }, ['<C-e>'] = { 'hide' } },
  sources = { default = { 'buffer' } },
  fuzzy = { implementation = 'lua' },
  completion = { list = { selection = { preselect = false, auto_insert = true } } },
})"""


def beside(work, plugin, setup, *needs):
    """Its menu hides the suggestion and keeps its Tab; when it is closed, both are ours again."""
    paths = "".join(f"vim.opt.runtimepath:append('{FOLDER}/{name}')\n" for name in (plugin, *needs))
    lines = LINES.format(ghost=work.ghost) + f"\n{paths}{setup}"
    with work.new_editor(plugin.replace(".", "-"), lines) as ed:
        s = Script(ed, work.folder / f"{plugin}.txt", "alpha alps a", 12, "\n", "utf-8")
        s.say(("alike", 11))
        s.insert()
        s.shown("like")
        ed.type("l")
        ed.until(lambda: "alps" in "\n".join(ed.screen().splitlines()[1:]), "the other's menu")
        s.hidden()
        work.capture(plugin, editor=ed)
        ed.keys("<Tab>")
        ed.until(lambda: ed.lines()[0] in ("alpha alps alpha", "alpha alps alps"), "its first item chosen by Tab")
        ed.keys("<C-e>")
        ed.until(lambda: "alps" not in "\n".join(ed.screen().splitlines()[1:]), "the menu closed")
        ed.keys("<Esc>S")
        s.say(("zeta", 0))
        ed.type("ze")
        s.shown("ta")
        ed.keys("<Tab>")
        s.has("zeta")


def nvim_cmp(work):
    beside(work, "nvim-cmp", NVIM_CMP)


def blink_cmp(work):
    beside(work, "blink.cmp", BLINK_CMP, "blink.lib")


REAL_MENUS = {case.__name__: case for case in (nvim_cmp, blink_cmp)}
