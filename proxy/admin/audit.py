"""Lines in the program's log for whoever asks later who did what, and who was not let; at every `log.level`.

They name a key by its hash, and never what an operator typed: that may be a credential in the wrong place.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from aiohttp import hdrs, web

from proxy.contract.ration import Ration
from proxy.telemetry.log import AUDIT, event

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from aiohttp.typedefs import Handler, Middleware

KEY_HEX = 16  # of a key, as in the access log
REFUSED_PER_SECOND, REFUSED_BURST = 1, 10  # lines of refusals: who guesses fills no disk
REFUSED = 400  # and above

_log = logging.getLogger(AUDIT)


def done(verb: str, limit: str, key: bytes, told: dict[str, object]) -> None:
    """A verb of one key of a limit, or of all."""
    changes: dict[str, Any] = {} if verb == "look" else told
    event(
        _log,
        logging.INFO,
        f"limit_{verb}",
        verb=verb,
        limit=limit,
        key=key.hex()[:KEY_HEX] or None,
        **changes,
    )


def refusals(names: Callable[[], Collection[str]], now: Callable[[], float]) -> Middleware:
    """Notes verbs that were refused, and tokens that are wrong; `names` are those of the limits."""
    ration = Ration(REFUSED_PER_SECOND, REFUSED_BURST)

    @web.middleware
    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = await handler(request)
        if response.status >= REFUSED and _is_attempt(request, response.status) and ration.admits(now()):
            asked = request.match_info
            limit = asked.get("name")
            event(
                _log,
                logging.WARNING,
                "admin_refused",
                status=response.status,
                verb=_verb(asked),
                limit=limit if limit in names() else None,
                peer=request.remote or None,
                passed_over=ration.take_passed_over(),
            )
        return response

    return watch


def _is_attempt(request: web.Request, status: int) -> bool:
    """Somebody has used a verb, or a token that is not ours; whoever opens the page without one has only
    looked.
    """
    is_verb = request.method == hdrs.METH_POST and _verb(request.match_info) is not None
    return is_verb or (status == web.HTTPUnauthorized.status_code and hdrs.AUTHORIZATION in request.headers)


def _verb(asked: web.UrlMappingMatchInfo) -> str | None:
    """The last part of a verb's path."""
    resource = asked.route.resource
    path = resource.canonical if resource is not None else ""
    return path.rpartition("/")[2] if path.startswith("/limits/") else None
