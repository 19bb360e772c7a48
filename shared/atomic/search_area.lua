#!lua flags=no-writes
-- search_area: find available numbers of one area code that contain a pattern.
--
-- KEYS    1 {npa}:available, sorted set, score = local * 65536 + attributes
-- ARGV    1 how many numbers are wanted, at least 1
--         2 random integer, 0 <= r < 10^12: which window and which run come first
--         3 random integer, 0 <= r < 10^12: where in the run
--         4 cursor of the call before, '' at first
--         5 glob of the pattern over the whole member
--         6... windows, longest runs first: lowest, block, unit
-- RETURNS list: cursor ('' when every match has been shown), then numbers: at least the wanted ones unless
--         there is a cursor to go on with; a number may be shown again, for windows overlap
-- INVARIANT  a number that is available and matches during the whole walk is returned by one of its calls;
--         a call costs at most BUDGET plus one step, so that nobody waits longer than about a millisecond
--
-- The walk takes windows in turn. In a window it starts at a random member, seeks from run to run, wraps
-- around and ends where it began. When seeking through what is left costs more than looking at every
-- member, it scans instead; the choice rides in the cursor, for a stock that changes must not change it.

-- Costs in members scanned (0.04-0.2 us each, warm and cold): a seek takes 2-4 us.
local BUDGET, SEEK, SCAN_STEP = 3000, 40, 200
-- A stock of that many is looked at whole in one call.
local SMALL_STOCK = 4000
-- An exchange begins 2-9, so local numbers lie between LOWEST and LOCALS.
local LOWEST, LOCALS, ATTRIBUTES = 2000000, 10000000, 65536
-- A thousands block: skipping that many spreads callers over the block that a start falls before. Redis before
-- 7.4 walks over what is skipped, one by one.
local MOST_SKIPPED = 1000
local RANDOM = 1000000000000
local FIRST_WINDOW = 6

