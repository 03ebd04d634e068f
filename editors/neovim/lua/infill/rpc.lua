-- Calls on a client that are spelled differently in Neovim 0.10 and later.
--
--   rpc.request(client, 'infill/status', {}, function(err, result) … end, bufnr)
local M = {}

local methods = vim.fn.has('nvim-0.11') == 1

-- From 0.11 on they are methods; before, closures.
local function call(client, name, ...)
  if methods then return client[name](client, ...) end
  return client[name](...)
end

function M.request(client, method, params, handler, bufnr) return call(client, 'request', method, params, handler, bufnr) end
function M.request_sync(client, method, params, timeout) return call(client, 'request_sync', method, params, timeout, 0) end
function M.notify(client, method, params) return call(client, 'notify', method, params) end
function M.cancel(client, id) return call(client, 'cancel_request', id) end
function M.stop(client) return call(client, 'stop') end
function M.is_stopped(client) return call(client, 'is_stopped') end

--- The protocol's column of a byte column.
function M.character(line, col, encoding)
  if encoding == 'utf-8' then return col end
  if methods then return vim.str_utfindex(line, encoding, col, false) end
  local utf32, utf16 = vim.str_utfindex(line, col)
  return encoding == 'utf-16' and utf16 or utf32
end

--- The byte column of a protocol's column; past the end is the end.
function M.byte(line, character, encoding)
  if encoding == 'utf-8' then return math.min(character, #line) end
  if methods then return vim.str_byteindex(line, encoding, character, false) end
  local ok, col = pcall(vim.str_byteindex, line, character, encoding == 'utf-16')
  return ok and col or #line
end

return M
