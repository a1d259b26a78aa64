-- The peer's token bucket: one EVALSHA a request over a pooled connection.
local redis = require "nginx.redis"
local SCRIPT = [[
local now = redis.call('TIME')
local t = now[1] + now[2] / 1000000
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = math.min(burst, (tonumber(bucket[1]) or burst) + (t - (tonumber(bucket[2]) or t)) * rate)
local allowed = 0
if tokens >= 1 then tokens = tokens - 1; allowed = 1 end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(t))
redis.call('EXPIRE', KEYS[1], math.ceil(burst / rate) + 1)
return allowed
]]
local sha = ngx.sha1_bin and (function()
  local hex = {}
  for byte in ngx.sha1_bin(SCRIPT):gmatch(".") do hex[#hex + 1] = string.format("%02x", byte:byte()) end
  return table.concat(hex)
end)()
local client = redis:new()
client:set_timeout(1000)
local ok, err = client:connect("127.0.0.1", @PORT@)
if not ok then return ngx.exit(500) end
local key = "limit:" .. (ngx.var.http_x_auth_token or ngx.var.remote_addr)
local allowed, err = client:evalsha(sha, 1, key, @RATE@, @RATE@)
if not allowed and err and err:find("NOSCRIPT", 1, true) then
  allowed, err = client:eval(SCRIPT, 1, key, @RATE@, @RATE@)
end
client:set_keepalive(10000, 128)
if allowed == 0 then
  ngx.header["Retry-After"] = "1"
  return ngx.exit(429)
end
if allowed ~= 1 then return ngx.exit(500) end
