#!lua
-- take_permit: let one more request of an organization through, or say when to come again.
--
-- The generic cell rate algorithm (ITU-T I.371, in the form of a virtual schedule): the key holds when all that
-- was let through will have been worth its time. One number, exact over any number of processes.
--
-- KEYS    1 {org:X}:permits:NAME, string, that time, Unix microseconds
-- ARGV    1 microseconds that a request is worth: 1,000,000 / rate
--         2 burst: requests that may come at once
-- RETURNS 1 or 0; how many more may come now; microseconds until the burst is whole again;
--         microseconds until the next may come, 0 when one may now
-- INVARIANT  in any time at most burst + time / worth pass

local schedule, worth, burst = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local latest = now + worth * burst
local kept = tonumber(redis.call('GET', schedule) or 0)
-- What was set while the limit was lower is not held against the caller any longer than this one allows.
local due = math.min(math.max(kept, now), latest)
local allowed = due + worth <= latest
if allowed then
  due = due + worth
end
-- Of a request that is refused, too, when it was brought forward: else it would be as far off at the next.
if due ~= kept then
  local lifetime_ms = string.format('%.0f', math.ceil((due - now) / 1000) + 1)
  redis.call('SET', schedule, string.format('%.0f', due), 'PX', lifetime_ms)
end
local left = math.floor((latest - due) / worth)
local wait = left > 0 and 0 or due + worth - latest
return { allowed and 1 or 0, left, due - now, wait }
