#!lua
-- keep_snapshot: keep a part of the snapshot that a run is going to apply.
--
-- KEYS    1 {feed:carrier}, hash, the state of the feed
--         2 {feed:carrier}:snapshot:N, hash, area code:features -> roaring bitmap
-- ARGV    1 generation of the run
--         2... field, bitmap, field, bitmap
-- RETURNS 1; 0 when a later run has the feed
-- INVARIANT  a run that was overtaken leaves no snapshot behind, for nobody would ever forget it

local feed, snapshot, generation = KEYS[1], KEYS[2], ARGV[1]

if redis.call('HGET', feed, 'generation') ~= generation then
  return 0
end
redis.call('HSET', snapshot, unpack(ARGV, 2, #ARGV))
return 1
