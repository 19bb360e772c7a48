#!lua
-- mend_order: make what is kept of an order beside its record that which the record says.
--
-- KEYS    1 {org:X}:order:ID, hash, the record
--         2 {org:X}:orders, sorted set, order id -> place in the sequence
--         3 {org:X}:due, sorted set, order id or number -> when to look again, ms
--         4 {org:X}:waiting, sorted set, order id -> waits since, Unix ms
--         5 {org:X}:sequence, string, counter
-- ARGV    1 order id
--         2 how long an order is kept after its end, ms
-- RETURNS how many entries were written or struck out
-- INVARIANT  the record stays as it is, and so does an entry that agrees with it

local order, orders, due, waiting, sequence = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local id, keep_ms = ARGV[1], tonumber(ARGV[2])
-- include clock

if redis.call('EXISTS', order) == 0 then
  return redis.call('ZREM', orders, id) + redis.call('ZREM', due, id) + redis.call('ZREM', waiting, id)
end
local status, quantity, deadline_ms, created_ms, wait_ms, ended_ms =
  unpack(redis.call('HMGET', order, 'status', 'quantity', 'deadline_ms', 'created_ms', 'wait_ms', 'ended_ms'))
local now_ms, changed = read_clock_ms(), 0

local function when_to_look()
  if status == 'pending' and quantity and deadline_ms == '0' then
    return created_ms + wait_ms
  elseif status == 'pending' then
    return math.max(deadline_ms, now_ms)
  elseif status == 'cancelling' then
    return now_ms
  end
  return (ended_ms or now_ms) + keep_ms
end

if not redis.call('ZSCORE', orders, id) then
  redis.call('ZADD', orders, redis.call('INCR', sequence), id)
  changed = changed + 1
end
local due_ms, look_ms = redis.call('ZSCORE', due, id), when_to_look()
if not due_ms or tonumber(due_ms) > look_ms then
  redis.call('ZADD', due, look_ms, id)
  changed = changed + 1
end
if status ~= 'pending' or not quantity then
  changed = changed + redis.call('ZREM', waiting, id)
elseif deadline_ms == '0' and not redis.call('ZSCORE', waiting, id) then
  redis.call('ZADD', waiting, created_ms, id)
  changed = changed + 1
end
return changed
