from __future__ import annotations

import hashlib
import json
from base64 import b64encode

import pytest
from yarl import URL

from proxy.contract.promises import Contract
from proxy.demo.service import (
    BODY_BYTES_MAX,
    ENTITIES_MAX,
    FAILURE_HEADERS,
    MEMORY,
    TOKENS_MAX,
    Memory,
    sample_service,
)

MAKE = "/api/entitydefinitions/Asset/entities"


@pytest.fixture
async def service(aiohttp_client):
    return await aiohttp_client(sample_service())


@pytest.fixture
async def ana(service):
    return await token_of(service, "ana")


async def token_of(service, user):
    """As a header, for further requests."""
    answer = await service.post("/api/authenticate", json={"user_name": user, "password": "demo"})
    return {"X-Auth-Token": (await answer.json())["token"]}


async def status_and_code(answer):
    """Every error object of this service has the same two members."""
    said = await answer.json()
    assert set(said) == {"errorCode", "message"}
    assert (
        Contract().violations(answer.status, {name.lower().encode(): b"x" for name in answer.headers}) == ()
    )
    return answer.status, said["errorCode"]


async def test_an_entity_lives(service, ana):
    """201 with both fields, 200 with an ETag, 204 when it is replaced and when it goes, then 404."""
    made = await service.post(MAKE, json={"name": "poster"}, headers=ana)
    place = made.headers["Location"]
    read = await service.get(place.removeprefix(str(service.make_url("/"))[:-1]), headers=ana)
    body = await read.read()
    replaced = await service.put(read.url.path, json={"name": "banner"}, headers=ana)
    changed = await service.get(read.url.path, headers=ana)
    deleted = await service.delete(read.url.path, headers=ana)
    gone = await service.get(read.url.path, headers=ana)

    assert made.status == 201
    assert len(made.headers["X-Global-Identifier"]) == 22
    assert place.startswith("http://127.0.0.1")
    assert read.headers["ETag"] == '"' + b64encode(hashlib.sha256(body).digest()).decode() + '"'
    assert json.loads(body)["properties"] == {"name": "poster"}
    assert (replaced.status, deleted.status) == (204, 204)
    assert "Content-Length" not in replaced.headers
    assert (await changed.json())["properties"] == {"name": "banner"}
    assert changed.headers["ETag"] != read.headers["ETag"]
    assert await status_and_code(gone) == (404, "NotFound")


@pytest.mark.parametrize(
    ("given", "status"), [("{}", 304), ("W/{}", 304), ('"x", {}', 304), ("*", 304), ('"x"', 200)]
)
async def test_a_copy_that_is_good_is_not_sent_again(service, ana, given, status):
    """304 has the ETag and no body."""
    made = await service.post(MAKE, json={}, headers=ana)
    target = "/api/entities/" + str((await made.json())["id"])
    etag = (await service.get(target, headers=ana)).headers["ETag"]
    again = await service.get(target, headers=ana | {"If-None-Match": given.format(etag)})

    assert again.status == status
    assert again.headers["ETag"] == etag
    assert bool(await again.read()) == (status == 200)


async def test_refusals_have_error_objects(service, ana):
    """400, 401, 403, 404, 405, 409 and 413, each as the contract says."""
    await service.post(MAKE, json={"name": "one"}, headers=ana)
    of_ana = await service.post(MAKE, json={"name": "two"}, headers=ana)
    target = "/api/entities/" + str((await of_ana.json())["id"])
    ben = await token_of(service, "ben")
    wrong = {"user_name": "ana", "password": "wröng"}

    assert await status_and_code(await service.post(MAKE, data=b"[", headers=ana)) == (400, "BadRequest")
    assert await status_and_code(await service.put(target, data=b"[]", headers=ana)) == (400, "BadRequest")
    assert await status_and_code(await service.post("/api/authenticate", data=b"")) == (400, "BadRequest")
    assert await status_and_code(await service.post("/api/authenticate", json=wrong)) == (
        401,
        "NotAuthenticated",
    )
    for method, path in (("GET", "/api/entities"), ("POST", MAKE), ("GET", target), ("DELETE", target)):
        assert await status_and_code(await service.request(method, path)) == (401, "NotAuthenticated")
    assert await status_and_code(await service.delete(target, headers=ben)) == (403, "Forbidden")
    assert await status_and_code(await service.get("/nowhere")) == (404, "NotFound")
    assert await status_and_code(await service.get("/api/entities/x", headers=ana)) == (404, "NotFound")
    assert await status_and_code(await service.delete("/api/entities/99", headers=ana)) == (404, "NotFound")
    assert await status_and_code(await service.patch(target, headers=ana)) == (405, "MethodNotAllowed")
    assert await status_and_code(await service.post(MAKE, json={"name": "one"}, headers=ana)) == (
        409,
        "Conflict",
    )
    big = await service.post(MAKE, data=b"x" * (BODY_BYTES_MAX + 1), headers=ana)
    assert (await status_and_code(big))[0] == 413


