-- Keys in insert mode, in buffers with suggestions only. A key that has nothing to do for us does what it did before:
-- the mapping that was there, or the plain key.
--
--   local mapped = keys.map(bufnr)   …   keys.unmap(bufnr, mapped)
local options = require('infill.options')

local M = {}

local function termcodes(text) return vim.api.nvim_replace_termcodes(text, true, true, true) end

-- 'i': before what is typed already, so that the order of keys is kept.
local function feed(keys, remap) vim.api.nvim_feedkeys(keys, remap and 'mi' or 'ni', false) end

-- `<SID>` in a script's mapping means that script.
local function rhs_of(map) return (map.rhs or ''):gsub('<SID>', ('<SNR>%d_'):format(map.sid or 0)) end

-- What an expression mapping types.
local function evaluated(map)
  local typed
  if map.callback then typed = map.callback() else typed = vim.api.nvim_eval(rhs_of(map)) end
  if type(typed) ~= 'string' then return '' end
  return map.replace_keycodes == 1 and termcodes(typed) or typed
end

local function replay(map)
  if map.callback and map.expr ~= 1 then return map.callback() end
  local keys = map.expr == 1 and evaluated(map) or termcodes(rhs_of(map))
  feed(keys, map.noremap ~= 1)
end

local function global_map(lhs)
  local raw = termcodes(lhs)
  for _, map in ipairs(vim.api.nvim_get_keymap('i')) do
    if map.lhsraw == raw or map.lhsrawalt == raw or map.lhs == lhs then return map end
  end
end

--- Does what the key did before we mapped it in this buffer.
local function fall_back(lhs, previous)
  local map = previous or global_map(lhs)
  if map then replay(map) else feed(termcodes(lhs), false) end
end

local function own_map(bufnr, lhs)
  local map = vim.api.nvim_buf_call(bufnr, function() return vim.fn.maparg(lhs, 'i', false, true) end)
  return map.buffer == 1 and map or nil
end

local function set(bufnr, name, lhs)
  local previous = own_map(bufnr, lhs)
  vim.keymap.set('i', lhs, function()
    if not require('infill')[name]() then fall_back(lhs, previous) end
  end, { buffer = bufnr, desc = 'infill: ' .. name })
  return { lhs = lhs, name = name, previous = previous }
end

--- Maps the keys of the options; returns what `unmap` needs.
function M.map(bufnr)
  local mapped = {}
  for name, lhs in pairs(options.current.keys or {}) do
    if lhs then table.insert(mapped, set(bufnr, name, lhs)) end
  end
  return mapped
end

--- Whether a key of the buffer is still ours: a menu plugin may have mapped it since (and then falls back to us).
function M.is_ours(bufnr, key)
  local map = own_map(bufnr, key.lhs)
  return map ~= nil and map.desc == 'infill: ' .. key.name
end

function M.unmap(bufnr, mapped)
  if not vim.api.nvim_buf_is_loaded(bufnr) then return end
  for _, key in ipairs(mapped) do
    if M.is_ours(bufnr, key) then
      vim.keymap.del('i', key.lhs, { buffer = bufnr })
      if key.previous then vim.api.nvim_buf_call(bufnr, function() vim.fn.mapset('i', false, key.previous) end) end
    end
  end
end

return M
