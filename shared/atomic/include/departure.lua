-- Takes resources from their organization and records where their numbers have to go: the open work of somebody
-- who moves them in their area codes. Gives number, departure, number, departure. One that cannot be read is an
-- error before anything is taken, so whatever a script takes for granted after this is written after it.
local function depart(keys, resources, ids, destination, now_ms, due_ms)
  if #resources == 0 then
    return {}
  end
  local gone, left, moves, due = {}, {}, {}, {}
  for i = 1, #resources do
    local number, order = unpack(redis.call('HMGET', resources[i], 'number', 'order_id'))
    if not number or not order then
      error('the resource ' .. ids[i] .. ' cannot be read')
    end
    gone[i] = number
    left[2 * i - 1], left[2 * i] = now_ms, ids[i]
    moves[2 * i - 1], moves[2 * i] = number, order .. ' ' .. destination
    due[2 * i - 1], due[2 * i] = due_ms, number
  end
  for i = 1, #resources do
    redis.call('UNLINK', resources[i])
  end
  redis.call('ZREM', keys.numbers, unpack(gone))
  redis.call('HDEL', keys.owned, unpack(gone))
  redis.call('ZADD', keys.released, unpack(left))
  redis.call('HSET', keys.departures, unpack(moves))
  redis.call('ZADD', keys.due, unpack(due))
  return moves
end
