-- One suggestion, as pure text: where it stands, and what of it is still to come when the user has typed on.
--
--   line "    pri|)", item "print(x)" from column 4 to 8
--   { row = 0, col = 4, head = '    ', text = 'print(x)', tail = ')', replaces = 1 }
--   rest(s, place)  --> 'nt(x)', 1
--
-- A place is { row, col, line }: the cursor, in bytes, counted from 0, and its line.
local rpc = require('infill.rpc')

local M = {}

--- From the protocol's item; nil when it is none that can be shown at the place that was asked for.
---@param asked table a place, with `dos`: whether the file's lines end in CRLF, which is no part of a buffer's text
function M.from_item(item, asked, encoding)
  local text = item.insertText
  if type(text) ~= 'string' then return nil end
  local first, last = asked.col, asked.col
  if item.range then
    local from, to = item.range.start, item.range['end']
    if from.line ~= asked.row or to.line ~= asked.row then return nil end
    first, last = rpc.byte(asked.line, from.character, encoding), rpc.byte(asked.line, to.character, encoding)
  end
  if first > asked.col or last < asked.col then return nil end
  return {
    row = asked.row,
    col = first,
    head = asked.line:sub(1, first),
    text = asked.dos and text:gsub('\r\n', '\n') or text,
    tail = asked.line:sub(asked.col + 1),
    replaces = last - asked.col,
  }
end

--- What is still to be inserted at a place, and how many bytes behind the cursor it replaces; nil when what was typed
--- does not agree with it, or the text around it is another.
function M.rest(s, place)
  if place.row ~= s.row or place.col < s.col then return nil end
  if place.line:sub(1, s.col) ~= s.head or place.line:sub(place.col + 1) ~= s.tail then return nil end
  local typed = place.line:sub(s.col + 1, place.col)
  if not vim.startswith(s.text, typed) then return nil end
  local rest = s.text:sub(#typed + 1)
  if rest == '' or rest == s.tail:sub(1, s.replaces) then return nil end
  return rest, s.replaces
end

--- What is drawn of a rest: closing brackets that stand behind the cursor already are not drawn twice.
function M.drawn(s, rest)
  local there = s.tail:sub(1, s.replaces)
  if there ~= '' and not rest:find('\n') and vim.endswith(rest, there) then return rest:sub(1, #rest - #there), true end
  return rest, there == ''
end

--- The suggestion that is left after a part of its rest has been inserted at `place`.
function M.after(s, rest, part, place)
  return {
    row = place.row,
    col = place.col,
    head = place.line:sub(1, place.col),
    text = rest:sub(#part + 1),
    tail = s.tail,
    replaces = s.replaces,
  }
end

M.parts = {}

function M.parts.all(rest) return rest end

--- The next word with the blanks and line breaks before it.
function M.parts.word(rest)
  return rest:match('^%s*[%w_\128-\255]+') or rest:match('^%s*[^%w_%s\128-\255]+') or rest
end

--- To the end of the line; when that is here, the next line with its break.
function M.parts.line(rest) return rest:match('^\n*[^\n]*') end

return M
