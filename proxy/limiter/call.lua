-- How every call on buckets begins.
--
-- ARGV[1]  begins with HEAD, as records.py says. A call that comes after its deadline is answered {time}, and does
--          nothing. One without keys only wants the script to be known.

local call, pcall, floor, pack, unpack = redis.call, redis.pcall, math.floor, struct.pack, struct.unpack

local time = call('TIME')
local now = time[1] * 1000000 + time[2]
if #KEYS == 0 then return {0, now} end
local deadline, tag, again, alike, at = unpack(HEAD, ARGV[1])
if now > deadline then return {now} end
