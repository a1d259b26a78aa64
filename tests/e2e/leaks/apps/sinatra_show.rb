require "sinatra/base"
require_relative "failures"
class Hub < Sinatra::Base
  set :show_exceptions, true
  set :environment, :development
  set :server, "webrick"
  get("/:way") { failing(params["way"]) }
end
Hub.run!(port: ARGV[0].to_i, bind: "127.0.0.1")
