#!lua
-- pick_numbers: write down which numbers a bulk order is going to hold, before it holds them.
--
-- KEYS    1 {org:X}:order:ID, hash, the record
--         2 {org:X}:due, sorted set, order id or number -> when to look again, ms
-- ARGV    1 order id
--         2 attempt
--         3 how long the attempt may take from now, ms
--         4 the numbers, E.164, with spaces between
-- RETURNS the deadline (Unix ms), as text; '' when the attempt is not the order's any more
-- INVARIANT  a pending order holds no number that is not written down, but for what earlier attempts left

local order, due, id, attempt, hold_ms, numbers = KEYS[1], KEYS[2], ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
-- include clock

local status, current = unpack(redis.call('HMGET', order, 'status', 'attempt'))
if status ~= 'pending' or current ~= attempt then
  return ''
end
local deadline_ms = read_clock_ms() + hold_ms
redis.call('HSET', order, 'numbers', numbers, 'deadline_ms', ms_text(deadline_ms))
redis.call('ZADD', due, deadline_ms, id)
return ms_text(deadline_ms)
