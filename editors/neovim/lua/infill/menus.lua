-- Other things that show completions at the cursor: ghost text steps back while their menu is open.
--
--   menus.watch(redraw)
--   menus.visible()  --> true while Neovim's popup menu, nvim-cmp's or blink.cmp's is open
local M = {}

local changed = function() end
local cmp_window ---@type table? the menu that nvim-cmp spoke of last
local cmp_watched = false

-- nvim-cmp tells those who ask. Asking `cmp.visible()` at each key instead would wait for its filter.
local function watch_cmp()
  local cmp = package.loaded['cmp'] -- what the user has loaded: requiring would load it
  if cmp_watched or type(cmp) ~= 'table' or not cmp.event then return end
  cmp_watched = true
  local function moved(event)
    cmp_window = event.window
    changed()
  end
  cmp.event:on('menu_opened', moved)
  cmp.event:on('menu_closed', moved)
end

local function cmp_visible()
  watch_cmp()
  return cmp_window ~= nil and cmp_window:visible()
end

local function blink_visible()
  local blink = package.loaded['blink.cmp']
  return type(blink) == 'table' and blink.is_visible ~= nil and blink.is_visible()
end

function M.visible() return vim.fn.pumvisible() == 1 or cmp_visible() or blink_visible() end

--- Calls `callback` whenever a menu opens or closes.
function M.watch(callback)
  changed = vim.schedule_wrap(callback)
  local group = vim.api.nvim_create_augroup('infill.menus', { clear = true })
  vim.api.nvim_create_autocmd('User', { group = group, pattern = { 'BlinkCmpMenuOpen', 'BlinkCmpMenuClose' }, callback = function() changed() end })
  vim.api.nvim_create_autocmd({ 'CompleteChanged', 'CompleteDone' }, { group = group, callback = function() changed() end })
end

return M
