#!lua
-- mend_departures: have each number that has still to be moved looked at, and no other.
--
-- KEYS    1 {org:X}:departures, hash, number -> order target quarantine_ms cause
--         2 {org:X}:due, sorted set, order id or number -> when to look again, ms
-- ARGV    1... numbers, E.164
-- RETURNS how many entries were written or struck out
-- INVARIANT  a departure stays until its number has been moved

local departures, due = KEYS[1], KEYS[2]
-- include clock

local now_ms, changed = read_clock_ms(), 0
for i = 1, #ARGV do
  local number = ARGV[i]
  local departs = redis.call('HEXISTS', departures, number) == 1
  if departs and not redis.call('ZSCORE', due, number) then
    redis.call('ZADD', due, now_ms, number)
    changed = changed + 1
  elseif not departs then
    changed = changed + redis.call('ZREM', due, number)
  end
end
return changed
