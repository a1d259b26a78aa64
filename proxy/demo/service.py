"""A sample service that speaks every row of the contract, for the demo: entities in memory, tokens, failures.

A service as one finds them: its failures say far too much. Everything it keeps is bounded, the oldest goes
first. Knows nothing of Weir.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from base64 import b64encode
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

USERS = {"ana": "demo", "ben": "demo"}
ENTITIES_MAX = 1000
TOKENS_MAX = 100
SIGNED_IN = ("ana", "ben")  # from the start, by tokens that are their names
BODY_BYTES_MAX = 16 * 1024
LINES_MAX = 100
LINE_SECONDS_MAX = 2.0

# What no client should ever see: files, a statement, a password, and which products are behind it.
FAILURE = """System.Data.SqlClient.SqlException (0x80131904): Timeout expired while reading hub.entities
   at Hub.Storage.EntityReader.Read(Int64 id) in C:\\build\\hub\\src\\Storage\\EntityReader.cs:line 118
   at Hub.Api.EntitiesController.Get(Int64 id) in C:\\build\\hub\\src\\Api\\EntitiesController.cs:line 42
Statement: SELECT e.id, e.payload, u.email FROM hub.entities e JOIN hub.users u ON u.id = e.owner
Connection: Server=db01.hub.internal,1433;Database=hub;User Id=hub_app;Password=Tr0ub4dor-and-3;Encrypt=true
"""
FAILURE_HEADERS = {
    "Server": "Kestrel",
    "X-Powered-By": "ASP.NET",
    "X-AspNet-Version": "4.0.30319",
    "X-Debug-Token": "9f2c1e",
    "X-Exception-Type": "System.Data.SqlClient.SqlException",
    "Server-Timing": 'db;desc="db01.hub.internal";dur=5012',
}


@dataclass(slots=True)
class Entity:
    number: int
    definition: str
    global_id: str
    owner: str
    properties: dict[str, Any]

    def body(self) -> bytes:
        members = {"id": self.number, "definition": self.definition, "properties": self.properties}
        return json.dumps(members).encode()


class Memory:
    """Entities by number and users by token."""

    def __init__(self) -> None:
        self.entities: OrderedDict[int, Entity] = OrderedDict()
        self.tokens: OrderedDict[str, str] = OrderedDict((user, user) for user in SIGNED_IN)
        self._last = 10_000

    def sign_in(self, user: str) -> str:
        token = f"{user}-{token_hex(4)}"
        self.tokens[token] = user
        if len(self.tokens) > TOKENS_MAX:
            self.tokens.popitem(last=False)
        return token

    def create(self, definition: str, owner: str, properties: dict[str, Any]) -> Entity:
        self._last += 1
        entity = Entity(self._last, definition, token_hex(11), owner, properties)
        self.entities[entity.number] = entity
        if len(self.entities) > ENTITIES_MAX:
            self.entities.popitem(last=False)
        return entity

    def named(self, definition: str, name: object) -> Entity | None:
        """The entity of that name, which is unique within its definition."""
        return next(
            (
                e
                for e in self.entities.values()
                if e.definition == definition and e.properties.get("name") == name
            ),
            None,
        )


MEMORY = web.AppKey("memory", Memory)


def sample_service() -> web.Application:
    app = web.Application(middlewares=[errors_as_objects], client_max_size=BODY_BYTES_MAX)
    app[MEMORY] = Memory()
    app.add_routes(
        [
            web.get("/", index),
            web.post("/api/authenticate", authenticate),
            web.get("/api/entities", list_entities),
            web.post("/api/entitydefinitions/{name}/entities", create_entity),
            web.get("/api/entities/{number}", read_entity),
            web.put("/api/entities/{number}", replace_entity),
            web.delete("/api/entities/{number}", delete_entity),
            web.get("/slow", slow),
            web.get("/boom", boom),
            web.route("*", "/echo", echo),
        ]
    )
    return app


# --- refusals: an error object with the fields of this service ---


def refusal(status: int, code: str, message: str, **headers: str) -> web.Response:
    return web.json_response({"errorCode": code, "message": message}, status=status, headers=headers)


@web.middleware
async def errors_as_objects(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What the framework refuses by itself (404, 405, 413) gets an error object too."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        kept = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        return refusal(error.status, error.reason.replace(" ", ""), f"{error.reason}.", **kept)


def user_of(request: web.Request) -> str | None:
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    token = request.headers.get("X-Auth-Token") or (bearer if scheme.lower() == "bearer" else "")
    return request.app[MEMORY].tokens.get(token)


def unknown_user() -> web.Response:
    challenge = {"WWW-Authenticate": 'Bearer realm="sample"'}
    return refusal(401, "NotAuthenticated", "POST user_name and password to /api/authenticate.", **challenge)


def not_found() -> web.Response:
    return refusal(404, "NotFound", "There is no such entity.")


async def json_object(request: web.Request) -> dict[str, Any] | None:
    """The body, if it is a JSON object."""
    try:
        value = json.loads(await request.read())
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


# --- entities ---


async def index(request: web.Request) -> web.Response:
    """What there is to try."""
    routes = {f"{r.method} {r.resource.canonical}" for r in request.app.router.routes() if r.resource}
    return web.json_response({"service": "sample", "routes": sorted(routes)})


async def authenticate(request: web.Request) -> web.Response:
    given = await json_object(request)
    if given is None:
        return refusal(400, "BadRequest", "The body is no JSON object.")
    user, password = str(given.get("user_name")), str(given.get("password"))
    if user not in USERS or USERS[user] != password:
        return unknown_user()
    return web.json_response({"token": request.app[MEMORY].sign_in(user)})


async def list_entities(request: web.Request) -> web.Response:
    if user_of(request) is None:
        return unknown_user()
    entities = list(request.app[MEMORY].entities.values())
    items = [{"id": entity.number, "definition": entity.definition} for entity in entities[-50:]]
    return web.json_response({"total": len(entities), "items": items})


async def create_entity(request: web.Request) -> web.Response:
    """201 with the address of what was made."""
    user = user_of(request)
    if user is None:
        return unknown_user()
    properties = await json_object(request)
    if properties is None:
        return refusal(400, "BadRequest", "The body is no JSON object.")
    memory, definition = request.app[MEMORY], request.match_info["name"]
    if "name" in properties and memory.named(definition, properties["name"]):
        return refusal(409, "Conflict", "There is an entity of that name already.")
    entity = memory.create(definition, user, properties)
    location = str(request.url.origin() / "api" / "entities" / str(entity.number))
    headers = {"Location": location, "X-Global-Identifier": entity.global_id}
    return web.Response(status=201, body=entity.body(), content_type="application/json", headers=headers)


def entity_of(request: web.Request) -> Entity | None:
    number = request.match_info["number"]
    return request.app[MEMORY].entities.get(int(number)) if number.isdecimal() and len(number) < 12 else None


async def read_entity(request: web.Request) -> web.Response:
    """200 with an ETag, or 304 if the client has it."""
    if user_of(request) is None:
        return unknown_user()
    entity = entity_of(request)
    if entity is None:
        return not_found()
    body = entity.body()
    etag = b64encode(hashlib.sha256(body).digest()).decode()
    headers = {
        "ETag": f'"{etag}"',
        "Cache-Control": "private, no-cache",
        "Vary": "X-Auth-Token, Authorization",
    }
    if any(known.value in (etag, "*") for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, content_type="application/json", headers=headers)


async def replace_entity(request: web.Request) -> web.Response:
    entity, refused = _own_entity(request)
    if entity is None:
        return refused
    properties = await json_object(request)
    if properties is None:
        return refusal(400, "BadRequest", "The body is no JSON object.")
    entity.properties = properties
    return web.Response(status=204)


async def delete_entity(request: web.Request) -> web.Response:
    entity, refused = _own_entity(request)
    if entity is None:
        return refused
    del request.app[MEMORY].entities[entity.number]
    return web.Response(status=204)


def _own_entity(request: web.Request) -> tuple[Entity | None, web.Response]:
    """The entity, if it is the user's; else why not."""
    user = user_of(request)
    if user is None:
        return None, unknown_user()
    entity = entity_of(request)
    if entity is None:
        return None, not_found()
    if entity.owner != user:
        return None, refusal(403, "Forbidden", "The entity is somebody else's.")
    return entity, web.Response()


