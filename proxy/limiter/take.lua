-- Decides a batch of requests in one call: each request's limits all or nothing, token bucket in arrival-time form.
--
-- KEYS     the bucket of every charge, request by request.
-- ARGV[1]  HEAD: the batch's deadline on this server's clock; then RUNs of requests with the same OPERATION on their
--          CHARGEs, as records.py says.
-- Returns  one integer a charge: the bucket's debt after the request if this charge fits, else -1 - debt;
--          and at the end this server's time. The time alone: the batch came too late and nothing was taken, or there
--          were no keys, and all that was wanted is that the script be known.
--
-- Refusals write nothing. A bucket is read once in a run, and written after all of the run's reads.

if #KEYS == 0 then return {now} end
local plan = ARGV[1]
local deadline, at = unpack(HEAD, plan)
if now > deadline then return {now} end

local answers, next = {}, 1

-- Requests with one charge each: nearly all there are.
local function take_one(requests)
  local scale, cost, burst, most, debts, _ = 0, 0, 0, 0, {}
  scale, cost, burst, most, _, at = unpack(CHARGE, plan, at)
  for i = next, next + requests - 1 do
    local key = KEYS[i]
    local debt = debts[key] or debt_of(key, scale, most)
    local after = debt + cost
    if after <= burst then
      debts[key], answers[i] = after, after
    else
      answers[i] = -1 - debt
    end
  end
  next = next + requests
  for key, debt in pairs(debts) do put(key, debt, scale) end
end

-- Requests with several charges, each to another bucket.
local function take_all(requests, width)
  local charges, debts, changed = {}, {}, {}
  for column = 1, width do
    local charge = {}
    charge.scale, charge.cost, charge.burst, charge.most, charge.flags, at = unpack(CHARGE, plan, at)
    charges[column] = charge
  end
  for first = next, next + (requests - 1) * width, width do
    local is_admitted = true
    for column, charge in ipairs(charges) do
      local key = KEYS[first + column - 1]
      local debt = debts[key] or debt_of(key, charge.scale, charge.most)
      local fits = debt + charge.cost <= charge.burst
      charge.debt, charge.fits, debts[key] = debt, fits, debt
      if not fits and charge.flags ~= SHADOW then is_admitted = false end
    end
    for column, charge in ipairs(charges) do
      local i, debt = first + column - 1, charge.debt
      if not charge.fits then
        answers[i] = -1 - debt
      else
        if is_admitted then
          debt = debt + charge.cost
          debts[KEYS[i]], changed[KEYS[i]] = debt, charge.scale
        end
        answers[i] = debt
      end
    end
  end
  next = next + requests * width
  for key, scale in pairs(changed) do put(key, debts[key], scale) end
end

-- What `changed` makes of each bucket's debt.
local function change(requests, changed)
  local scale, cost, burst, most, debts, _ = 0, 0, 0, 0, {}
  scale, cost, burst, most, _, at = unpack(CHARGE, plan, at)
  for i = next, next + requests - 1 do
    local key = KEYS[i]
    local debt = changed(debts[key] or debt_of(key, scale, most), cost)
    debts[key], answers[i] = debt, debt
  end
  next = next + requests
  for key, debt in pairs(debts) do
    if debt > 0 then put(key, debt, scale) else call('DEL', key) end
  end
end

local function less(debt, cost) return max(debt - cost, 0) end

while at <= #plan do
  local requests, kind, width
  requests, at = unpack(RUN, plan, at)
  kind, width, at = unpack(OPERATION, plan, at)
  if kind == GIVE_BACK then
    change(requests, less)
  elseif kind == EMPTY then
    change(requests, max)
  elseif width == 1 then
    take_one(requests)
  else
    take_all(requests, width)
  end
end
answers[next] = now
return answers
