-- The server as a client of Neovim: its configuration, its start on Neovim 0.10, and what can be wrong with its binary.
--
--   vim.lsp.config('infill', require('infill.server').config())   -- 0.11 and later
--   server.start_by_filetype()                                    -- 0.10
local options = require('infill.options')
local rpc = require('infill.rpc')
local status = require('infill.status')

local M = {}

--- The plugin's version: the server's must agree in its first two numbers.
M.VERSION = '0.1.0'

local has_config = vim.fn.has('nvim-0.11') == 1
local ROOTS = { '.git', 'Cargo.toml', 'pyproject.toml', 'package.json', 'go.mod' }

--- What starts the server. The model is no setting: a repository's settings must not choose what is loaded.
function M.command()
  local current = options.current
  local command = { vim.fn.expand(current.binary), 'lsp' }
  if current.model then vim.list_extend(command, { '--model', vim.fn.expand(current.model) }) end
  if current.log then vim.list_extend(command, { '--log', vim.fn.expand(current.log) }) end
  return command
end

local function capabilities()
  local mine = { textDocument = { inlineCompletion = { dynamicRegistration = false } }, experimental = { infill = { status = true } } }
  return vim.tbl_deep_extend('force', vim.lsp.protocol.make_client_capabilities(), mine)
end

-- No settings are no section: an empty Lua table would be sent as a list.
local function settings()
  local mine = options.current.settings
  return next(mine) and { infill = mine } or {}
end

-- Some settings, such as whether completion items are offered, must be there before anything else is said.
local function hand_over_settings(params, config)
  local settings = vim.tbl_get(config.settings or {}, 'infill')
  if settings and next(settings) then params.initializationOptions = settings end
end

--- One server for all roots: it holds the model.
local function reuse(client, config) return client.name == config.name and not rpc.is_stopped(client) end

function M.config()
  return {
    name = 'infill',
    cmd = M.command(),
    filetypes = options.current.filetypes,
    root_markers = ROOTS,
    capabilities = capabilities(),
    settings = settings(),
    before_init = hand_over_settings,
    on_exit = function(code, signal) status.on_exit(code, signal) end,
    handlers = { ['infill/didChangeStatus'] = status.on_change, ['window/showMessage'] = status.on_message },
    reuse_client = reuse,
  }
end

-- The command that is in force: a user's vim.lsp.config may name another.
function M.configured_command()
  local config = has_config and vim.lsp.config.infill or M.config()
  return type(config.cmd) == 'table' and config.cmd or nil
end

local started = false -- on 0.10

-- Before 0.12 Neovim has no function that tells.
local function is_enabled()
  if not has_config then return started end
  if vim.lsp.is_enabled then return vim.lsp.is_enabled('infill') end
  return vim.lsp._enabled_configs.infill ~= nil
end

--- Says once, when the server is wanted and its binary is not there, what to do. True when it is there.
function M.check_binary()
  if not is_enabled() then return true end
  local command = M.configured_command()
  if not command or vim.fn.executable(command[1]) == 1 then return true end
  local text = 'infill: "%s" is not an executable on PATH. Install it (cargo install --path . in its repository) '
    .. 'or name it: require("infill").setup({ binary = "/path/to/infill" })'
  -- Later: in an autocommand the message would come with a stack trace.
  vim.schedule(function() vim.notify_once(text:format(command[1]), vim.log.levels.ERROR) end)
  return false
end

local function start(bufnr)
  local config = M.config()
  if vim.bo[bufnr].buftype ~= '' or not M.check_binary() then return end
  config.root_dir = vim.fs.root(bufnr, ROOTS)
  vim.lsp.start(config, { bufnr = bufnr, reuse_client = reuse })
end

--- Neovim 0.10: a client for each buffer with a file type, those that are open already too.
function M.start_by_filetype()
  started = true
  local group = vim.api.nvim_create_augroup('infill.start', { clear = true })
  local pattern = options.current.filetypes or '*'
  vim.api.nvim_create_autocmd('FileType', { group = group, pattern = pattern, callback = function(event) start(event.buf) end })
  if vim.v.vim_did_enter == 1 then vim.cmd('silent! doautoall infill.start FileType') end
end

--- Starts with the options as they are now.
function M.enable()
  if not has_config then return M.start_by_filetype() end
  vim.lsp.config('infill', M.config())
  vim.lsp.enable('infill')
  if vim.v.vim_did_enter == 1 then M.check_binary() end
end

function M.clients() return vim.lsp.get_clients({ name = 'infill' }) end

local function start_again(client, buffers)
  for bufnr in pairs(buffers) do
    if vim.api.nvim_buf_is_loaded(bufnr) then vim.lsp.start(client.config, { bufnr = bufnr, reuse_client = reuse }) end
  end
end

-- A server that has not ended when its time is over is not waited for longer.
local PATIENCE_MS = 3000

--- Stops each client and starts it anew in its buffers. False when there is none.
function M.restart()
  local clients = M.clients()
  for _, client in ipairs(clients) do
    local buffers = vim.deepcopy(client.attached_buffers)
    rpc.stop(client)
    vim.wait(PATIENCE_MS, function() return vim.lsp.get_client_by_id(client.id) == nil end, 20)
    start_again(client, buffers)
  end
  return #clients > 0
end

--- Tells the server a changed setting; the options keep it for the next start.
function M.change_setting(name, value)
  options.current.settings[name] = value
  for _, client in ipairs(M.clients()) do
    client.settings = vim.tbl_deep_extend('force', client.settings or {}, { infill = { [name] = value } })
    rpc.notify(client, 'workspace/didChangeConfiguration', { settings = client.settings })
  end
end

return M
