-- Local numbers with their features, packed unsigned 32-bit little-endian: features * 2^24 + local number.
local FEATURE = 16777216

local function unpack_values(packed)
  local values = { struct.unpack('<' .. string.rep('I4', #packed / 4), packed) }
  -- struct.unpack adds the position after the last value.
  values[#values] = nil
  return values
end

-- The local numbers of every `step`-th text (E.164) in a list, packed without features.
local function pack_numbers(texts, step)
  local locals = {}
  for i = step, #texts, step do
    locals[#locals + 1] = tonumber(string.sub(texts[i], 6))
  end
  return struct.pack('<' .. string.rep('I4', #locals), unpack(locals))
end
