#!lua
-- raise_fence: keep earlier runs of a carrier's feed out of an area code.
--
-- KEYS    1 {npa}:fence, hash, carrier ordinal -> lowest generation that may write
-- ARGV    1 carrier ordinal
--         2 generation of the run
-- RETURNS 1; 0 when a later run has raised it higher
-- INVARIANT  a fence only rises; carriers have fences of their own, for they run at the same time

local fence, carrier, generation = KEYS[1], ARGV[1], tonumber(ARGV[2])

if tonumber(redis.call('HGET', fence, carrier) or 0) > generation then
  return 0
end
redis.call('HSET', fence, carrier, ARGV[2])
return 1
