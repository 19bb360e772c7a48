#!lua
-- release_numbers: take resources from their organization and write down where their numbers have to go.
--
-- KEYS    1 {org:X}:numbers, sorted set, number -> place in the sequence
--         2 {org:X}:owned, hash, number -> resource id
--         3 {org:X}:released, sorted set, resource id -> when, Unix ms
--         4 {org:X}:departures, hash, number -> order target quarantine_ms cause
--         5 {org:X}:due, sorted set, order id or number -> when to look again, ms
--         6 {org:X}:idempotency:DIGEST, hash, what the request's Idempotency-Key stands for
--         7... {org:X}:number:RID, hashes, the resources
-- ARGV    1 fingerprint of the request, '' when it has no Idempotency-Key
--         2 lifetime of an Idempotency-Key, seconds
--         3 target: quarantined or returned
--         4 quarantine, ms
--         5 cause
--         6 when others may begin to move what this caller did not, ms from now
--         7 how long an id stays known as released, ms
--         8 1 to keep the reply for the Idempotency-Key only when something was released, else 0
--         9... the ids of the resources; of one that comes twice the first counts
-- RETURNS list of four lists: released ids; unknown ids; ids released before; number, departure, number,
--         departure. Or 'reused'; a repeated request gets 'again' and the first four
-- INVARIANT  a resource goes and its departure is written in one step; each number departs once

local numbers, owned, released, departures, due, idempotency =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local fingerprint, lifetime, target, quarantine_ms, cause = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local due_after_ms, known_ms, only_when_released = tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8] == '1'
-- include clock
-- include request
-- include departure

local repeated = reply_to_repeated(idempotency, fingerprint)
if repeated then
  return repeated
end
local now_ms = read_clock_ms()
redis.call('ZREMRANGEBYSCORE', released, '-inf', now_ms - known_ms)
local keys = { numbers = numbers, owned = owned, released = released, departures = departures, due = due }
local resources, gone, unknown, before, seen = {}, {}, {}, {}, {}
for i = 7, #KEYS do
  local id = ARGV[i + 2]
  if not seen[id] and redis.call('EXISTS', KEYS[i]) == 1 then
    resources[#resources + 1] = KEYS[i]
    gone[#gone + 1] = id
  elseif not seen[id] and redis.call('ZSCORE', released, id) then
    before[#before + 1] = id
  elseif not seen[id] then
    unknown[#unknown + 1] = id
  end
  seen[id] = true
end
local destination = target .. ' ' .. quarantine_ms .. ' ' .. cause
local moves = depart(keys, resources, gone, destination, now_ms, now_ms + due_after_ms)
local reply = { gone, unknown, before, moves }
if only_when_released and #gone == 0 then
  return reply
end
return keep_reply(idempotency, fingerprint, lifetime, reply)
