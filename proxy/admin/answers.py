"""How the admin plane answers: small JSON objects that nothing may keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

if TYPE_CHECKING:
    from http import HTTPStatus

DRESS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}  # of every answer


def problem(code: HTTPStatus, headers: dict[str, str] | None = None, detail: str = "") -> web.Response:
    told = {"status": code.value, "title": code.phrase} | ({"detail": detail} if detail else {})
    return json_answer(told, code, headers)


def json_answer(
    content: object, code: int | HTTPStatus = 200, headers: dict[str, str] | None = None
) -> web.Response:
    body = msgspec.json.encode(content, enc_hook=str)
    return web.Response(body=body, status=code, headers=headers, content_type="application/json")
