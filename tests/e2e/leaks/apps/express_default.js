const {fail} = require("./failures")
const app = require("express")()
app.get("/:way", (request) => fail(request.params.way))
app.listen(Number(process.argv[2]), "127.0.0.1")
