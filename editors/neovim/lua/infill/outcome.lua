-- What the server is told: what became of a suggestion, and where the cursor went without an edit.
--
--   outcome.send(buffer, 'accepted', 'print(x)')
--   outcome.cursor_timer(buffer):start()
local rpc = require('infill.rpc')
local timer = require('infill.timer')

local M = {}

local CURSOR_MS = 100

local function document(buffer) return { uri = vim.uri_from_bufnr(buffer.bufnr) } end

---@param what 'accepted'|'partly'|'rejected'
function M.send(buffer, what, text)
  rpc.notify(buffer.client, 'infill/outcome', { textDocument = document(buffer), outcome = what, text = text })
end

-- The setting `languages`: ids, or ids to leave out with "!" before them.
local function served(buffer)
  local languages = vim.tbl_get(buffer.client.settings or {}, 'infill', 'languages') or {}
  local id, listed = vim.bo[buffer.bufnr].filetype, false
  for _, language in ipairs(languages) do
    if language == '!' .. id then return false end
    listed = listed or not vim.startswith(language, '!')
  end
  return not listed or vim.tbl_contains(languages, id)
end

local function send_cursor(buffer)
  if vim.api.nvim_get_current_buf() ~= buffer.bufnr or rpc.is_stopped(buffer.client) or not served(buffer) then return end
  local cursor, line = vim.api.nvim_win_get_cursor(0), vim.api.nvim_get_current_line()
  local character = rpc.character(line, cursor[2], buffer.client.offset_encoding)
  local position = { line = cursor[1] - 1, character = character }
  rpc.notify(buffer.client, 'infill/cursor', { textDocument = document(buffer), position = position })
end

--- Started at each move, it tells the last place when the cursor rests.
function M.cursor_timer(buffer)
  return timer.new(CURSOR_MS, function() send_cursor(buffer) end)
end

return M