local available = KEYS[1]
local wanted, random_run, random_start = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local last_window = (#ARGV - FIRST_WINDOW + 1) / 3 - 1

local card = redis.call('ZCARD', available)
-- Local numbers a member stands for on average.
local spacing = (LOCALS - LOWEST) / math.max(card, 1)

local found, spent = {}, 0
-- The walk's position: windows 0 to leading-1 (one run of them is expected to hold twice what is wanted)
-- come first, rotated by turn; i is the place in that order; scan is the ZSCAN cursor once scanning, in the
-- first or second round.
local leading, turn, i, scan, scan_round = 0, 0, 0, nil, 1
-- The position in window i: where it began, the next local number to look at, wrapped past the end or not.
local start, next_local, wrapped

local function window(place)
  if place < leading then
    place = (place + turn) % leading
  end
  local at = FIRST_WINDOW + place * 3
  return tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
end

local function local_of(member)
  return tonumber(string.sub(member, 6))
end

local function read(from, to, skip, count)
  spent = spent + SEEK + count
  return redis.call(
    'ZRANGEBYSCORE', available, from * ATTRIBUTES, to * ATTRIBUTES + ATTRIBUTES - 1, 'LIMIT', skip, count
  )
end

-- The first number of the run that holds next_local, or of the next one.
local function run_at(next_local, lowest, block, unit)
  return lowest + math.max(math.ceil((next_local - lowest - unit + 1) / block), 0) * block
end

-- Give the first run in stock from this one on; nil when there is none up to the last local number.
local function find_run(run, lowest, block, unit)
  while run < LOCALS and spent < BUDGET do
    local member = read(run, LOCALS - 1, 0, 1)[1]
    if not member then
      return nil
    end
    local next_run = run_at(local_of(member), lowest, block, unit)
    if next_run <= local_of(member) then
      return next_run
    end
    run = next_run
  end
end

-- Begin window i at a random run and at a random member of it: a random number alone would fall into the gaps
-- between thousands blocks, and everybody would be shown the head of the next one.
local function enter_window()
  local lowest, block, unit = window(i)
  local runs = LOCALS / block
  local run = lowest
  if runs > 1 then
    -- The first fifth of the runs lies below LOWEST.
    run = lowest + (runs / 5 + random_run % (runs * 4 / 5)) * block
    run = find_run(run, lowest, block, unit) or run
  end
  start, wrapped = run, false
  if unit > 1 then
    local count = redis.call('ZCOUNT', available, run * ATTRIBUTES, (run + unit) * ATTRIBUTES - 1)
    spent = spent + SEEK
    if count > 1 then
      local from = run + math.floor(unit * math.max(1 - MOST_SKIPPED / count, 0) * random_start / RANDOM)
      local member = read(from, run + unit - 1, random_start % math.min(count, MOST_SKIPPED), 1)[1]
      start = member and local_of(member) or run
    end
  end
  next_local = start
end

-- Go on in window i until enough is found, the budget is used up (false) or the window is done (true).
local function walk_window()
  local lowest, block, unit = window(i)
  local expected_in_run = math.floor(unit / spacing) + 1
  while true do
    local missing = wanted - #found
    if missing <= 0 or spent >= BUDGET then
      return false
    end
    local last = wrapped and start - 1 or LOCALS - 1
    local run = run_at(next_local, lowest, block, unit)
    local from = math.max(next_local, run)
    if from > last then
      if wrapped or start == 0 then
        return true
      end
      wrapped, next_local = true, 0
    else
      local limit = math.min(missing, expected_in_run)
      local members = read(from, last, 0, limit)
      local nothing_behind = #members < limit
      for j = 1, #members do
        local number = local_of(members[j])
        if number >= run + unit then
          next_local, nothing_behind = number, false
          break
        end
        found[#found + 1] = members[j]
        next_local = number + 1
      end
      if nothing_behind then
        next_local = last + 1
      end
    end
  end
end

-- Whether scanning everything once is cheaper than seeking through window i and those after it. A window
-- that costs little beside the scan is sought all the same: it may be enough.
local function scan_is_cheaper()
  local _, block = window(i)
  if LOCALS / block * SEEK <= card / 32 then
    return false
  end
  local cost = 0
  for place = i, last_window do
    _, block = window(place)
    cost = cost + LOCALS / block * SEEK
  end
  return cost > card
end

-- A stock that one call can look at is looked at until four times what is wanted is found, or whole, and the
-- caller picks from that. A larger one is scanned from a random place of the hash table to its end, for from its beginning all callers would be
-- shown the same numbers, and then whole: a cursor that the store did not give promises nothing but members
-- (documented as undefined, never harmful), so it is the second round that misses none.
local is_small = card <= SMALL_STOCK
local enough_found = is_small and 4 * wanted or wanted

local function begin_scan()
  if is_small then
    scan, scan_round = '0', 2
  else
    scan, scan_round = string.format('%d', random_start), 1
  end
end

local function scan_members()
  repeat
    local reply = redis.call('ZSCAN', available, scan, 'MATCH', ARGV[5], 'COUNT', SCAN_STEP)
    scan = reply[1]
    for j = 1, #reply[2], 2 do
      found[#found + 1] = reply[2][j]
    end
    spent = spent + SCAN_STEP
    if scan == '0' then
      scan_round = scan_round + 1
    end
  until scan_round > 2 or #found >= enough_found or (spent >= BUDGET and not is_small)
  return scan_round > 2
end

local function reply_with(cursor)
  table.insert(found, 1, cursor)
  return found
end

local function count_leading_windows()
  local enough = 2 * wanted * spacing
  while tonumber(ARGV[FIRST_WINDOW + leading * 3 + 2] or 0) >= enough do
    leading = leading + 1
  end
  turn = leading > 0 and math.floor(random_run / LOCALS) % leading or 0
end

local function resume(cursor)
  scan_round, scan = string.match(cursor, '^scan:(%d):(%d+)$')
  scan_round = tonumber(scan_round or 1)
  if not scan then
    local fields = {}
    for field in string.gmatch(cursor, '%d+') do
      fields[#fields + 1] = tonumber(field)
    end
    leading, turn, i, start, next_local = unpack(fields)
    wrapped = fields[6] == 1
  end
end

if ARGV[4] == '' then
  count_leading_windows()
else
  resume(ARGV[4])
end
while not scan and i <= last_window do
  if not start then
    if i >= leading and scan_is_cheaper() then
      begin_scan()
      break
    end
    enter_window()
  end
  if not walk_window() then
    return reply_with(
      string.format('%d:%d:%d:%d:%d:%d', leading, turn, i, start, next_local, wrapped and 1 or 0)
    )
  end
  i, start = i + 1, nil
end
if scan and not scan_members() then
  return reply_with('scan:' .. scan_round .. ':' .. scan)
end
return reply_with('')
