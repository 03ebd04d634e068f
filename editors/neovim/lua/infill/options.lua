-- The plugin's options, and the check of what the user gives.
--
--   options.set({ model = '~/models/lite.gguf', keys = { accept = '<C-y>' } })
--   options.current.keys.accept  --> '<C-y>'
local M = {}

M.defaults = {
  binary = 'infill', -- a name on PATH or a path
  model = nil, ---@type string? for `--model`; nil: what the server's own configuration says
  log = nil, ---@type string? file for the server's log
  filetypes = nil, ---@type string[]? nil: all; the setting `languages` restricts too
  settings = {}, -- the server's settings, as `infill config --schema` describes them
  ghost = 'auto', -- 'auto', 'native' (Neovim 0.12's own), 'own' or 'off'
  debounce = 30, -- milliseconds between the last key and a request; 'native' has its own
  keys = {
    accept = '<Tab>',
    accept_word = '<M-Right>',
    accept_line = '<M-C-Right>',
    next = '<M-]>',
    prev = '<M-[>',
    dismiss = '<C-]>',
    trigger = '<M-Bslash>',
  },
}

local kinds = {
  binary = 'string',
  model = 'string',
  log = 'string',
  filetypes = 'table',
  settings = 'table',
  ghost = 'string',
  debounce = 'number',
}

M.current = vim.deepcopy(M.defaults)

local function complain(text) error('infill: setup: ' .. text .. ' (:help infill-options)', 0) end

local function names(of)
  local sorted = vim.tbl_keys(of)
  table.sort(sorted)
  return table.concat(sorted, ', ')
end

local function check_keys(keys)
  if keys == false then return end
  if type(keys) ~= 'table' then complain('"keys" is a table, or false for none') end
  for name, lhs in pairs(keys) do
    if M.defaults.keys[name] == nil then complain(('unknown key "%s"; there are %s'):format(name, names(M.defaults.keys))) end
    if lhs ~= false and type(lhs) ~= 'string' then complain(('"keys.%s" is a key such as "<Tab>", or false'):format(name)) end
  end
end

local function check(opts)
  for name, value in pairs(opts) do
    local kind = kinds[name]
    if not kind and name ~= 'keys' then complain(('unknown option "%s"; there are keys, %s'):format(name, names(kinds))) end
    if kind and type(value) ~= kind then complain(('"%s" is a %s, not %s'):format(name, kind, vim.inspect(value))) end
  end
  if opts.keys ~= nil then check_keys(opts.keys) end
  if opts.ghost and not vim.tbl_contains({ 'auto', 'native', 'own', 'off' }, opts.ghost) then
    complain(('"ghost" is "auto", "native", "own" or "off", not "%s"'):format(opts.ghost))
  end
  if opts.ghost == 'native' and vim.fn.has('nvim-0.12') == 0 then
    complain('"ghost" = "native" needs Neovim 0.12: use "own" or "auto"')
  end
end

--- Takes the user's options over the defaults; a wrong one is an error that says what is right.
function M.set(opts)
  opts = opts or {}
  check(opts)
  M.current = vim.tbl_deep_extend('force', vim.deepcopy(M.defaults), opts)
end

--- 'native', 'own' or 'off'.
function M.ghost()
  local ghost = M.current.ghost
  if ghost == 'auto' then return vim.fn.has('nvim-0.12') == 1 and 'native' or 'own' end
  return ghost
end

return M
