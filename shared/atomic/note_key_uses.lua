#!lua
-- note_key_uses: note when API keys were last used.
--
-- KEYS    1 {org:X}:keys, hash, key id -> record, JSON
--         2 {org:X}:keys:used, hash, key id -> when last used, Unix ms
-- ARGV    1... id, when it was used, id, when
-- RETURNS nothing
-- INVARIANT  the time never goes back, and only listed keys have one

local keys, used = KEYS[1], KEYS[2]

for i = 1, #ARGV, 2 do
  local id, at_ms = ARGV[i], ARGV[i + 1]
  if redis.call('HEXISTS', keys, id) == 1 and tonumber(redis.call('HGET', used, id) or 0) < tonumber(at_ms) then
    redis.call('HSET', used, id, at_ms)
  end
end
