#!lua
-- index_resource: make an organization's lists show a number as its resource says.
--
-- KEYS    1 {org:X}:numbers, sorted set, number -> place in the sequence
--         2 {org:X}:owned, hash, number -> resource id
--         3 {org:X}:sequence, string, counter
--         4 {org:X}:number:RID, hash, the resource
-- ARGV    1 number
--         2 resource id
-- RETURNS how many entries were written or struck out
-- INVARIANT  a number that the organization has by another resource stays listed as that one's

local numbers, owned, sequence, resource = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local number, id = ARGV[1], ARGV[2]

local known = redis.call('HGET', owned, number)
if known and known ~= id then
  return 0
end
if redis.call('HGET', resource, 'number') ~= number then
  return redis.call('HDEL', owned, number) + redis.call('ZREM', numbers, number)
end
local written = redis.call('HSETNX', owned, number, id)
if not redis.call('ZSCORE', numbers, number) then
  redis.call('ZADD', numbers, redis.call('INCR', sequence), number)
  written = written + 1
end
return written
