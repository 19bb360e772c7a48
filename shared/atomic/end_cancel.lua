#!lua
-- end_cancel: end the cancelling of an order whose numbers have all been moved.
--
-- KEYS    1 {org:X}:order:ID, hash, the record
--         2 {org:X}:departures, hash, number -> order target quarantine_ms cause
--         3 {org:X}:due, sorted set, order id or number -> when to look again, ms
-- ARGV    1 order id
--         2 how long the order is kept, ms
-- RETURNS 1; 0 when it is not being cancelled, or some number has still to be moved
-- INVARIANT  an order is cancelled when nothing is left of it

local order, departures, due, id, keep_ms = KEYS[1], KEYS[2], KEYS[3], ARGV[1], tonumber(ARGV[2])
-- include clock

local status, numbers = unpack(redis.call('HMGET', order, 'status', 'numbers'))
if status ~= 'cancelling' then
  return 0
end
local left = {}
for number in string.gmatch(numbers, '%S+') do
  left[#left + 1] = number
end
for _, departure in ipairs(#left > 0 and redis.call('HMGET', departures, unpack(left)) or {}) do
  if departure and string.match(departure, '^%S+') == id then
    return 0
  end
end
local now_ms = read_clock_ms()
redis.call('HSET', order, 'status', 'cancelled', 'ended_ms', ms_text(now_ms), 'updated_ms', ms_text(now_ms))
redis.call('ZADD', due, now_ms + keep_ms, id)
return 1
