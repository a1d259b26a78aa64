import sys
import traceback

import uvicorn
from failures import fail
from fastapi import FastAPI, HTTPException

app = FastAPI()


@app.get("/{way}")
def index(way: str):
    try:
        fail(way)
    except Exception as error:
        raise HTTPException(
            503, {"message": repr(error), "stack": traceback.format_exc().splitlines()}
        ) from None


uvicorn.run(app, port=int(sys.argv[1]))
