-- Brings buckets up to date after time without this server: what it may have lost, and what was spent locally meanwhile.
--
-- KEYS     the buckets.
-- ARGV[1]  HEAD; then SETTLED for each bucket, as records.py says.
-- Returns  how many keys held something else than a bucket, and this server's time.
--
-- The known debt is a lower bound of the truth, so taking the larger of the two invents nothing; what was spent is added.
-- What calls without an answer may have been charged was decided again without Redis: where it shows that they were
-- charged here, that is taken off.

for _, key in ipairs(KEYS) do
  local interval, scale, ceiling, most, known, spent, unsure, first, sent
  interval, scale, ceiling, most, known, spent, unsure, first, sent, at = unpack(SETTLED, ARGV[1], at)
  local before = debt_of(key, interval, scale, 0, ceiling, most, true)
  local debt = before
  if unsure > 0 and before > 0 then
    local _, since, _, _, by = parts(key, pcall('GET', key))
    if since and is_ours(by, since, first, sent) then debt = math.max(debt - unsure, 0) end
  end
  debt = math.max(debt, math.min(known, most))
  debt = math.max(debt, math.min(debt + spent, ceiling))
  if debt ~= before then
    if debt <= 0 then
      call('DEL', key)
    elseif debt < before then
      lower(key, debt, interval, scale, ceiling, 0)
    else
      put(key, debt, interval, scale, ceiling, 0)
    end
  end
end
return {foreign, now}
