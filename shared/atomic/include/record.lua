-- What is known of a number that is not available: "state attributes attempt order organization".
local function read_record(text)
  if not text then
    return nil
  end
  local state, attributes, attempt, order, organization =
    string.match(text, '^(%l+) (%d+) (%d+) (%S+) (%S+)$')
  return {
    state = state, attributes = tonumber(attributes), attempt = tonumber(attempt),
    order = order, organization = organization,
  }
end

local function text_of(record)
  return string.format(
    '%s %d %d %s %s', record.state, record.attributes, record.attempt, record.order, record.organization
  )
end
