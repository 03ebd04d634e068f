-- What the server says about itself (`infill/didChangeStatus`, and messages), for the statusline and :checkhealth.
--
--   vim.o.statusline = "%f %= %{v:lua.require'infill'.status()}"
local M = {}

--- The last status: { state, model, device, message, hint }; nil before the first.
M.last = nil ---@type table?
--- Errors that the server showed, newest last: wrong settings for example.
M.errors = {} ---@type string[]

local KEPT = 10

local function set(status)
  M.last = status
  vim.schedule(function() vim.cmd.redrawstatus({ bang = true }) end)
end

-- JSON's null is no text.
local function text(value) return type(value) == 'string' and value or nil end

--- Handler of `infill/didChangeStatus`.
function M.on_change(_, params)
  set({
    state = params.state,
    model = text(params.model),
    device = text(params.device),
    message = text(params.message),
    hint = text(params.hint),
  })
end

--- Handler of `window/showMessage`: shown as ever, and errors kept for :checkhealth.
function M.on_message(err, params, ctx, config)
  if params.type == vim.lsp.protocol.MessageType.Error then
    table.insert(M.errors, params.message)
    if #M.errors > KEPT then table.remove(M.errors, 1) end
  end
  return vim.lsp.handlers['window/showMessage'](err, params, ctx, config)
end

--- The server has ended.
function M.on_exit(code, signal)
  if code == 0 then return set(nil) end
  local how = signal ~= 0 and ('signal %d'):format(signal) or ('exit code %d'):format(code)
  set({ state = 'error', message = 'the server ended with ' .. how, hint = 'see :Infill log, then :Infill restart' })
end

local function clients() return vim.lsp.get_clients({ name = 'infill' }) end

--- One short text: "infill: nano", "infill: loading", "" when no server runs.
function M.text()
  local last = M.last
  if not last then return #clients() > 0 and 'infill' or '' end
  if last.state == 'ready' then return 'infill: ' .. (last.model or 'ready') end
  if last.state == 'busy' then return 'infill: ' .. (last.model or 'busy') .. ' …' end
  return 'infill: ' .. last.state
end

return M
