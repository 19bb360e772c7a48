#!lua
-- renew_feed: keep a carrier's feed in hand, or with a lease of 0 give it back.
--
-- KEYS    1 {feed:carrier}, hash, the state of the feed
-- ARGV    1 generation of the run
--         2 lease, milliseconds
-- RETURNS 1; 0 when a later run has the feed
-- INVARIANT  an overtaken run changes nothing

local feed, generation, lease_ms = KEYS[1], ARGV[1], tonumber(ARGV[2])
-- include clock

if redis.call('HGET', feed, 'generation') ~= generation then
  return 0
end
local now_ms = read_clock_ms()
redis.call('HSET', feed, 'lease_until_ms', ms_text(now_ms + lease_ms))
return 1
