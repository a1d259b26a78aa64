-- How a bucket is read and written; take.lua and settle.lua stand on it (docs/decisions/0016-debts-in-tokens.md).
--
-- A debt is in units: `scale` of them come back every microsecond and a token costs `interval` (policy/gcra.py), all of
-- them whole numbers below 2^53, so nothing drifts. Kept is the debt, since when and at what rate it comes back, and by
-- which call it was written. `since` lies ahead if the bucket was emptied beyond empty: it is closed until then. A key
-- lives until its bucket is full; a full bucket is no key. Whoever reads a bucket at another rate than it was written at
-- counts what came back since then at the higher of the two. Nobody lowers a debt by reading it, unless nobody else who
-- lives can have written it: what is beyond the most that there may be was owed to a config, a plan or a grant of before.

local foreign = 0 -- keys that hold something else than a bucket: they count as absent
local shut = {} -- keys of buckets that are closed for a while
local faster = {} -- interval and scale, by key, of buckets that fill up faster than at the rate of a charge
local doubted = {} -- keys with more debt than there may be, perhaps of one who has just begun: within a second it is known

-- The units of another rate: whole tokens exactly, a part of one rounded up.
local function converted(debt, from, to)
  if from == to then return debt end
  local rest = debt % from
  return math.min((debt - rest) / from * to + math.ceil(rest * to / from), UNITS_MAX)
end

local function write(key, debt, since, interval, scale, by)
  local life = floor((since - now + debt / scale) / 1000) + 1
  call('SET', key, pack(BUCKET, since, debt, interval, scale, by), 'PX', life)
end

-- A debt beyond the ceiling is time: the bucket is closed for so long.
local function put(key, debt, interval, scale, ceiling, by)
  if debt > ceiling then
    local closed = floor((debt - ceiling) / scale)
    write(key, debt - closed * scale, now + closed, interval, scale, CLOSED)
  else
    write(key, debt, now, interval, scale, by)
  end
end

-- A debt that has become less: the rest of it comes back as fast as before. What is beyond the ceiling of a bucket that
-- nobody has emptied is owed to another config, or reserved by one of before; its bucket stays open, and nobody is said to
-- have written it.
local function lower(key, debt, interval, scale, ceiling, by)
  if shut[key] then return put(key, debt, interval, scale, ceiling, by) end
  if debt > ceiling then by = 0 end
  local rate = faster[key]
  if rate then debt, interval, scale = converted(debt, interval, rate[1]), rate[1], rate[2] end
  write(key, debt, now, interval, scale, by)
end

-- What stands in a key: debt, since when, interval, scale and tag; nothing if that is no bucket.
local function parts(key, bucket)
  if type(bucket) == 'table' and not bucket.err:find('WRONGTYPE', 1, true) then call('GET', key) end -- raises it
  if type(bucket) == 'string' and #bucket == BUCKET_BYTES then
    local since, debt, interval, scale, by = unpack(BUCKET, bucket)
    if debt <= UNITS_MAX and interval > 0 and scale > 0 then return debt, since, interval, scale, by end
  end
  foreign = foreign + 1
end

-- A bucket's debt now, in the units of a charge; and how many of these come back in a microsecond, if that is faster than
-- at the charge's own rate.
local function debt_of(key, interval, scale, cost, ceiling, most, may_close)
  local bucket = pcall('GET', key)
  if not bucket then return 0 end
  local debt, since, its_interval, its_scale, by = parts(key, bucket)
  if not debt then return 0 end
  if since > now then
    local closed = since - now
    if by == CLOSED and closed <= CLOSED_MAX and (may_close or alike == 0) then
      shut[key] = true
      return math.min(math.max(converted(debt, its_interval, interval), ceiling - cost) + closed * scale, UNITS_MAX)
    end
    write(key, debt, now, its_interval, its_scale, 0) -- the clock went back, or nothing is closed any more
    since = now
  end
  local bound = converted(most, interval, its_interval)
  if debt > bound and alike > 0 then
    if since <= alike or (tag > 0 and floor(by / TAG_CALLS) == floor(tag / TAG_CALLS)) then
      debt = bound
    else
      doubted[key] = true
    end
  end
  if scale * its_interval >= its_scale * interval then
    return math.max(converted(debt, its_interval, interval) - (now - since) * scale, 0)
  end
  faster[key] = {its_interval, its_scale}
  debt = converted(math.max(debt - (now - since) * its_scale, 0), its_interval, interval)
  return debt, its_scale * interval / its_interval
end

-- Whether a bucket was last written by a call of this process that was sent not before the one of this tag, but not by
-- this very call.
local function is_ours(by, since, first, sent)
  return since >= sent and since < now and floor(by / TAG_CALLS) == floor(first / TAG_CALLS)
    and (by - first) % TAG_CALLS < TAG_CALLS / 2
end
