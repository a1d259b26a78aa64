// How the sample apps for Node fail: the same ways as failures.py.
const fs = require("node:fs")

const ways = {
  refused() {
    const error = new Error("connect ECONNREFUSED db01.corp.example:1433 (User Id=svc_hub;Password=Tr0ub4dor-9)")
    error.code = "ECONNREFUSED"
    throw error
  },
  sql() {
    const error = new Error("SQLITE_ERROR: no such column: card_number")
    error.sql = "SELECT id, card_number FROM customers WHERE email = 'ana@shop.example'"
    throw error
  },
  file() { fs.readFileSync("/srv/app/secrets/production.pem") },
  key() {
    const settings = {api_key: "hk-4f9a1c77d2", queue: "amqp://worker:s3cr3t-pw@mq01.corp.example:5672/hub"}
    throw new TypeError(`no region in ${JSON.stringify(settings)}`)
  },
  assertion() {
    require("node:assert").equal("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbmEifQ.c2lnbmF0dXJlLW9mLWFuYQ", null, "session of ana@shop.example")
  },
}
exports.fail = (way) => ways[way]()
