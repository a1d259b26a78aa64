-- A hundred users in turn on every connection: no two requests of a connection have the same header fields.
local requests, at = {}, 0
function init(args)
  for i = 1, 100 do
    wrk.headers["X-Auth-Token"] = string.format("benchmark-user-%04d-0123456789abcdef", i)
    requests[i] = wrk.format()
  end
end
function request()
  at = at % 100 + 1
  return requests[at]
end
