#!lua
-- forget_consumer: take a consumer that has nothing in hand from its group.
--
-- KEYS    1 events:orders, stream
-- ARGV    1 group
--         2 consumer
-- RETURNS 1; 0 when the consumer has entries that are not acknowledged, and stays
-- INVARIANT  an entry that was delivered is somebody's until it is acknowledged

local events, group, consumer = KEYS[1], ARGV[1], ARGV[2]

if #redis.call('XPENDING', events, group, '-', '+', 1, consumer) > 0 then
  return 0
end
redis.call('XGROUP', 'DELCONSUMER', events, group, consumer)
return 1
