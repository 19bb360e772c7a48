#!lua
-- mark_sync: move the record of a sync from one state to another, for somebody who has no run.
--
-- KEYS    1 sync:id, hash, the record
-- ARGV    1 state that it has to have
--         2 state that it gets
--         3 reason
--         4 the time, as the record has it
--         5 generation of the run that may have written last into it, or of an earlier one
-- RETURNS 1; 0 when it has another state, a later run has written, or it is gone
-- INVARIANT  what a run wrote meanwhile stays

local sync = KEYS[1]

local state, generation = unpack(redis.call('HMGET', sync, 'state', 'generation'))
if state ~= ARGV[1] or tonumber(generation or 0) > tonumber(ARGV[5]) then
  return 0
end
redis.call('HSET', sync, 'state', ARGV[2], 'reason', ARGV[3], 'updated_at', ARGV[4])
return 1
