#!lua flags=no-writes
-- search_area: find available numbers of one area code that contain a pattern.
--
-- KEYS    1 {npa}:available, sorted set, score = local * 65536 + attributes
-- ARGV    1 how many numbers are wanted, at least 1
--         2 random integer, 0 <= r < 10^12: where the walk begins
--         3 random integer, 0 <= r < 10^12: where a scan begins
--         4 cursor of the call before, '' at first
--         5 glob of the pattern over the whole member
--         6 windows, longest runs first: lowest, block, unit of each, one MessagePack array of numbers
-- RETURNS list: cursor ('' when every match has been shown), then numbers: at least the wanted ones unless
--         there is a cursor to go on with; a number may be shown again, for windows overlap
-- INVARIANT  a number that is available and matches during the whole walk is returned by one of its calls;
--         a call costs at most BUDGET plus one step, so that nobody waits longer than about a millisecond
--
-- Buyers take the first number that they are shown, the lowest. So the walk begins at a match that is drawn
-- from nearly all of them, and goes on in ascending order, around the end to where it began: first through
-- the windows with long runs (pass 1), where the rest costs few seeks, then through the others (pass 2). When
-- seeking through those costs more than looking at every member, it scans instead; the choice rides in the
-- cursor, for a stock that changes must not change it.

-- Costs in members scanned (0.04-0.2 us each, warm and cold): a seek takes 2-4 us.
local BUDGET, SEEK, SCAN_STEP = 3000, 40, 200
-- A stock of that many is looked at whole in one call.
local SMALL_STOCK = 4000
-- An exchange begins 2-9, so local numbers lie between LOWEST and LOCALS.
local LOWEST, LOCALS, ATTRIBUTES = 2000000, 10000000, 65536
-- Members read to learn how close they lie; runs of a window looked at to begin in one; members read where
-- none may match.
local NEIGHBOURS, HOPS, PROBE = 4, 8, 10
-- Matches enough to begin at: 64 buyers meet in 0.3 % of their orders.
local PLENTY = 20000

local available, wanted, cursor = KEYS[1], tonumber(ARGV[1]), ARGV[4]
local seed, packed = tonumber(ARGV[2]) % 2147483646 + 1, ARGV[6]
-- Three numbers a window, so that `at` goes up in threes: unpacking takes 1 us, 21 arguments 6.
local windows = cmsgpack.unpack(packed)
local last_window = #windows - 2

local card = redis.call('ZCARD', available)
if card == 0 or last_window < 1 then
  return { '' }
end
-- Local numbers a member stands for: in the mean, and where the walk begins.
local spacing, near_spacing = (LOCALS - LOWEST) / card, 1

local found, spent = {}, 0
-- The walk's position: where it began, the next local number to look at, wrapped past the end or not.
local start, next_local, wrapped

local function draw()
  seed = seed * 16807 % 2147483647
  return seed / 2147483647
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

-- Members from a rank on, the highest first: with ZREVRANGE, so that the store's statistics tell a script's
-- reads from those that a glance makes with ZRANGE.
local function read_ranks(rank, count)
  spent = spent + SEEK + count
  return redis.call('ZREVRANGE', available, card - rank - count, card - 1 - rank)
end

-- The first local number that matches, from `from` on, in windows `first` to `last`, and the end of its run.
local function next_run(from, first, last)
  local run, past = LOCALS, LOCALS
  for at = first, last, 3 do
    local block, unit = windows[at + 1], windows[at + 2]
    local begin, offset = from, (from - windows[at]) % block
    if offset >= unit then
      begin, offset = from - offset + block, 0
    end
    if begin < run or (begin == run and begin - offset + unit > past) then
      run, past = begin, begin - offset + unit
    end
  end
  return run, past
end

