-- Brings buckets up to date after time without this server: what it may have lost, and what was spent locally meanwhile.
--
-- KEYS     the buckets.
-- ARGV[1]  <d> deadline on this server's clock, in microseconds; then for each bucket <ddddd> scale, burst, the most
--          debt that it may have, what it had at least when this was sent, and what was spent locally since.
-- Returns  {number of buckets, time}, or {time} when it came too late: the debts would be out of date.
--
-- The known debt is a lower bound of the truth, so taking the larger of the two invents nothing; what was spent is added.

local call, floor, pack, unpack = redis.call, math.floor, struct.pack, struct.unpack

local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local deadline, at = unpack('<d', ARGV[1])
if now > deadline then return {now} end

for i = 1, #KEYS do
  local key, scale, burst, most, known, spent = KEYS[i]
  scale, burst, most, known, spent, at = unpack('<ddddd', ARGV[1], at)
  local debt = 0
  local bucket = call('GET', key)
  if bucket then
    local full_at, rest = unpack('<dI4', bucket)
    debt = (full_at - now) * scale + rest
  end
  debt = math.min(math.max(debt, known, 0), most)
  debt = math.max(debt, math.min(debt + spent, burst))
  if debt > 0 then
    local wait = floor(debt / scale)
    call('SET', key, pack('<dI4', now + wait, debt - wait * scale), 'PX', floor(wait / 1000) + 1)
  end
end
return {#KEYS, now}