async def test_a_401_says_how_and_a_405_what_else(service):
    """WWW-Authenticate and Allow."""
    unknown = await service.put("/api/entities/1", json={})
    patched = await service.patch("/api/entities/1")

    assert unknown.headers["WWW-Authenticate"].startswith("Bearer")
    assert patched.headers["Allow"] == "DELETE,GET,HEAD,PUT"


async def test_a_bearer_token_is_as_good(service, ana):
    """The service takes both headers."""
    answer = await service.get("/api/entities", headers={"Authorization": f"Bearer {ana['X-Auth-Token']}"})

    assert (answer.status, await answer.json()) == (200, {"total": 0, "items": []})


async def test_a_failure_tells_everything(service):
    """Which is what a gateway is for."""
    answer = await service.get("/boom")
    said = await answer.text()

    assert answer.status == 500
    assert "SELECT" in said
    assert "Password=" in said
    assert {name: answer.headers[name] for name in FAILURE_HEADERS} == FAILURE_HEADERS


async def test_lines_come_one_by_one(service):
    """As many as were asked for."""
    answer = await service.get("/slow?lines=3&seconds=0")

    assert [json.loads(line)["line"] for line in (await answer.text()).splitlines()] == [1, 2, 3]
    assert "Content-Length" not in answer.headers


@pytest.mark.parametrize(
    "query", ["lines=x", "lines=0", "lines=101", "seconds=-1", "seconds=nan", "seconds=3", "lines=9e9"]
)
async def test_nobody_can_ask_for_lines_without_end(service, query):
    """Or for none, or at no pace."""
    assert await status_and_code(await service.get(f"/slow?{query}")) == (400, "BadRequest")


async def test_echo_says_what_arrived(service):
    """Method, target byte for byte, headers as written, body."""
    answer = await service.patch(URL("/echo?a=%2Fb", encoded=True), data=b"abc", headers={"X-CaSe": "1"})
    said = await answer.json()

    assert (said["method"], said["target"], said["body_bytes"], said["body"]) == (
        "PATCH",
        "/echo?a=%2Fb",
        3,
        "abc",
    )
    assert ["X-CaSe", "1"] in said["headers"]


async def test_the_index_names_every_route(service):
    """So that a newcomer finds the way."""
    routes = (await (await service.get("/")).json())["routes"]

    assert {"GET /boom", "GET /slow", "POST /api/authenticate", "PUT /api/entities/{number}"} <= set(routes)


def test_the_memory_is_bounded():
    """The oldest goes first, entities and tokens alike."""
    memory = Memory()
    tokens = [memory.sign_in("ana") for _ in range(TOKENS_MAX + 1)]
    entities = [memory.create("Asset", "ana", {}) for _ in range(ENTITIES_MAX + 1)]

    assert (len(memory.tokens), len(memory.entities)) == (TOKENS_MAX, ENTITIES_MAX)
    assert tokens[0] not in memory.tokens
    assert tokens[-1] in memory.tokens
    assert entities[0].number not in memory.entities


def test_two_services_share_nothing():
    """Each has its own memory."""
    one, other = sample_service()[MEMORY], sample_service()[MEMORY]
    one.create("Asset", "ana", {})

    assert not other.entities
