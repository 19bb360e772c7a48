#!lua
-- mend_timers: make the times that are kept of numbers those that their states need.
--
-- KEYS    1 {npa}:unavailable, hash, number -> state attributes attempt order organization
--         2 {npa}:timers, sorted set, number -> when its hold or quarantine ends, ms
--         3 {npa}:returned, sorted set, number -> when a feed may list it anew, ms
-- ARGV    1 how long from now a hold without a timer lasts, ms
--         2 the same of a quarantine, or of a returned number
--         3... numbers, E.164
-- RETURNS how many times were written or struck out
-- INVARIANT  a time that a state has stays as it is

local unavailable, timers, returned = KEYS[1], KEYS[2], KEYS[3]
local hold_ms, quarantine_ms = tonumber(ARGV[1]), tonumber(ARGV[2])
-- include clock
-- include record

local now_ms, changed = read_clock_ms(), 0

local function mend(times, number, lasts_ms)
  local due_ms = redis.call('ZSCORE', times, number)
  if lasts_ms and not due_ms then
    redis.call('ZADD', times, now_ms + lasts_ms, number)
    changed = changed + 1
  elseif due_ms and not lasts_ms then
    redis.call('ZREM', times, number)
    changed = changed + 1
  end
end

local TIMER = { held = hold_ms, quarantined = quarantine_ms }
for i = 3, #ARGV do
  local number = ARGV[i]
  local text = redis.call('HGET', unavailable, number)
  local state = text and read_record(text).state
  -- What cannot be read is for a person to judge, with the times that it has.
  if state or not text then
    mend(timers, number, TIMER[state or ''])
    mend(returned, number, state == 'returned' and quarantine_ms or nil)
  end
end
return changed
