#!lua flags=no-writes
-- trace_numbers: tell of numbers what has become of the orders by which an organization has them.
--
-- KEYS    1... {org:X}:order:ID, hashes, the record of the order of each number
-- ARGV    1... numbers, E.164, as many
-- RETURNS for each number its order's status, '' when that is forgotten, and 1 when the order names it, else 0
-- INVARIANT  nothing is written

local traces = {}
for i = 1, #KEYS do
  local status, numbers = unpack(redis.call('HMGET', KEYS[i], 'status', 'numbers'))
  local is_named = string.find(' ' .. (numbers or '') .. ' ', ' ' .. ARGV[i] .. ' ', 1, true)
  traces[2 * i - 1], traces[2 * i] = status or '', is_named and 1 or 0
end
return traces
