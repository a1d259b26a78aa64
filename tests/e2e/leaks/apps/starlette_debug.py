import sys

import uvicorn
from failures import fail
from starlette.applications import Starlette
from starlette.routing import Route


async def index(request):
    fail(request.path_params["way"])


uvicorn.run(Starlette(debug=True, routes=[Route("/{way}", index)]), port=int(sys.argv[1]))
