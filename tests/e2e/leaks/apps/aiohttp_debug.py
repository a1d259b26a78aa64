import asyncio
import sys

from aiohttp import web
from failures import fail


async def index(request):
    fail(request.match_info["way"])


async def main():
    app = web.Application()
    app.router.add_get("/{way}", index)
    asyncio.get_running_loop().set_debug(True)
    runner = web.AppRunner(app, debug=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", int(sys.argv[1])).start()
    await asyncio.Event().wait()


asyncio.run(main())
