-- One entry for each change of a number's life.
local function tell(events, number, from, to, record, at_ms, cause)
  redis.call(
    'XADD', events, '*', 'number', number, 'from', from, 'to', to, 'order', record.order,
    'organization', record.organization, 'time', ms_text(at_ms), 'cause', cause
  )
end
