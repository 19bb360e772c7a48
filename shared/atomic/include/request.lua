-- A request with an Idempotency-Key (fingerprint '' = without one): its first reply is the reply to each.
local function reply_to_repeated(idempotency, fingerprint)
  if fingerprint == '' then
    return nil
  end
  local known = redis.call('HMGET', idempotency, 'fingerprint', 'reply')
  if not known[1] then
    return nil
  elseif known[1] ~= fingerprint then
    return { 'reused' }
  end
  return { 'again', unpack(cmsgpack.unpack(known[2])) }
end

local function keep_reply(idempotency, fingerprint, lifetime, reply)
  if fingerprint ~= '' then
    redis.call('HSET', idempotency, 'fingerprint', fingerprint, 'reply', cmsgpack.pack(reply))
    redis.call('EXPIRE', idempotency, lifetime)
  end
  return reply
end
