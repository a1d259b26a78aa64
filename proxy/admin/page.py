"""The dashboard's files: served as they are, read when somebody first asks, and open to strangers.

They hold nothing but themselves; what they show is asked for with the token. The browser is told to run
nothing that is not one of them, to show the page in no other, and to give its address away to nobody.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from aiohttp import web

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

FOLDER: Final = Path(__file__).parent / "dashboard"
ASSETS: Final = "/assets/"
TYPES: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


def is_page(path: str) -> bool:
    return path == "/" or path.startswith(ASSETS)


def routes() -> list[web.RouteDef]:
    """A route for each file, so that no path leads anywhere else."""
    files = sorted(path for path in FOLDER.iterdir() if path.suffix in TYPES)
    return [
        web.get("/" if path.name == "index.html" else f"{ASSETS}{path.name}", _answer(path)) for path in files
    ]


def _answer(path: Path) -> Handler:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(
            body=_content(path), headers=HEADERS, content_type=TYPES[path.suffix], charset="utf-8"
        )

    return answer


@lru_cache
def _content(path: Path) -> bytes:
    return path.read_bytes()
