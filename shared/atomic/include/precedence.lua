-- Carriers that offer one number: the offer of the one that comes first in `order`, ",ordinal,ordinal,", counts;
-- those that are not in it come last, as they were registered.
local function rank_of(order, carrier)
  return string.find(order, ',' .. carrier .. ',', 1, true) or #order + carrier
end

-- Takes the offer that counts from some.
local function take_first(offers, order)
  table.sort(offers, function(a, b)
    return rank_of(order, carrier_of(a)) < rank_of(order, carrier_of(b))
  end)
  return table.remove(offers, 1)
end

-- The offers that wait behind the one that counts, but for those of two carriers.
local function other_offers(also, number, carrier, another)
  local others = {}
  for offer in string.gmatch(redis.call('HGET', also, number) or '', '%d+') do
    local whose = carrier_of(offer)
    if whose ~= carrier and whose ~= another then
      others[#others + 1] = tonumber(offer)
    end
  end
  return others
end

local function keep_others(also, number, others)
  if #others == 0 then
    redis.call('HDEL', also, number)
  else
    table.sort(others)
    redis.call('HSET', also, number, table.concat(others, ','))
  end
end
