"""A FastAPI service with limits: uvicorn fastapi_service:app"""

import os

from fastapi import Depends, FastAPI

from proxy.middleware import Limiter, LimitMiddleware
from proxy.middleware.fastapi_routes import charged

limiter = Limiter(
    limits=[
        {
            "name": "per-user",
            "key": ["header:X-Auth-Token", "client-ip"],
            "rate": "15/s",
            "unproven": {"rate": "60/s"},  # who invents tokens pays by address
        }
    ],
    store=os.environ.get("REDIS_URL", "memory"),
)
exports = limiter.limit("exports", "2/m", key=["header:X-Auth-Token", "client-ip"])

app = FastAPI()
app.add_middleware(LimitMiddleware, limiter=limiter)


@app.get("/")
async def home() -> dict[str, str]:
    return {"hello": "world"}


@app.get("/export", dependencies=[Depends(charged(exports))])
async def export() -> dict[str, str]:
    return {"export": "done"}
