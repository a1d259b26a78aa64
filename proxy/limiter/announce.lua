-- Says that a replica lives, tells how many do and whether they count alike, and what was reset.
--
-- KEYS[1]  the sorted set of replicas: the moment each was last heard of, in microseconds of this server's clock.
-- KEYS[2]  the sorted set of resets (reset.lua).
-- ARGV[1]  ANNOUNCEMENT, as records.py says.
-- Returns  {live replicas, 1 if all of them have the same limits, until when resets are told, time, {resets}}.
--
-- It writes, so a server that cannot write (a replica of Redis, one out of memory) fails here and not at a charge.

local call = redis.call
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local replicas, resets = KEYS[1], KEYS[2]
local lifetime, since, replica = ARGV[1]:match(ANNOUNCEMENT)
local id, limits = replica:match(REPLICA)
lifetime, since = tonumber(lifetime), tonumber(since)

for _, key in ipairs(KEYS) do -- one that holds something else is in nobody's way
  local count = redis.pcall('ZCARD', key)
  if type(count) == 'table' and count.err:find('WRONGTYPE', 1, true) then call('DEL', key) end
end

local own = lifetime > 0 and replica
if own then
  call('ZADD', replicas, now, own)
  call('ZREMRANGEBYSCORE', replicas, '-inf', now - lifetime)
  call('ZREMRANGEBYSCORE', replicas, now + lifetime, '+inf') -- the clock went back
  call('PEXPIRE', replicas, math.ceil(lifetime / 1000))
end
local are_alike = 1
for _, member in ipairs(call('ZRANGEBYSCORE', replicas, '-inf', '+inf', 'LIMIT', 0, MEMBERS_MAX)) do
  local its_id, its_limits = member:match(REPLICA)
  if its_id == id and member ~= own then
    call('ZREM', replicas, member) -- what it was before a reload
  elseif its_limits ~= limits then
    are_alike = 0
  end
end

if since > now then since = 0 end -- the clock went back
local after = string.format('(%.0f', since)
local found = call('ZRANGEBYSCORE', resets, after, '+inf', 'WITHSCORES', 'LIMIT', 0, NOTES_MAX)
local notes, told = {}, now
for i = 1, #found, 2 do
  if #found[i] <= NOTE_BYTES then notes[#notes + 1] = found[i] end
end
if #found == 2 * NOTES_MAX then told = math.min(math.ceil(found[#found]), now) end -- the others with the next call
return {call('ZCARD', replicas), are_alike, told, now, notes}