# --- the rest of a service's life ---


async def slow(request: web.Request) -> web.StreamResponse:
    """Lines, one after the other: ?lines=6&seconds=0.2."""
    try:
        lines, seconds = int(request.query.get("lines", "6")), float(request.query.get("seconds", "0.2"))
    except ValueError:
        lines, seconds = 0, 0.0
    if not (1 <= lines <= LINES_MAX and 0.0 <= seconds <= LINE_SECONDS_MAX):
        return refusal(
            400, "BadRequest", f"1 to {LINES_MAX} lines, {LINE_SECONDS_MAX:g} seconds apart at most."
        )
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    with suppress(ConnectionResetError):  # the client has left: nobody to write to
        for line in range(1, lines + 1):
            await response.write(f'{{"line": {line}, "of": {lines}}}\n'.encode())
            if line < lines:
                await asyncio.sleep(seconds)
        await response.write_eof()
    return response


async def boom(request: web.Request) -> web.Response:  # noqa: ARG001 - fails whatever is asked
    """500, as services fail that nobody taught discretion."""
    return web.Response(status=500, text=FAILURE, headers=FAILURE_HEADERS)


async def echo(request: web.Request) -> web.Response:
    """What arrived here."""
    body = await request.read()
    arrived = {
        "method": request.method,
        "target": request.raw_path,
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in request.raw_headers],
        "body_bytes": len(body),
        "body": body[:1024].decode("utf-8", "replace"),
    }
    return web.json_response(arrived)
