"""Plain WSGI that writes its traceback as text, close-delimited, as old services do."""

import sys
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from failures import fail


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            fail(self.path.strip("/"))
        except Exception:
            self.send_response(500, "Internal Server Error: " + str(sys.exc_info()[1]).replace("\n", " "))
            self.send_header("Content-Type", "text/plain")
            self.send_header("X-Exception-Type", sys.exc_info()[0].__name__)
            self.end_headers()
            self.wfile.write(traceback.format_exc().encode())


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
