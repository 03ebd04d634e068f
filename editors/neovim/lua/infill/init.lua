-- What users call.
--
--   require('infill').setup({ keys = { accept = '<C-y>' } })
--   require('infill').status()    -- for a statusline
-- The functions that act on a suggestion return whether there was one, so that a mapping can do something else instead.
local M = {}

local function buffer() return require('infill.buffer').get() end

--- Takes options (:help infill-options) and starts the server in files that are opened.
function M.setup(opts)
  require('infill.options').set(opts)
  require('infill.server').enable()
end

function M.accept() return require('infill.accept').start('all') end
function M.accept_word() return require('infill.accept').start('word') end
function M.accept_line() return require('infill.accept').start('line') end

local function cycle(step)
  local here = buffer()
  return here ~= nil and here:cycle(step)
end

function M.next() return cycle(1) end
function M.prev() return cycle(-1) end

--- Hides the suggestion; the server does not show it again unasked on that line.
function M.dismiss()
  local here = buffer()
  return here ~= nil and here:dismiss()
end

--- Asks now: for several suggestions, improbable ones too.
function M.trigger()
  local here = buffer()
  if not here or not here:is_typing() then return false end
  here:ask(here.INVOKED)
  return true
end

--- The text that `accept` would insert now; nil when nothing is shown.
function M.shown()
  local here = buffer()
  if not here then return nil end
  local _, rest = here:current()
  return rest
end

--- Switches suggestions off or on, in all buffers. Returns whether they are on now.
function M.toggle()
  local options, server = require('infill.options'), require('infill.server')
  local on = options.current.settings.enabled == false
  server.change_setting('enabled', on)
  local here = buffer()
  if here and not on then here:clear() end
  return on
end

function M.restart() return require('infill.server').restart() end

function M.status() return require('infill.status').text() end

return M
