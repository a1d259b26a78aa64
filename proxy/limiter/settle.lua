-- Brings buckets up to date after time without this server: what it may have lost, and what was spent locally meanwhile.
--
-- KEYS     the buckets.
-- ARGV[1]  HEAD: a deadline on this server's clock; then SETTLED for each bucket, as records.py says.
-- Returns  {number of buckets, time}, or {time} when it came too late: the debts would be out of date.
--
-- The known debt is a lower bound of the truth, so taking the larger of the two invents nothing; what was spent is added.

local deadline, at = unpack(HEAD, ARGV[1])
if now > deadline then return {now} end

for i = 1, #KEYS do
  local key, scale, burst, most, known, spent = KEYS[i]
  scale, burst, most, known, spent, at = unpack(SETTLED, ARGV[1], at)
  local debt = min(max(debt_of(key, scale, most), known), most)
  debt = max(debt, min(debt + spent, burst))
  if debt > 0 then put(key, debt, scale) end
end
return {#KEYS, now}
