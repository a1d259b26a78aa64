const {fail} = require("./failures")
const app = require("fastify")()
app.get("/:way", async (request) => fail(request.params.way))
app.listen({port: Number(process.argv[2]), host: "127.0.0.1"})
