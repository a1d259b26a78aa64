-- Notes that buckets were emptied of their debts, so that every replica forgets what it knows of them.
--
-- KEYS[1]  the sorted set of resets: the moment of each, in microseconds of this server's clock.
-- ARGV[1]  RESET, as records.py says.
-- Returns  time. A key that holds something else is in nobody's way.

local count = redis.pcall('ZCARD', KEYS[1])
if type(count) == 'table' and count.err:find('WRONGTYPE', 1, true) then redis.call('DEL', KEYS[1]) end
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local told, note = ARGV[1]:match(RESET)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - told * 1000)
redis.call('ZADD', KEYS[1], now, note)
redis.call('PEXPIRE', KEYS[1], told)
return now
