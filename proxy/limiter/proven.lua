-- Shares which credentials the service has vouched for, and tells what others have added.
--
-- KEYS[1]  the sorted set of their keys: the moment each was added, in microseconds of this server's clock.
-- ARGV[1]  SHARED, as records.py says.
-- Returns  {how many there are, until when they are told, time, 1 if that is all, {keys}}.
--
-- The oldest go when there are too many.

local AHEAD_US = 1000000 -- more than the keys of one call are apart
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local set = KEYS[1]
local most, life, since, news = ARGV[1]:match(SHARED)

local count = redis.pcall('ZCARD', set)
if type(count) == 'table' and count.err:find('WRONGTYPE', 1, true) then call('DEL', set) end -- it is in nobody's way

local number = 0
for at = 1, #news, KEY_BYTES do
  call('ZADD', set, string.format('%.0f', now + number), news:sub(at, at + KEY_BYTES - 1))
  number = number + 1
end
call('ZREMRANGEBYSCORE', set, string.format('%.0f', now + AHEAD_US), '+inf') -- nobody's, or the clock went back
call('ZREMRANGEBYRANK', set, 0, -1 - most)
call('PEXPIRE', set, life)

if tonumber(since) > now then since = '0' end -- the clock went back
local found = call('ZRANGEBYSCORE', set, '(' .. since, '+inf', 'WITHSCORES', 'LIMIT', 0, PROVEN_MAX)
local keys = {}
for i = 1, #found, 2 do
  if #found[i] == KEY_BYTES then keys[#keys + 1] = found[i] end
end
local is_all = #found < 2 * PROVEN_MAX
return {call('ZCARD', set), is_all and now or math.ceil(found[#found]), now, is_all and 1 or 0, keys}
