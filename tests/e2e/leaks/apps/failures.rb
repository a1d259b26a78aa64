# How the sample apps in Ruby fail: the same ways as failures.py.
def failing(way)
  case way
  when "refused" then raise Errno::ECONNREFUSED, "connect(2) for db01.corp.example:5432 user=svc_hub password=Tr0ub4dor-9"
  when "sql" then raise ArgumentError, "PG::UndefinedColumn: card_number: SELECT id, card_number FROM customers WHERE email = 'ana@shop.example'"
  when "file" then File.read("/srv/app/secrets/production.pem")
  when "key" then { api_key: "hk-4f9a1c77d2", queue: "amqp://worker:s3cr3t-pw@mq01.corp.example:5672/hub" }.fetch(:region)
  else raise "session eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbmEifQ.c2lnbmF0dXJlLW9mLWFuYQ of ana@shop.example"
  end
end
