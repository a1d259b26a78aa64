import sys

import uvicorn
from failures import fail
from litestar import Litestar, get


@get("/{way:str}", sync_to_thread=False)
def index(way: str) -> None:
    fail(way)


uvicorn.run(Litestar([index], debug=True), port=int(sys.argv[1]))
