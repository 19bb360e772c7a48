#!lua
-- record_run: write what a run has to say into the record of its sync.
--
-- KEYS    1 sync:id, hash, the record
-- ARGV    1 generation of the run
--         2 lifetime of the record from now, seconds
--         3... field, value, field, value
-- RETURNS 1; 0 when a later run has written here
-- INVARIANT  a record never goes back from what a later run wrote

local sync, generation, lifetime = KEYS[1], tonumber(ARGV[1]), ARGV[2]

if tonumber(redis.call('HGET', sync, 'generation') or 0) > generation then
  return 0
end
redis.call('HSET', sync, 'generation', ARGV[1], unpack(ARGV, 3, #ARGV))
redis.call('EXPIRE', sync, lifetime)
return 1
