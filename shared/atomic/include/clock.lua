-- Unix ms. Where it is kept as text it has to be formatted: Redis may write a plain Lua number as 1.7e+12.
local function read_clock_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function ms_text(ms)
  return string.format('%d', ms)
end
