// The stack goes out chunked, with a trailer, as a handler does that writes while it fails.
const {fail} = require("./failures")
require("node:http").createServer((request, response) => {
  try { fail(request.url.slice(1)) } catch (error) {
    response.writeHead(502, {"Content-Type": "text/html", Trailer: "X-Debug", "X-Powered-By": "Hub/4.2 (db01)"})
    response.write("<h1>Bad backend</h1><pre>")
    response.write(error.stack)
    response.addTrailers({"X-Debug": "/srv/app/failures.js"})
    response.end("</pre>")
  }
}).listen(Number(process.argv[2]), "127.0.0.1")
