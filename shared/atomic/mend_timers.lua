#!lua
-- mend_timers: make the times that are kept of numbers those that their states need.
--
-- KEYS    1 {npa}:unavailable, hash, number -> state attributes attempt order organization
--         2 {npa}:timers, sorted set, number -> when its hold or quarantine ends, ms
--         3 {npa}:returned, sorted set, number -> when a feed may list it anew, ms
-- ARGV    1 how long from now a hold without a timer lasts, ms
--         2 how long a hold may last at most, ms
--         3 how long from now a quarantine without a timer lasts, or of a number without one its return, ms
--         4 how long these may last at most, ms
--         5... numbers, E.164
-- RETURNS how many times were written or struck out
-- INVARIANT  a time that a state has and may have stays as it is

local unavailable, timers, returned = KEYS[1], KEYS[2], KEYS[3]
local HOLD = { lasts_ms = tonumber(ARGV[1]), at_most_ms = tonumber(ARGV[2]) }
local QUARANTINE = { lasts_ms = tonumber(ARGV[3]), at_most_ms = tonumber(ARGV[4]) }
-- include clock
-- include record

local now_ms, changed = read_clock_ms(), 0

local function mend(times, number, span)
  local due_ms = redis.call('ZSCORE', times, number)
  if span and (not due_ms or tonumber(due_ms) > now_ms + span.at_most_ms) then
    redis.call('ZADD', times, now_ms + span.lasts_ms, number)
    changed = changed + 1
  elseif due_ms and not span then
    redis.call('ZREM', times, number)
    changed = changed + 1
  end
end

local SPANS = { held = HOLD, quarantined = QUARANTINE }
for i = 5, #ARGV do
  local number = ARGV[i]
  local text = redis.call('HGET', unavailable, number)
  local state = text and read_record(text).state
  -- What cannot be read is for a person to judge, with the times that it has.
  if state or not text then
    mend(timers, number, SPANS[state or ''])
    mend(returned, number, state == 'returned' and QUARANTINE or nil)
  end
end
return changed
