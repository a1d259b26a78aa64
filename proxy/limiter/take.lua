-- Decides a batch of requests in one call: each request's limits all or nothing, token bucket in arrival-time form.
--
-- KEYS     the bucket of every charge, request by request.
-- ARGV[1]  <d> the batch's deadline on this server's clock, in microseconds; then runs of requests that are charged to
--          the same limits: <I2> requests, <I1> charges each, and for each charge <dddI1> scale, cost, burst, flags:
--          1 for shadow; 2 if its buckets can be emptied; 4 empties them, to at least `cost` of debt.
-- Returns  one integer a charge: the bucket's debt after the request if this charge fits, else -1 - debt;
--          and at the end this server's time. The time alone: the batch came too late and nothing was taken, or there
--          were no keys, and all that was wanted is that the script be known.
--
-- A bucket's debt is in units: `scale` of them come back every microsecond and a token costs `interval` (see policy/gcra.py),
-- all of them whole numbers below 2^53, so nothing drifts. Kept is the moment at which the bucket is full again:
-- <d> microseconds and <I4> units beyond them. Its key lives exactly until then; a full bucket is no key.
-- A negative cost gives tokens back. Refusals write nothing. What a run takes is written after all of its reads.

local call, floor, pack, unpack = redis.call, math.floor, struct.pack, struct.unpack

local time = call('TIME')
local now = time[1] * 1000000 + time[2]
if #KEYS == 0 then return {now} end
local plan = ARGV[1]
local deadline, at = unpack('<d', plan)
if now > deadline then return {now} end

local EMPTIED_MAX = 60000000 -- microseconds (EMPTIED_MAX_US): an emptied bucket may be emptier than empty by so much

local function put(key, debt, scale)
  local wait = floor(debt / scale)
  call('SET', key, pack('<dI4', now + wait, debt - wait * scale), 'PX', floor(wait / 1000) + 1)
end

local function debt_of(key, scale, most)
  local bucket = call('GET', key)
  if not bucket then return 0 end
  local full_at, rest = unpack('<dI4', bucket)
  local debt = (full_at - now) * scale + rest
  if debt <= 0 then return 0 end
  if debt > most then -- more than empty: the clock went back, or the limit became smaller
    debt = most
    put(key, debt, scale)
  end
  return debt
end

local function write(debts, scale)
  for key, debt in pairs(debts) do
    if debt > 0 then put(key, debt, scale) else call('DEL', key) end
  end
end

local answers, next = {}, 1

-- Requests with one charge each: nearly all there are.
local function run_of_one(requests, scale, cost, burst, most)
  local debts = {}
  for i = next, next + requests - 1 do
    local key = KEYS[i]
    local debt = debts[key] or debt_of(key, scale, most)
    local after = debt + cost
    if after <= burst then
      if after < 0 then after = 0 end
      debts[key] = after
      answers[i] = after
    else
      answers[i] = -1 - debt
    end
  end
  next = next + requests
  write(debts, scale)
end

local function run_of_many(requests, charges)
  local width = #charges
  for _ = 1, requests do
    local taken = true
    for column = 1, width do
      local charge, key = charges[column], KEYS[next + column - 1]
      local debt = charge.debts[key] or debt_of(key, charge.scale, charge.most)
      local fits = debt + charge.cost <= charge.burst
      charge.debt, charge.fits = debt, fits
      if not fits and charge.shadow == 0 then taken = false end
    end
    for column = 1, width do
      local charge = charges[column]
      local debt = charge.debt
      if not charge.fits then
        answers[next] = -1 - debt
      else
        if taken then
          debt = debt + charge.cost
          if debt < 0 then debt = 0 end
          charge.debts[KEYS[next]] = debt
        end
        answers[next] = debt
      end
      next = next + 1
    end
  end
  for column = 1, width do write(charges[column].debts, charges[column].scale) end
end

local function run_of_emptied(requests, scale, least, most)
  local debts = {}
  for i = next, next + requests - 1 do
    local key = KEYS[i]
    local debt = math.min(math.max(debts[key] or debt_of(key, scale, most), least), most)
    debts[key], answers[i] = debt, debt
  end
  next = next + requests
  write(debts, scale)
end

local function charge_of(scale, cost, burst, flags)
  return {
    scale = scale, cost = cost, burst = burst, shadow = flags % 2, debts = {},
    most = flags >= 2 and burst + EMPTIED_MAX * scale or burst,
  }
end

while at <= #plan do
  local requests, width, scale, cost, burst, flags
  requests, width, scale, cost, burst, flags, at = unpack('<I2I1dddI1', plan, at)
  if width == 1 then
    local most = flags >= 2 and burst + EMPTIED_MAX * scale or burst
    if flags >= 4 then
      run_of_emptied(requests, scale, cost, most)
    else
      run_of_one(requests, scale, cost, burst, most)
    end
  else
    local charges = {charge_of(scale, cost, burst, flags)}
    for column = 2, width do
      scale, cost, burst, flags, at = unpack('<dddI1', plan, at)
      charges[column] = charge_of(scale, cost, burst, flags)
    end
    run_of_many(requests, charges)
  end
end
answers[next] = now
return answers
