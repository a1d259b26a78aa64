import sys

import bottle
from failures import fail

bottle.debug(True)


@bottle.get("/<way>")
def index(way):
    fail(way)


bottle.run(host="127.0.0.1", port=int(sys.argv[1]), quiet=True)
