-- Decides a batch of requests in one call: each request's limits all or nothing.
--
-- KEYS     the bucket of every charge, request by request.
-- ARGV[1]  HEAD; then RUNs of requests with the same operation on their CHARGEs, as records.py says.
-- Returns  one integer a charge: the bucket's debt after the request if this charge fits, else -1 - debt; of slots how many
--          are held;
--          then how many keys held something else than a bucket, and this server's time.
--
-- Refusals charge nothing and hold nothing; of slots they drop the dead, and bound those of the living (slots.lua). A bucket
-- of tokens is read once in a run, and written after all of the run's reads.
--
-- A batch whose reply was lost comes again, with the time since which it may have been run. What it wrote then shows in
-- the buckets' tags; who was charged then is admitted and not charged a second time (docs/decisions/0017-sent-twice.md).

local plan = ARGV[1]
local answers, next = {}, 1

-- What a refusal tells: -1 and the debt that leaves room at the right moment, if it came back at the charge's own rate. A
-- second, where it is not known yet what the debt is.
local function refused(key, debt, scale, cost, ceiling, faster)
  if doubted[key] then debt = math.min(debt, ceiling - cost + 1000000 * scale) end
  if faster then debt = math.min(debt, ceiling - cost + math.ceil((debt + cost - ceiling) / faster) * scale) end
  return -1 - debt
end

-- What this batch has been charged to each bucket already, at most. Asked before anything is written to it.
local credits = {}

local function credit_of(key, interval)
  if not credits[key] then
    local bucket = pcall('GET', key)
    local debt, since, its_interval, by, _
    if bucket then debt, since, its_interval, _, by = parts(key, bucket) end
    local is_charged = debt and is_ours(by, since, tag, again)
    credits[key] = is_charged and converted(debt, its_interval, interval) or 0
  end
  return credits[key]
end

-- Whether a request was charged when the batch was sent before; then its credit is used up. It holds no slot for now.
-- Where slots were asked for that count, it is certain: who was admitted holds them. The credit of a bucket may be another's.
local function was_charged(charges, first, holder)
  local has_slot, has_credit, is_certain = false, false, false
  for column, charge in ipairs(charges) do
    local key = KEYS[first + column - 1]
    if charge.is_slot then
      charge.was_held = vacate(key, holder)
      has_slot = charge.was_held or has_slot
      is_certain = is_certain or not charge.is_shadow
    else
      has_credit = credit_of(key, charge.interval) >= charge.cost or has_credit
    end
  end
  if not has_slot and (is_certain or not has_credit) then return false end
  for column, charge in ipairs(charges) do
    local key = KEYS[first + column - 1]
    if credits[key] then credits[key] = math.max(credits[key] - charge.cost, 0) end
  end
  return true
end

-- Requests with several charges, each to another bucket; those that hold slots; and all that come again.
local function take_all(requests, width, kind)
  local charges, debts, fasters, changed = {}, {}, {}, {}
  for column = 1, width do
    local charge = {interval = 0, scale = 0, cost = 0, ceiling = 0, most = 0, debt = 0, fits = false}
    local flags
    charge.interval, charge.scale, charge.cost, charge.ceiling, charge.most, flags, at = unpack(CHARGE, plan, at)
    charge.is_shadow = flags % (2 * SHADOW) >= SHADOW -- a bit of its own; so are the others
    charge.may_close = flags % (2 * MAY_CLOSE) >= MAY_CLOSE
    charge.is_slot = flags % (2 * SLOTS) >= SLOTS
    charges[column] = charge
  end
  local holder -- of slots among these
  if kind == HOLD then holder, at = plan:sub(at, at + HOLDER_BYTES - 1), at + HOLDER_BYTES end
  for first = next, next + (requests - 1) * width, width do
    local is_admitted, is_charged = true, again > 0 and was_charged(charges, first, holder)
    for column, charge in ipairs(charges) do
      local key, cost, ceiling = KEYS[first + column - 1], charge.cost, charge.ceiling
      local debt = debts[key]
      if charge.is_slot then
        debt = held(key)
        if debt >= ceiling then bound(key) end
      elseif not debt then
        debt, fasters[key] = debt_of(key, charge.interval, charge.scale, cost, ceiling, charge.most, charge.may_close)
        debts[key] = debt
      end
      charge.debt, charge.fits = debt, debt + cost <= ceiling
      if is_charged and (charge.was_held or not charge.is_slot) then charge.fits = true end
      if not charge.fits and not charge.is_shadow then is_admitted = false end
    end
    for column, charge in ipairs(charges) do
      local i, debt = first + column - 1, charge.debt
      local key = KEYS[i]
      if not charge.fits then
        answers[i] = refused(key, debt, charge.scale, charge.cost, charge.ceiling, fasters[key])
      else
        if charge.is_slot then
          if is_admitted then
            debt = debt + 1
            hold(key, holder)
          end
        elseif is_admitted and not is_charged then
          debt = debt + charge.cost
          debts[key], fasters[key], changed[key] = debt, nil, charge
        end
        answers[i] = debt
      end
    end
  end
  next = next + requests * width
  for key, charge in pairs(changed) do put(key, debts[key], charge.interval, charge.scale, charge.ceiling, tag) end
end

-- Gives back or empties. It is not done twice.
local function change(requests, kind)
  local interval, scale, units, ceiling, most, flags
  interval, scale, units, ceiling, most, flags, at = unpack(CHARGE, plan, at)
  local may_close = flags % (2 * MAY_CLOSE) >= MAY_CLOSE
  local debts = {}
  for i = next, next + requests - 1 do
    local key = KEYS[i]
    local debt = debts[key] or debt_of(key, interval, scale, 0, ceiling, most, may_close)
    local after = kind == EMPTY and math.max(debt, units) or math.max(debt - units, 0)
    if after ~= debt and not (again > 0 and credit_of(key, interval) > 0) then
      debts[key], debt = after, after
    end
    answers[i] = debt
  end
  next = next + requests
  for key, debt in pairs(debts) do
    if debt <= 0 then
      call('DEL', key)
    elseif kind == EMPTY then
      put(key, debt, interval, scale, ceiling, tag)
    else
      lower(key, debt, interval, scale, ceiling, tag)
    end
  end
end

-- Tells of slots that are held still, or no more.
local function keep(requests, kind)
  local holder = plan:sub(at, at + HOLDER_BYTES - 1)
  at = at + CHARGE_BYTES
  for i = next, next + requests - 1 do
    if kind == VACATE then
      vacate(KEYS[i], holder)
    else
      held(KEYS[i])
      hold(KEYS[i], holder)
    end
    answers[i] = 0
  end
  next = next + requests
end

while at <= #plan do
  local requests, kind, width
  requests, kind, width, at = unpack(RUN, plan, at)
  if kind == TAKE or kind == HOLD then
    take_all(requests, width, kind)
  elseif kind == RENEW or kind == VACATE then
    keep(requests, kind)
  else
    change(requests, kind)
  end
end
answers[next], answers[next + 1] = foreign, now
return answers
