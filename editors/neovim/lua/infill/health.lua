-- `:checkhealth infill`: what is there, what is wrong, and what to do about it.
--
--   :checkhealth infill
local buffers = require('infill.buffer')
local commands = require('infill.commands')
local keys = require('infill.keys')
local options = require('infill.options')
local rpc = require('infill.rpc')
local server = require('infill.server')
local status = require('infill.status')

local M = {}

local health = vim.health
local WAIT_MS = 2000

local function check_neovim()
  health.start('infill: Neovim')
  local version, ghost = tostring(vim.version()), options.ghost()
  local how = { native = "ghost text by Neovim's vim.lsp.inline_completion", own = 'ghost text by this plugin', off = 'no ghost text' }
  if ghost == 'off' then
    health.warn(version .. ': no ghost text', 'remove ghost = "off" from setup() to see suggestions')
  else
    health.ok(('%s: %s'):format(version, how[ghost]))
  end
end

local function run(command)
  local ok, done = pcall(function() return vim.system(command, { text = true }):wait(WAIT_MS) end)
  if not ok or done.code ~= 0 then return nil end
  return vim.trim(done.stdout)
end

local function minor(version) return version:match('^%d+%.%d+') end

local function check_version(binary)
  local said = run({ binary, '--version' })
  local version = said and said:match('^infill (%S+)$')
  if not version then
    health.error(('%s does not answer --version as infill does'):format(binary), 'name the right program: setup({ binary = … })')
  elseif minor(version) ~= minor(server.VERSION) then
    local text = ('version %s of %s does not belong to version %s of the plugin'):format(version, binary, server.VERSION)
    health.warn(text, 'install both from the same release')
  else
    health.ok(('%s, version %s'):format(binary, version))
  end
  return version ~= nil
end

local function check_binary()
  health.start('infill: binary')
  local command = server.configured_command()
  if not command then return health.info('started by a function in vim.lsp.config: not checked') end
  local path = vim.fn.exepath(command[1])
  if path ~= '' then return check_version(path) and path or nil end
  health.error(('"%s" is not an executable on PATH'):format(command[1]), {
    'install it: cargo install --path . in the repository of infill',
    'or name it: require("infill").setup({ binary = "/path/to/infill" })',
  })
end

-- The part of a JSON schema that a "$ref" names.
local function resolved(schema, root)
  local name = schema['$ref'] and schema['$ref']:match('^#/%$defs/(.*)$')
  return name and root['$defs'][name] or schema
end

-- Settings that the schema does not know.
local function unknown(settings, schema, root, path, found)
  schema = resolved(schema, root)
  for name, value in pairs(schema.properties and settings or {}) do
    local here = path == '' and name or path .. '.' .. name
    local property = schema.properties[name]
    if not property then
      table.insert(found, here)
    elseif type(value) == 'table' then
      unknown(value, property, root, here, found)
    end
  end
  return found
end

local function settings_in_force()
  local client = server.clients()[1]
  return vim.tbl_get(client and client.settings or {}, 'infill') or options.current.settings
end

local function check_keys_of_settings(binary)
  local text = binary and run({ binary, 'config', '--schema' })
  if not text then return end
  local schema = vim.json.decode(text)
  for _, name in ipairs(unknown(settings_in_force(), schema, schema, '', {})) do
    health.error(('setting "%s" is unknown to the server'):format(name), 'see infill config --schema for the names')
  end
  if settings_in_force().model then
    health.warn('"model" is not taken from settings', 'use setup({ model = … }), which passes --model')
  end
end

local function check_settings(binary)
  health.start('infill: settings')
  health.info(vim.inspect(settings_in_force()))
  check_keys_of_settings(binary)
  for _, message in ipairs(status.errors) do
    health.error('the server said: ' .. message, 'correct it in setup({ settings = … }), then :Infill restart')
  end
  if #status.errors == 0 then health.ok('the server has no complaint') end
end

local function check_client(client)
  local answer, reason = rpc.request_sync(client, 'infill/status', vim.empty_dict(), WAIT_MS)
  if not answer or answer.err then
    local why = answer and answer.err.message or reason or 'it has ended'
    return health.error('the server does not answer infill/status: ' .. why, 'see :Infill log, then :Infill restart')
  end
  health.ok(('attached to %d buffers'):format(vim.tbl_count(client.attached_buffers)))
  for _, line in ipairs(commands.describe(answer.result)) do health.info(line) end
end

local function check_clients()
  health.start('infill: server')
  local clients = server.clients()
  for _, client in ipairs(clients) do check_client(client) end
  local last = status.last
  if last and last.state == 'error' then health.error(last.message or 'error', last.hint) end
  if last and last.state == 'off' then health.warn('switched off', ':Infill toggle, or settings.enabled = true') end
  if #clients == 0 then
    health.warn('no server runs', 'open a file of a kind that it serves; require("infill").setup() must have been called')
  end
end

-- They show ghost text of their own.
local rivals = {
  ['copilot.vim'] = function() return vim.g.loaded_copilot ~= nil end,
  ['copilot.lua'] = function() return package.loaded['copilot.suggestion'] ~= nil end,
  ['supermaven-nvim'] = function() return package.loaded['supermaven-nvim'] ~= nil end,
  ['windsurf (codeium)'] = function() return vim.g.loaded_codeium ~= nil or package.loaded['codeium'] ~= nil end,
  ['llama.vim'] = function() return vim.g.loaded_llama ~= nil or vim.g.llama_config ~= nil end,
  ['minuet-ai.nvim'] = function() return package.loaded['minuet.virtualtext'] ~= nil end,
  ['tabnine-nvim'] = function() return package.loaded['tabnine'] ~= nil end,
}

local function check_rivals()
  local none = true
  for name, is_loaded in vim.spairs(rivals) do
    if is_loaded() then
      none = false
      health.warn(name .. ' shows ghost text too', 'switch off the suggestions of one of the two')
    end
  end
  if none then health.ok('no other plugin that shows ghost text') end
end

local function check_keys()
  for _, bufnr in ipairs(vim.api.nvim_list_bufs()) do
    local buffer = buffers.get(bufnr)
    for _, key in ipairs(buffer and buffer.keys or {}) do
      if not keys.is_ours(bufnr, key) then
        local text = ('%s in buffer %d was mapped by something else after infill'):format(key.lhs, bufnr)
        health.warn(text, ('let that mapping fall back, or choose another key: setup({ keys = { %s = … } })'):format(key.name))
      end
    end
  end
end

local function check_others()
  health.start('infill: other plugins')
  check_rivals()
  check_keys()
end

function M.check()
  check_neovim()
  local binary = check_binary()
  check_settings(binary)
  check_clients()
  check_others()
end

return M
