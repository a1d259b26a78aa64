-- How a bucket is read and written; take.lua and settle.lua stand on it.
--
-- A bucket's debt is in units: `scale` of them come back every microsecond and a token costs `interval` (see policy/gcra.py),
-- all of them whole numbers below 2^53, so nothing drifts. Kept is the moment at which the bucket is full again. Its key
-- lives exactly until then; a full bucket is no key.

local call, floor, max, min, pack, unpack = redis.call, math.floor, math.max, math.min, struct.pack, struct.unpack

local time = call('TIME')
local now = time[1] * 1000000 + time[2]

local function put(key, debt, scale)
  local wait = floor(debt / scale)
  call('SET', key, pack(BUCKET, now + wait, debt - wait * scale), 'PX', floor(wait / 1000) + 1)
end

local function debt_of(key, scale, most)
  local bucket = call('GET', key)
  if not bucket then return 0 end
  local full_at, rest = unpack(BUCKET, bucket)
  local debt = (full_at - now) * scale + rest
  if debt <= 0 then return 0 end
  if debt > most then -- more than empty: the clock went back, or the limit became smaller
    debt = most
    put(key, debt, scale)
  end
  return debt
end
