#!lua
-- end_departures: strike out numbers that have been moved.
--
-- KEYS    1 {org:X}:departures, hash, number -> order target quarantine_ms cause
--         2 {org:X}:due, sorted set, order id or number -> when to look again, ms
-- ARGV    1... number, departure, number, departure, as they were when they were moved
-- RETURNS how many were struck out
-- INVARIANT  a later departure of the same number stays

local departures, due = KEYS[1], KEYS[2]

local ended = 0
for i = 1, #ARGV, 2 do
  if redis.call('HGET', departures, ARGV[i]) == ARGV[i + 1] then
    redis.call('HDEL', departures, ARGV[i])
    redis.call('ZREM', due, ARGV[i])
    ended = ended + 1
  end
end
return ended
