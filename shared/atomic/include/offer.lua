-- The attributes of a number: ordinal of the carrier that offers it * 64 + ours to keep * 4 + features. The
-- ordinal is 0 when no carrier does.
local CARRIER, KEPT, FEATURES, ATTRIBUTES = 64, 4, 3, 65536

local function carrier_of(attributes)
  return math.floor(attributes / CARRIER)
end

local function is_kept(attributes)
  return bit.band(attributes, KEPT) ~= 0
end

local function keep(attributes)
  return bit.bor(attributes, KEPT)
end

local function lose(attributes)
  return attributes - bit.band(attributes, KEPT)
end

local function without_carrier(attributes)
  return bit.band(attributes, KEPT + FEATURES)
end

local function score_of(number, attributes)
  return string.format('%d', tonumber(string.sub(number, 6)) * ATTRIBUTES + attributes)
end
