-- `:Infill toggle|restart|status|log`.
--
--   :Infill status     what the server says about itself
local rpc = require('infill.rpc')
local server = require('infill.server')
local status = require('infill.status')

local M = {}

local function say(text, level) vim.notify('infill: ' .. text, level or vim.log.levels.INFO) end

local function no_client()
  say('no server is attached: open a file, or see :checkhealth infill', vim.log.levels.WARN)
end

local commands = {}

function commands.toggle() say(require('infill').toggle() and 'suggestions are on' or 'suggestions are off') end

function commands.restart()
  if server.restart() then say('restarted') else no_client() end
end

local function model_of(result)
  local engine = type(result.engine) == 'table' and result.engine or {}
  return engine.name or (status.last and status.last.model) or 'not loaded'
end

--- What `infill/status` answered, in short pieces.
function M.describe(result)
  local lines = { ('server %s, model %s'):format(result.version or '?', model_of(result)) }
  for _, name in ipairs({ 'shown', 'accepted', 'partly', 'rejected' }) do
    if result[name] then table.insert(lines, ('%s %d'):format(name, result[name])) end
  end
  local last = status.last or {}
  if last.message then table.insert(lines, last.message .. (last.hint and ' (' .. last.hint .. ')' or '')) end
  return lines
end

function commands.status()
  local client = server.clients()[1]
  if not client then return no_client() end
  rpc.request(client, 'infill/status', vim.empty_dict(), function(err, result)
    if err then return say(err.message, vim.log.levels.ERROR) end
    say(table.concat(M.describe(result), ', '))
  end)
end

-- Without a file of its own, what the server writes ends up in Neovim's log.
local function log_file()
  local command = server.configured_command() or {}
  for n, word in ipairs(command) do
    if word == '--log' then return command[n + 1] end
  end
  return vim.lsp.get_log_path()
end

function commands.log()
  vim.cmd.tabedit(vim.fn.fnameescape(log_file()))
  vim.cmd.normal({ 'G', bang = true })
end

function M.complete(typed)
  local names = vim.tbl_filter(function(name) return vim.startswith(name, typed) end, vim.tbl_keys(commands))
  table.sort(names)
  return names
end

function M.run(args)
  local command = commands[args[1]]
  if command then return command() end
  say(('unknown command "%s": use %s'):format(args[1], table.concat(M.complete(''), ', ')), vim.log.levels.ERROR)
end

return M
