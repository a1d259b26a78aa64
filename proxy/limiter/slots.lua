-- Slots of limits on concurrency (docs/decisions/0023-slots.md).
--
-- A bucket is a sorted set of the holders of its slots, each with the moment until which it holds one, unless this server is
-- told of it again before. Who dies is told of no more, so its slots come back by themselves. All that is written here can be
-- written twice: a holder is never used again for another request.

-- How many are held by those that live.
local function held(key)
  local gone = pcall('ZREMRANGEBYSCORE', key, '-inf', now)
  if type(gone) ~= 'table' then return call('ZCARD', key) end
  if not gone.err:find('WRONGTYPE', 1, true) then call('ZCARD', key) end -- raises it
  foreign = foreign + 1
  call('DEL', key)
  return 0
end

local function hold(key, holder)
  call('ZADD', key, now + SLOT_LIFE, holder)
  call('PEXPIRE', key, SLOT_LIFE / 1000)
end

-- Where the clock went back, nobody who is dead holds one for longer than it would have.
local function bound(key)
  for _, holder in ipairs(call('ZRANGEBYSCORE', key, now + SLOT_LIFE + 1, '+inf')) do
    hold(key, holder)
  end
end

local function vacate(key, holder)
  local gone = pcall('ZREM', key, holder)
  return type(gone) ~= 'table' and gone > 0
end
