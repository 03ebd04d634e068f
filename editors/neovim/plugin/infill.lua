-- Loaded at startup: attaches suggestions to each buffer of an infill client, however that was started, and defines
-- the command `:Infill`. Nothing heavy is loaded before a client attaches.
if vim.g.loaded_infill then return end
vim.g.loaded_infill = true

if vim.fn.has('nvim-0.10') == 0 then
  vim.notify('infill: this Neovim is too old: install 0.10 or later', vim.log.levels.ERROR)
  return
end

local group = vim.api.nvim_create_augroup('infill', { clear = true })

-- Neovim names a client after its configuration.
local function client_of(event)
  local client = vim.lsp.get_client_by_id(event.data.client_id)
  return client and client.name == 'infill' and client or nil
end

vim.api.nvim_create_autocmd('LspAttach', {
  group = group,
  callback = function(event)
    local client = client_of(event)
    if client then require('infill.buffer').attach(client, event.buf) end
  end,
})

vim.api.nvim_create_autocmd('LspDetach', {
  group = group,
  callback = function(event)
    if client_of(event) then require('infill.buffer').detach(event.buf) end
  end,
})

vim.api.nvim_create_autocmd('ColorScheme', {
  group = group,
  callback = function() require('infill.highlight').define() end,
})

-- Neovim only logs that an enabled server is not installed.
vim.api.nvim_create_autocmd('FileType', {
  group = group,
  callback = function(event)
    if vim.bo[event.buf].buftype == '' then require('infill.server').check_binary() end
  end,
})

vim.api.nvim_create_user_command('Infill', function(call) require('infill.commands').run(call.fargs) end, {
  nargs = '+',
  desc = 'infill: toggle, restart, status or log',
  complete = function(typed) return require('infill.commands').complete(typed) end,
})
