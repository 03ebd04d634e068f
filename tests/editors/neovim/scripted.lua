-- A server inside Neovim that says what a test tells it: for what a model cannot be made to say on demand.
--
--   scripted.items = { { insertText = 'a\r\nb', from = 0, to = 2 } }   -- columns from `from` to `to` of the cursor's line
--   scripted.requests, scripted.notes    -- what it was asked and told
_G.scripted = {}

local function ranged(item, position)
  local function at(character) return { line = position.line, character = character } end
  return { insertText = item.insertText, range = { start = at(item.from), ['end'] = at(item.to or position.character) } }
end

local function answer_inline(params, callback)
  local result = { items = vim.tbl_map(function(item) return ranged(item, params.position) end, scripted.items) }
  if scripted.hold then
    scripted.held = function() callback(nil, result) end
  else
    vim.schedule(function() callback(nil, result) end)
  end
end

local function request(_, method, params, callback, id)
  table.insert(scripted.requests, { method = method, params = params })
  if method == 'initialize' then
    callback(nil, { capabilities = { inlineCompletionProvider = true, positionEncoding = scripted.encoding, textDocumentSync = 2 } })
  elseif method == 'textDocument/inlineCompletion' then
    answer_inline(params, callback)
  else
    callback(nil, vim.NIL)
  end
  return true, id
end

local function server()
  local closing, id = false, 0
  return {
    request = function(method, params, callback, notify_reply)
      id = id + 1
      local this = id
      return request(nil, method, params, function(...)
        if notify_reply then notify_reply(this) end
        callback(...)
      end, this)
    end,
    notify = function(method, params)
      table.insert(scripted.notes, { method = method, params = params })
      return true
    end,
    is_closing = function() return closing end,
    terminate = function() closing = true end,
  }
end

--- Attaches the server to the current buffer as if it were infill's.
function scripted.start(encoding)
  scripted.items, scripted.requests, scripted.notes = {}, {}, {}
  scripted.hold, scripted.held, scripted.encoding = false, nil, encoding
  local config = { name = 'infill', cmd = server, capabilities = require('infill.server').config().capabilities }
  vim.lsp.start(config, { reuse_client = function() return false end })
end

--- How often it was told something, and the last parameters.
function scripted.told(method)
  local found = vim.tbl_filter(function(note) return note.method == method end, scripted.notes)
  return #found, found[#found] and found[#found].params
end
