import sys

from failures import fail
from sanic import Sanic

app = Sanic("hub")
app.config.FALLBACK_ERROR_FORMAT = "auto"


@app.get("/<way>")
async def index(request, way):
    fail(way)


if __name__ == "__main__":
    app.run("127.0.0.1", int(sys.argv[1]), debug=True, single_process=True)
