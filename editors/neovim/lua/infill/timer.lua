-- Something to be done when nothing has happened for a while.
--
--   local t = timer.new(100, function() … end)
--   t:start()   -- again before the 100 ms are over: they begin anew
local Timer = {}
Timer.__index = Timer

function Timer:start()
  if self.handle then self.handle:start(self.ms, 0, self.act) end
end

function Timer:stop()
  if self.handle then self.handle:stop() end
end

function Timer:close()
  if not self.handle then return end
  self.handle:stop()
  self.handle:close()
  self.handle = nil
end

local M = {}

function M.new(ms, act)
  local self = setmetatable({ ms = ms, handle = vim.uv.new_timer() }, Timer)
  -- What was due when the timer was closed is not done any more.
  self.act = vim.schedule_wrap(function()
    if self.handle then act() end
  end)
  return self
end

return M
