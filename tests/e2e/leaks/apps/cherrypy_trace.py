import sys

import cherrypy
from failures import fail


class Root:
    @cherrypy.expose
    def default(self, way):
        fail(way)


cherrypy.config.update({"server.socket_host": "127.0.0.1", "server.socket_port": int(sys.argv[1])})
cherrypy.quickstart(Root())
