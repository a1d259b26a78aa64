-- One user a thread: a connection keeps its user, and its header fields, from request to request.
local threads = 0
function setup(thread)
  threads = threads + 1
  thread:set("user", threads)
end
function init(args)
  wrk.headers["X-Auth-Token"] = string.format("benchmark-user-%04d-0123456789abcdef", user)
end
