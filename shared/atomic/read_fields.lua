#!lua flags=no-writes
-- read_fields: read some fields of many records of an organization at once.
--
-- KEYS    1... {org:X}:number:RID, hashes, resources; or {org:X}:order:ID, hashes, orders
-- ARGV    1... fields
-- RETURNS list of lists: for each key its values of the fields
-- INVARIANT  nothing is written

local records = {}
for i = 1, #KEYS do
  records[i] = redis.call('HMGET', KEYS[i], unpack(ARGV))
end
return records
