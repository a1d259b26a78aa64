"""Weir's limits within a Python service: the same rules, stores and answers (docs/python.md)."""

from proxy.middleware.asgi import LimitMiddleware
from proxy.middleware.limiter import Limiter
from proxy.middleware.route import Refused, RouteLimit

__all__ = ["LimitMiddleware", "Limiter", "Refused", "RouteLimit"]
