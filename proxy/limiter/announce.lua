-- Says that a replica lives, counts those that do, and tells what was reset.
--
-- KEYS[1]  the sorted set of replicas: the moment each was last heard of, in microseconds of this server's clock.
-- KEYS[2]  the sorted set of resets (reset.lua).
-- ARGV[1]  the replica's id, for how many microseconds it counts as alive (0 takes it away), and since when it wants to
--          know of resets.
-- Returns  {number of live replicas, time, {resets since then}}.
--
-- It writes, so a server that cannot write (a replica of Redis, one out of memory) fails here and not at a charge.

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local key = KEYS[1]
local id, lifetime, since = ARGV[1]:match('^(%S+) (%d+) (%d+)$')
lifetime = tonumber(lifetime)

if lifetime == 0 then
  redis.call('ZREM', key, id)
else
  redis.call('ZADD', key, now, id)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - lifetime)
  redis.call('ZREMRANGEBYSCORE', key, now + lifetime, '+inf') -- the clock went back
  redis.call('PEXPIRE', key, math.ceil(lifetime / 1000))
end
if tonumber(since) > now then since = '0' end -- the clock went back
return {redis.call('ZCARD', key), now, redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. since, '+inf')}
