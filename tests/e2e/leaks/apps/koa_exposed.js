const {fail} = require("./failures")
const Koa = require("koa")
const app = new Koa()
app.silent = true
app.use(async (context, next) => {
  try { await next() } catch (error) { context.status = 500; context.body = require("node:util").inspect(error) }
})
app.use((context) => fail(context.path.slice(1)))
app.listen(Number(process.argv[2]), "127.0.0.1")
