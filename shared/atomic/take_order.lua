#!lua
-- take_order: take a pending order in hand that nobody works on any more, or not yet.
--
-- KEYS    1 {org:X}:order:ID, hash, the record
--         2 {org:X}:due, sorted set, order id or number -> when to look again, ms
-- ARGV    1 order id
--         2 how long the attempt may take, ms
-- RETURNS list: 'taken', the attempt, the time, the deadline (Unix ms); or 'busy' and for how many ms somebody
--         else still has it; or 'ended' and the status
-- INVARIANT  attempts only grow; one that has begun ends the right of all earlier ones to commit and to fail

local order, due, id, hold_ms = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2])
-- include clock

local status, deadline_ms = unpack(redis.call('HMGET', order, 'status', 'deadline_ms'))
if status ~= 'pending' then
  return { 'ended', status or 'forgotten' }
end
local now_ms = read_clock_ms()
if tonumber(deadline_ms) > now_ms then
  return { 'busy', deadline_ms - now_ms }
end
local attempt = redis.call('HINCRBY', order, 'attempt', 1)
local new_deadline_ms = now_ms + hold_ms
redis.call('HSET', order, 'deadline_ms', ms_text(new_deadline_ms))
redis.call('ZADD', due, new_deadline_ms, id)
return { 'taken', attempt, ms_text(now_ms), ms_text(new_deadline_ms) }
