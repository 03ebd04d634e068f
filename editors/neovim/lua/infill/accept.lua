-- Inserting a suggestion, whole or in part, as one undo step of its own.
--
--   accept.start('word')   --> true when there is something to insert
local outcome = require('infill.outcome')
local suggestion = require('infill.suggestion')

local M = {}

--- Begins to insert a part ('all', 'word' or 'line') of what is shown. CTRL-G u before and behind it closes the undo
--- step; it is a key, so the text is inserted by a key in between.
function M.start(part)
  local buffer = require('infill.buffer').get()
  if not buffer or not buffer:current() then return false end
  local insert = ('<C-g>u<Cmd>lua require("infill.accept").insert("%s")<CR><C-g>u'):format(part)
  vim.api.nvim_feedkeys(vim.api.nvim_replace_termcodes(insert, true, true, true), 'ni', false)
  return true
end

-- Puts text at a place, over `replaced` bytes behind it, and the cursor behind it. Returns where that is.
local function put(bufnr, place, replaced, text)
  local lines = vim.split(text, '\n', { plain = true })
  vim.api.nvim_buf_set_text(bufnr, place.row, place.col, place.row, place.col + replaced, lines)
  local row = place.row + #lines - 1
  local col = (#lines == 1 and place.col or 0) + #lines[#lines]
  vim.api.nvim_win_set_cursor(0, { row + 1, col })
  return { row = row, col = col, line = vim.api.nvim_get_current_line() }
end

function M.insert(part)
  local buffer = require('infill.buffer').get()
  if not buffer then return end
  local current, rest, replaced, place = buffer:current()
  if not current then return end
  local text = suggestion.parts[part](rest)
  local whole = text == rest
  local after = put(buffer.bufnr, place, whole and replaced or 0, text)
  buffer:clear()
  if not whole then buffer:keep(suggestion.after(current, rest, text, after)) end
  outcome.send(buffer, whole and 'accepted' or 'partly', text)
end

return M