-- Begin at any member of a run. Not in a run that is next to empty where members lie close: all that lie in
-- the block beside it would begin at these few (2.3 % conflicts where half the stock is spread, else 1.3 %).
local function begin_at_rank(run, past)
  local below = redis.call('ZCOUNT', available, '-inf', run * ATTRIBUTES - 1)
  local in_run = redis.call('ZCOUNT', available, run * ATTRIBUTES, past * ATTRIBUTES - 1)
  spent = spent + 2 * SEEK
  if in_run == 0 or (in_run < 5 and past - run > 20 * near_spacing) then
    return false
  end
  local skip = math.floor(draw() * in_run)
  found = read_ranks(below + skip, math.min(wanted, in_run - skip))
  start, next_local = local_of(found[#found]), local_of(found[1]) + 1
  return true
end

local hops_left

-- Begin in window `at`, in the first run in stock from that of a random member on; false when none is near.
local function begin_in(at, origin)
  local block, unit = windows[at + 1], windows[at + 2]
  local past = origin - origin % block + windows[at] + unit
  -- As far into the run as the member is into its own: where stock lies in blocks that is in stock, too.
  local is_long = unit > 2 * near_spacing
  local offset, is_in_stock, is_head = is_long and origin % unit or 0, false, false
  -- A gap shows the member behind it more often; skipping a few evens that out (twice the conflicts without).
  local skip, count = unit > 64 * near_spacing and math.floor(draw() * 8) or 0, math.min(wanted, PROBE)
  for hop = 1, math.min(HOPS, LOCALS / block + 1) do
    if hop > 1 and hops_left <= 0 then
      return false
    end
    hops_left = hops_left - 1
    local from = past - unit + offset
    local members = read(from, LOCALS - 1, skip, count)
    local number = members[1] and local_of(members[1]) or LOWEST
    local is_behind = number >= from and number < past
    if is_behind and not is_head and number - from <= (2 + 2 * skip) * near_spacing then
      start = number
      for j = 1, #members do
        number = local_of(members[j])
        if number >= past then
          break
        end
        found[j], next_local = members[j], number + 1
      end
      return true
    elseif (is_behind or is_in_stock) and begin_at_rank(past - unit, past) then
      return true
    end
    local run, beyond = next_run(is_behind and past or number, at, at)
    is_in_stock = run == number
    if run >= LOCALS then
      run, beyond = next_run(LOWEST, at, at)
      offset, is_head = 0, is_long
    end
    past, skip, count = beyond, 0, 1
  end
  return false
end

-- Begin the walk: draw a member, and a window by how many numbers it can hold; when that has no run in stock
-- near the member, one with shorter runs, which are closer together.
local function begin()
  local rank = math.floor(draw() * math.max(card - NEIGHBOURS + 1, 1))
  local near = read_ranks(rank, math.min(NEIGHBOURS, card))
  local origin = local_of(near[#near])
  near_spacing = (local_of(near[1]) - origin) / math.max(#near - 1, 1)
  if near_spacing > spacing / 3 or #near == 1 then
    near_spacing = spacing
  end
  local first, last, share = 1, last_window, 0
  while last > 1 and windows[last + 2] < near_spacing / 2 do
    last = last - 3
  end
  -- Where numbers lie in blocks the short runs are sure to be in stock: only those when they hold plenty.
  for at = last, 1, -3 do
    first, share = at, share + windows[at + 2] / windows[at + 1]
    if near_spacing < spacing and share * card >= PLENTY then
      break
    end
  end
  found, start, next_local, wrapped, hops_left = {}, origin, origin, false, 2 * HOPS
  repeat
    local drawn, at = draw() * share, first
    local part = windows[at + 2] / windows[at + 1]
    while drawn >= part and at < last do
      drawn, share, at = drawn - part, share - part, at + 3
      part = windows[at + 2] / windows[at + 1]
    end
    first, share = at + 3, share - part
  until begin_in(at, origin) or first > last
end

-- How often the walk may still begin anew because it came to the end: else the lowest of all come first.
local begins_left = 0

-- Go on in windows `first` to `last`: true when they are done, false when enough is found or all is spent.
local function walk(first, last)
  local is_in_run = true
  while #found < wanted and spent < BUDGET do
    local stop = wrapped and start - 1 or LOCALS - 1
    local run, past = next_run(next_local, first, last)
    if run <= stop then
      local limit = is_in_run and math.floor((past - run) / near_spacing) + PROBE or PROBE
      limit = math.min(limit, wanted - #found)
      local members = read(run, stop, 0, limit)
      next_local, is_in_run = #members < limit and stop + 1 or next_local, false
      for j = 1, #members do
        local number = local_of(members[j])
        if number >= past then
          next_local = number
          break
        end
        found[#found + 1] = members[j]
        is_in_run = true
        if j == limit then
          next_local = number + 1
        end
      end
    elseif wrapped then
      return true
    elseif begins_left > 0 then
      begins_left = begins_left - 1
      begin()
    else
      wrapped, next_local = true, LOWEST
    end
  end
  return false
end

local function seek_cost(first)
  local cost = 0
  for at = first, last_window, 3 do
    cost = cost + LOCALS / windows[at + 1] * SEEK
  end
  return cost
end

local function reply_with(...)
  table.insert(found, 1, table.concat({ ... }, ':'))
  return found
end

-- Windows up to `leading` are those of pass 1. How many matches are expected.
local pass, leading, expected = 1, -2, 0
local is_small = card <= SMALL_STOCK
local scan_round, scan = string.match(cursor, '^scan:(%d):(%d+)$')
if cursor == '' then
  for at = 1, last_window, 3 do
    expected = expected + windows[at + 2] / windows[at + 1] * card
  end
  if is_small and expected <= 32 * wanted and seek_cost(1) > card then
    pass = 2
  else
    begin()
    -- Runs that bring a quarter of what is wanted; then, if that is too little, windows that are soon done.
    expected = 0
    while leading < last_window do
      local block, unit = windows[leading + 4], windows[leading + 5]
      local is_soon_done = expected < 2 * wanted and LOCALS / block * SEEK <= card / 32
      if unit < wanted * near_spacing / 4 and not is_soon_done then
        break
      end
      leading, expected = leading + 3, expected + unit / block * card
    end
    begins_left = expected >= 4 * wanted and 2 or 0
  end
elseif not scan then
  local fields = {}
  for field in string.gmatch(cursor, '%-?%d+') do
    fields[#fields + 1] = tonumber(field)
  end
  pass, leading, start, next_local = unpack(fields)
  wrapped = fields[5] == 1
end

if pass == 1 and not scan then
  if not walk(1, leading) then
    return reply_with(1, leading, start, next_local, wrapped and 1 or 0)
  end
  pass, start = 2, nil
end
if not scan then
  if not start and seek_cost(leading + 3) <= card then
    start = LOWEST + math.floor(draw() * (LOCALS - LOWEST))
    next_local, wrapped, begins_left = start, false, 0
  end
  if start then
    if walk(leading + 3, last_window) then
      return reply_with('')
    end
    return reply_with(2, leading, start, next_local, wrapped and 1 or 0)
  end
end

-- A scan begins at a random place of the hash table and goes to its end, for from the beginning all callers
-- would be shown the same numbers; then it goes through the whole: a cursor that the store did not give
-- promises nothing but members (documented as undefined, never harmful), so it is the second round that finds
-- all. In a small stock more is looked for than is wanted, and where little is expected all of it at once:
-- the caller picks from that.
local is_whole = is_small and expected < 8 * wanted
local enough = is_small and math.max(wanted, math.min(4 * wanted, 400)) or wanted
if not scan then
  scan_round, scan = is_whole and 2 or 1, is_whole and '0' or ARGV[3]
end
scan_round = tonumber(scan_round)
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
until scan_round > 2 or #found >= enough or (spent >= BUDGET and not is_whole)
if scan_round > 2 then
  return reply_with('')
end
return reply_with('scan', scan_round, scan)
