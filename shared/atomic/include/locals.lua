-- Local numbers, packed unsigned 32-bit little-endian, as E.164 texts.
local function unpack_numbers(prefix, packed)
  local numbers = { struct.unpack('<' .. string.rep('I4', #packed / 4), packed) }
  -- struct.unpack adds the position after the last value.
  numbers[#numbers] = nil
  for i = 1, #numbers do
    numbers[i] = prefix .. numbers[i]
  end
  return numbers
end
