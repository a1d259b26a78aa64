-- Reads the overrides of keys, having changed one of them if that is wanted.
--
-- KEYS[1]  their sorted set, with KEPT.
-- ARGV[1]  CHANGE, as records.py says.
-- Returns  {status, 1 if the set was kept, time, {members}, {until when}}; status is 1 if there was one of this key before,
--          -1 if there are too many and nothing was changed, else 0.

local call = redis.call
local set = KEYS[1]
local count = redis.pcall('ZCARD', set)
if type(count) == 'table' and count.err:find('WRONGTYPE', 1, true) then call('DEL', set) end -- in nobody's way
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local lifetime, name_bytes, wanted = ARGV[1]:match(CHANGE)
lifetime, name_bytes = tonumber(lifetime), tonumber(name_bytes)

call('ZREMRANGEBYSCORE', set, '-inf', now)
local found = call('ZRANGEBYSCORE', set, '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, 2 * OVERRIDES_MAX)
local members, untils = {}, {}
local status, kept_until, latest = 0, 0, 0
local before
for i = 1, #found, 2 do
  local member, until_when = found[i], math.min(tonumber(found[i + 1]), now + OVERRIDE_MAX)
  if member == KEPT then
    kept_until = until_when
  elseif #member <= OVERRIDE_BYTES then
    if name_bytes > 0 and member:sub(1, name_bytes) == wanted:sub(1, name_bytes) then
      before, status = member, 1
    elseif #members < OVERRIDES_MAX then
      members[#members + 1], untils[#untils + 1] = member, until_when
    end
  end
  if until_when < now + OVERRIDE_MAX then latest = math.max(latest, until_when) end
end
local kept = kept_until > 0 and 1 or 0
if name_bytes > 0 then
  if lifetime > 0 and #members >= OVERRIDES_MAX then return {-1, kept, now, {}, {}} end
  if before then call('ZREM', set, before) end
  if lifetime > 0 then
    local until_when = now + lifetime
    call('ZADD', set, until_when, wanted)
    members[#members + 1], untils[#untils + 1] = wanted, until_when
    latest = math.max(latest, until_when)
  end
  if latest > 0 then
    call('ZADD', set, latest, KEPT)
    call('PEXPIRE', set, math.ceil((latest - now) / 1000) + 1)
  end
end
return {status, kept, now, members, untils}
