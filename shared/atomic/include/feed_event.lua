-- One entry for all that a call changes in a carrier's name.
local function tell_count(events, from, to, carrier, count, at_ms)
  redis.call(
    'XADD', events, '*', 'from', from, 'to', to, 'carrier', carrier, 'count', count,
    'time', ms_text(at_ms), 'cause', 'feed'
  )
end
