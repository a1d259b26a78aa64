const {fail} = require("./failures")
const app = require("express")()
app.get("/:way", (request) => fail(request.params.way))
app.use((error, request, response, next) =>
  response.status(500).json({status: "error", message: error.message, sql: error.sql, stack: error.stack}))
app.listen(Number(process.argv[2]), "127.0.0.1")
