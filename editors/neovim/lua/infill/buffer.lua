-- One buffer's suggestions: what the server said, which of it still fits what is typed, and which one is chosen.
-- How it is drawn, and who asks while the user types, is the surface's: ghost.lua, or native.lua on Neovim 0.12.
--
--   buffer.attach(client, bufnr)
--   buffer.get():ask(Buffer.INVOKED)    -- the user asks
--   buffer.get():current()              --> a suggestion, if one is shown
local highlight = require('infill.highlight')
local keys = require('infill.keys')
local menus = require('infill.menus')
local options = require('infill.options')
local outcome = require('infill.outcome')
local rpc = require('infill.rpc')
local suggestion = require('infill.suggestion')

local Buffer = { INVOKED = 1, AUTOMATIC = 2 }
Buffer.__index = Buffer

local M = {}

local all = {} ---@type table<integer, table>

--- The buffer's suggestions, if a client is attached to it.
function M.get(bufnr) return all[(bufnr == nil or bufnr == 0) and vim.api.nvim_get_current_buf() or bufnr] end

--- Where the cursor is, in bytes, counted from 0.
local function place_of_cursor()
  local cursor = vim.api.nvim_win_get_cursor(0)
  return { row = cursor[1] - 1, col = cursor[2], line = vim.api.nvim_get_current_line() }
end

function Buffer:is_typing()
  return vim.api.nvim_get_current_buf() == self.bufnr and vim.startswith(vim.api.nvim_get_mode().mode, 'i')
end

--- The suggestion that is shown, with what of it is left and what it replaces; nil when none is.
function Buffer:current()
  local current = self.items[self.index]
  if not current or not self:is_typing() or menus.visible() then return nil end
  local place = place_of_cursor()
  local rest, replaced = suggestion.rest(current, place)
  if rest then return current, rest, replaced, place end
end

--- Keeps what fits what is typed now, and draws it.
function Buffer:refresh()
  local place, chosen = place_of_cursor(), self.items[self.index]
  self.items = vim.tbl_filter(function(s) return suggestion.rest(s, place) ~= nil end, self.items)
  self.index = 1
  for n, s in ipairs(self.items) do
    if s == chosen then self.index = n end
  end
  local shown = #self.items > 0 and self:is_typing() and not menus.visible()
  if shown then self.surface.show(self, place) else self.surface.hide(self) end
end

--- Begins a request, which supersedes the one before: returns what takes its answer, once.
---@param index integer the suggestion to choose
function Buffer:expect(index)
  self:cancel()
  local asked = place_of_cursor()
  asked.dos = vim.bo[self.bufnr].fileformat == 'dos'
  self.asked = asked
  return function(err, result)
    if self.asked ~= asked then return end
    self.asked, self.request_id = nil, nil
    self:take(err, result, asked, index)
  end
end

function Buffer:cancel()
  if self.request_id and not rpc.is_stopped(self.client) then rpc.cancel(self.client, self.request_id) end
  self.asked, self.request_id = nil, nil
end

-- A request that was cancelled or superseded, or whose text has changed, is no failure.
local routine = { [-32800] = true, [-32801] = true, [-32802] = true }

function Buffer:take(err, result, asked, index)
  if err then
    if not routine[err.code] then vim.lsp.log.error('infill', err) end
    return
  end
  if not result or result == vim.NIL or not vim.api.nvim_buf_is_valid(self.bufnr) then result = {} end
  local made = vim.tbl_map(function(item)
    return suggestion.from_item(item, asked, self.client.offset_encoding) or false
  end, result.items or result)
  self.items = vim.tbl_filter(function(s) return s end, made)
  self.index = math.min(index, math.max(#self.items, 1))
  if self:is_typing() then self:refresh() end
end

--- Asks the server. A user who asks gets several suggestions, and also those that are not shown unasked.
function Buffer:ask(kind, index)
  local answered = self:expect(index or 1)
  local position = { line = self.asked.row, character = rpc.character(self.asked.line, self.asked.col, self.client.offset_encoding) }
  local params = {
    textDocument = { uri = vim.uri_from_bufnr(self.bufnr) },
    position = position,
    context = { triggerKind = kind },
  }
  self.invoked = kind == Buffer.INVOKED
  local _, id = rpc.request(self.client, 'textDocument/inlineCompletion', params, answered, self.bufnr)
  if self.asked then self.request_id = id end
end

--- Chooses another suggestion. One that came by itself is alone: the others are asked for.
function Buffer:cycle(step)
  if not self:current() then return false end
  if #self.items == 1 and not self.invoked then
    self:ask(Buffer.INVOKED, step > 0 and 2 or math.huge)
    return true
  end
  self.index = (self.index - 1 + step) % #self.items + 1
  self:refresh()
  return true
end

--- Forgets what is shown and what is asked.
function Buffer:clear()
  self:cancel()
  self.items, self.index, self.invoked = {}, 1, false
  self.surface.hide(self)
end

--- Goes on showing one suggestion: what is left of it after a part was accepted.
function Buffer:keep(rest_of_it)
  self.items = { rest_of_it }
  self:refresh()
end

function Buffer:dismiss()
  local _, rest = self:current()
  if not rest then return false end
  self:clear()
  outcome.send(self, 'rejected', rest)
  return true
end

-- A cursor that moved without an edit tells the server where the next suggestion may be wanted.
function Buffer:moved()
  local tick = vim.api.nvim_buf_get_changedtick(self.bufnr)
  if tick ~= self.tick then
    self.tick = tick
    return
  end
  self.cursor:start()
end

function Buffer:typed()
  self.invoked = false
  self:refresh()
  self.surface.typed(self)
end

local function on(buffer, events, act)
  vim.api.nvim_create_autocmd(events, { group = buffer.group, buffer = buffer.bufnr, callback = act })
end

local function listen(buffer)
  on(buffer, { 'TextChangedI', 'TextChangedP' }, function() buffer:typed() end)
  on(buffer, 'InsertEnter', function() buffer.surface.typed(buffer) end)
  on(buffer, { 'InsertLeave', 'BufLeave' }, function() buffer:clear() end)
  on(buffer, 'CursorMoved', function() buffer:moved() end)
  on(buffer, 'CursorMovedI', function()
    buffer:moved()
    buffer:refresh()
  end)
end

local function surface()
  return ({ native = 'infill.native', own = 'infill.ghost' })[options.ghost()]
end

function M.attach(client, bufnr)
  if not client.server_capabilities.inlineCompletionProvider or not surface() then return end
  M.detach(bufnr)
  local buffer = setmetatable({ bufnr = bufnr, client = client, items = {}, index = 1, surface = require(surface()) }, Buffer)
  all[bufnr] = buffer
  buffer.group = vim.api.nvim_create_augroup('infill.buffer.' .. bufnr, { clear = true })
  highlight.define()
  buffer.cursor = outcome.cursor_timer(buffer)
  buffer.surface.start(buffer, M.get)
  buffer.keys = keys.map(bufnr)
  menus.watch(function()
    local shown = M.get()
    if shown and shown:is_typing() then shown:refresh() end
  end)
  listen(buffer)
end

function M.detach(bufnr)
  local buffer = all[bufnr]
  if not buffer then return end
  all[bufnr] = nil
  buffer:clear()
  buffer.surface.stop(buffer)
  buffer.cursor:close()
  vim.api.nvim_del_augroup_by_id(buffer.group)
  keys.unmap(bufnr, buffer.keys)
end

M.INVOKED = Buffer.INVOKED

return M
