-- Records of API keys are JSON, and what has become of them is told in the organization's stream.
local function read_key(keys, id)
  local record = redis.call('HGET', keys, id)
  return record and cjson.decode(record) or nil
end

local function is_live(key, now_ms)
  return not key.revoked_ms and (not key.expires_ms or tonumber(key.expires_ms) > now_ms)
end

local function write_key(keys, id, key)
  local record = cjson.encode(key)
  redis.call('HSET', keys, id, record)
  return record
end

-- An attempt that another has taken over changes nothing: the secret of the other was handed out.
local function is_in_hand(idempotency, deadline)
  return deadline == '' or redis.call('HGET', idempotency, 'deadline_ms') == deadline
end

local function tell(events, event, id, by, request)
  redis.call('XADD', events, 'MAXLEN', '~', 1000, '*', 'event', event, 'key', id, 'by', by, 'request', request)
end
