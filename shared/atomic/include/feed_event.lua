-- One entry for all numbers that a call moves for a carrier. `locals` names them, packed as in `locals.lua`, for
-- readers that follow the stock.
local function tell_count(events, from, to, carrier, count, at_ms, locals)
  redis.call(
    'XADD', events, '*', 'from', from, 'to', to, 'carrier', carrier, 'count', count,
    'time', ms_text(at_ms), 'cause', 'feed', 'locals', locals
  )
end
