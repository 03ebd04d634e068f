-- Our own ghost text, by extmarks: for Neovim 0.10 and 0.11, and with `ghost = 'own'`.
--
--   ghost.show(buffer, place)   the first line inline at the cursor, the others below it
--   ghost.hide(buffer)
local options = require('infill.options')
local suggestion = require('infill.suggestion')
local timer = require('infill.timer')

local M = {}

M.namespace = vim.api.nvim_create_namespace('infill')

local function lines_of(text, index)
  local lines = {}
  for line in vim.gsplit(text, '\n', { plain = true }) do
    table.insert(lines, { { (line:gsub('\r$', '')), 'InfillGhost' } })
  end
  if index then table.insert(lines[#lines], { index, 'InfillIndex' }) end
  return lines
end

-- Text behind the cursor that goes when the suggestion is accepted.
local function strike(buffer, place, length)
  vim.api.nvim_buf_set_extmark(buffer.bufnr, M.namespace, place.row, place.col, {
    id = 2,
    end_col = place.col + length,
    hl_group = 'InfillReplaced',
  })
end

--- Draws over what was drawn: the mark keeps its id, so nothing flickers.
function M.show(buffer, place)
  local current = buffer.items[buffer.index]
  local rest, replaced = suggestion.rest(current, place)
  local drawn, kept = suggestion.drawn(current, rest)
  local index = buffer.index > 1 and (' (%d/%d)'):format(buffer.index, #buffer.items) or nil
  local lines = lines_of(drawn, index)
  vim.api.nvim_buf_set_extmark(buffer.bufnr, M.namespace, place.row, place.col, {
    id = 1,
    virt_text = lines[1],
    virt_text_pos = 'inline',
    virt_lines = #lines > 1 and { unpack(lines, 2) } or nil,
    hl_mode = 'combine',
  })
  vim.api.nvim_buf_del_extmark(buffer.bufnr, M.namespace, 2)
  if not kept then strike(buffer, place, replaced) end
end

function M.hide(buffer)
  if vim.api.nvim_buf_is_valid(buffer.bufnr) then vim.api.nvim_buf_clear_namespace(buffer.bufnr, M.namespace, 0, -1) end
end

-- Who asks: this does, a moment after the last key.
function M.start(buffer)
  -- The user may have switched Neovim's own on for all servers: not two of them.
  local native = vim.lsp.inline_completion
  if native then native.enable(false, { client_id = buffer.client.id }) end
  buffer.asking = timer.new(options.current.debounce, function()
    -- What the user asked for at this place stays.
    if buffer:is_typing() and not buffer.invoked then buffer:ask(buffer.AUTOMATIC) end
  end)
end

--- The text has changed.
function M.typed(buffer) buffer.asking:start() end

function M.stop(buffer) buffer.asking:close() end

return M
