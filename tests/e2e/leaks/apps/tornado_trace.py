import asyncio
import sys

import tornado.web
from failures import fail


class Index(tornado.web.RequestHandler):
    def get(self, way):
        fail(way)


async def main():
    tornado.web.Application([(r"/(.*)", Index)], serve_traceback=True).listen(int(sys.argv[1]), "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(main())
