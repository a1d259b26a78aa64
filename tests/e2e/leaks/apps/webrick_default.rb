require "webrick"
require_relative "failures"
server = WEBrick::HTTPServer.new(Port: ARGV[0].to_i, BindAddress: "127.0.0.1", AccessLog: [], Logger: WEBrick::Log.new(File::NULL))
server.mount_proc("/") { |request, _| failing(request.path.delete_prefix("/")) }
server.start
