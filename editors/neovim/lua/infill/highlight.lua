-- The colour of ghost text. Neovim's own has none in terminals without true colour, where a suggestion would look like text.
--
--   highlight.define()   -- InfillGhost, InfillIndex, InfillReplaced; and ComplHint, which Neovim 0.12 draws with
local M = {}

local GREY = 8 -- "bright black" of the 16 colours

local function with_grey(name)
  local found = vim.api.nvim_get_hl(0, { name = name, link = false })
  if vim.tbl_isempty(found) then return nil end
  found.ctermfg = found.ctermfg or GREY
  return found
end

function M.define()
  local hint = with_grey('ComplHint')
  if hint then vim.api.nvim_set_hl(0, 'ComplHint', hint) end
  local ghost = hint or with_grey('NonText') or { ctermfg = GREY }
  vim.api.nvim_set_hl(0, 'InfillGhost', vim.tbl_extend('force', ghost, { default = true }))
  vim.api.nvim_set_hl(0, 'InfillIndex', { default = true, link = 'InfillGhost' })
  vim.api.nvim_set_hl(0, 'InfillReplaced', { default = true, strikethrough = true })
end

return M
