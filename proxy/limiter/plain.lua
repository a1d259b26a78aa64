-- Nearly all calls: one run of requests with one charge each, sent for the first time, on buckets that were written at this
-- rate or are full. The same as in bucket.lua and take.lua, without a function: making them would take 3 of the 11 us that
-- such a call takes. Whatever is not plain is left to them; nothing has been written then.

do
  local plan, answers, debts = ARGV[1], {}, {}
  local requests, kind, width, first = unpack(RUN, plan, at)
  local interval, scale, cost, ceiling, most, _, last = unpack(CHARGE, plan, first)
  local is_plain = kind == TAKE and width == 1 and again == 0 and last > #plan
  for i = 1, is_plain and requests or 0 do
    local key = KEYS[i]
    local debt = debts[key]
    if not debt then
      local bucket = pcall('GET', key)
      debt = 0
      if bucket then
        is_plain = #bucket == BUCKET_BYTES
        if not is_plain then break end
        local since, before, its_interval, its_scale = unpack(BUCKET, bucket)
        is_plain = its_interval == interval and its_scale == scale and since <= now and before <= most
        if not is_plain then break end
        debt = before - (now - since) * scale
        if debt < 0 then debt = 0 end
      end
    end
    local after = debt + cost
    if after <= ceiling then
      debts[key], answers[i] = after, after
    else
      answers[i] = -1 - debt
    end
  end
  if is_plain then
    for key, debt in pairs(debts) do
      call('SET', key, pack(BUCKET, now, debt, interval, scale, tag), 'PX', floor(debt / scale / 1000) + 1)
    end
    answers[requests + 1], answers[requests + 2] = 0, now
    return answers
  end
end

