"""A Django service under ASGI with limits: uvicorn django_service:app"""

import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from proxy.middleware import Limiter, LimitMiddleware

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

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY=os.urandom(32).hex())


async def home(_: HttpRequest) -> JsonResponse:
    return JsonResponse({"hello": "world"})


@exports
async def export(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"export": "done", "path": request.path})


urlpatterns = [path("", home), path("export", export)]
app = LimitMiddleware(get_asgi_application(), limiter=limiter)
