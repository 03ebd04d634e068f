-- Ghost text by Neovim 0.12's own vim.lsp.inline_completion: it asks (200 ms after a key) and draws. This stands between it
-- and the server, because it takes a suggestion as it is: a carriage return would be shown and inserted, and what was
-- typed since the request would be doubled when accepted.
--
--   server --answer--> buffer (fits it to what is typed) --show--> vim.lsp.inline_completion
local rpc = require('infill.rpc')
local suggestion = require('infill.suggestion')

local M = {}

local METHOD = 'textDocument/inlineCompletion'
local wrapped = {} ---@type table<integer, true> client ids

-- The suggestion as an item from the cursor on: with an empty range Neovim draws it inline.
local function item_of(s, buffer, place)
  local rest, replaced = suggestion.rest(s, place)
  if not rest then return nil end
  local function position(col)
    return { line = place.row, character = rpc.character(place.line, col, buffer.client.offset_encoding) }
  end
  return { insertText = rest, range = { start = position(place.col), ['end'] = position(place.col + replaced) } }
end

function M.show(buffer, place)
  if not buffer.feed then return end
  local items = vim.tbl_map(function(s) return item_of(s, buffer, place) end, buffer.items)
  buffer.feed({ items = items })
  if buffer.index > 1 then vim.lsp.inline_completion.select({ bufnr = buffer.bufnr, count = buffer.index - 1, wrap = false }) end
end

function M.hide(buffer)
  if buffer.feed then buffer.feed({ items = {} }) end
end

-- What Neovim asks goes out as it is; the answer goes to the buffer, which shows what fits.
local function take_over(buffer, client, ask, params, handler)
  local ctx = { client_id = client.id, bufnr = buffer.bufnr, method = METHOD, params = params }
  buffer.feed = function(result) handler(nil, result, ctx) end
  if buffer.invoked then -- what the user asked for at this place stays, and can be drawn at last
    buffer:refresh()
    return true
  end
  local answered = buffer:expect(1)
  local sent, id = ask(client, METHOD, params, answered, buffer.bufnr)
  buffer.request_id = id
  return sent, id
end

local function wrap(client, find)
  if wrapped[client.id] then return end
  wrapped[client.id] = true
  local ask = client.request
  client.request = function(self, method, params, handler, bufnr)
    local buffer = method == METHOD and find(bufnr)
    -- Our own request, at a key press, is told from Neovim's by its kind.
    if not buffer or params.context.triggerKind ~= buffer.AUTOMATIC then return ask(self, method, params, handler, bufnr) end
    return take_over(buffer, self, ask, params, handler)
  end
end

function M.start(buffer, find)
  wrap(buffer.client, find)
  vim.lsp.inline_completion.enable(true, { client_id = buffer.client.id })
end

-- Neovim asks by itself.
function M.typed() end
function M.stop() end

return M
