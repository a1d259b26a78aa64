"""A service not written here: httpbin through Weir is httpbin, for curl, requests, httpx and aiohttp.

Each request goes direct and through Weir; status, headers and body are compared, but for what the design names:
Date, X-Request-Id, the RateLimit fields, the framing of the hop, and what httpbin echoes of the request it got.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import io
import json
import ssl
import subprocess
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
import brotli
import httpx
import pytest
import requests
from yarl import URL

from tests.support.programs import httpbin, program
from tests.support.weir import Weir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOKEN = {"X-Auth-Token": "differential"}
BLOB = bytes(range(256)) * 40_960  # 10 MiB
PIECES = [b"first,", b"second,", b"x" * 70_000, b"last"]

# Of one hop, or of Weir by design.
UNCOMPARED = {
    "date",
    "connection",
    "keep-alive",
    "transfer-encoding",
    "x-request-id",
    "ratelimit",
    "ratelimit-policy",
}
# What httpbin shows of the request that Weir adds, or removes as a hop's own.
OF_THE_WAY = {
    "Via",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Request-Id",
    "Traceparent",
    "Connection",
}
CODINGS = {"gzip": gzip.decompress, "deflate": zlib.decompress, "br": brotli.decompress}


@dataclass(slots=True)
class Case:
    path: str
    method: str = "GET"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    is_chunked: bool = False
    auth: tuple[str, str] | None = None
    follows: bool = False  # redirects
    is_random: bool = False  # two answers differ: only status and headers are compared

    def __str__(self) -> str:
        marks = "chunked " * self.is_chunked + "followed " * self.follows + " ".join(self.headers)
        return f"{self.method} {self.path} {marks}".strip()


@dataclass(slots=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]  # names in lower case, in the order they came
    body: bytes

    @property
    def compared_headers(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self.headers if name not in UNCOMPARED]


JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
CASES = [
    *(Case(f"/status/{status}") for status in (200, 201, 202, 203, 204, 206, 300, 304, 400, 401, 402, 403, 404, 405, 406, 409, 410, 418, 422, 429, 451)),
    *(Case("/anything/a%20b%2Fc?x=1&x=2&y=%C3%A9", method) for method in ("GET", "DELETE", "OPTIONS")),
    *(Case("/anything", method, JSON, b'{"a": [1, "\xc3\xa9"]}') for method in ("POST", "PUT", "PATCH", "DELETE")),
    Case("/post", "POST", FORM, b"a=1&b=%20&a=2"),
    Case("/post", "POST", {"Content-Type": "application/octet-stream"}, bytes(range(256))),
    Case("/post", "POST", body=b""),
    Case("/post", "POST", body=b"".join(PIECES), is_chunked=True),
    Case("/put", "PUT", body=b"".join(PIECES), is_chunked=True),
    Case("/post"),  # 405 with Allow
    Case("/html"),
    Case("/html", "HEAD"),
    Case("/json"),
    Case("/xml"),
    Case("/robots.txt"),
    Case("/deny"),
    Case("/encoding/utf8"),
    Case("/image/png"),
    Case("/image/png", "HEAD"),
    Case("/image", headers={"Accept": "image/webp"}),
    Case("/get?a=b", headers={"X-Custom": "c, d", "Accept-Language": "de"}),
    Case("/get", "HEAD"),
    Case("/headers"),
    Case("/ip"),
    Case("/user-agent"),
    Case("/redirect/3"),
    Case("/redirect/3", follows=True),
    Case("/relative-redirect/2", follows=True),
    Case("/absolute-redirect/2"),
    Case("/absolute-redirect/2", follows=True),
    Case("/redirect-to?url=/get%3Fa%3Db&status_code=307"),
    Case("/redirect-to?url=/post&status_code=307", "POST", FORM, b"a=b", follows=True),
    Case("/cookies", headers={"Cookie": "a=b; c=d"}),
    Case("/cookies/set?a=b&c=d"),
    Case("/cookies/set?a=b&c=d", follows=True),
    Case("/cookies/delete?a="),
    Case("/response-headers?X-One=1&X-Two=2&X-One=3"),
    Case("/gzip"),
    Case("/deflate"),
    Case("/brotli"),
    Case("/gzip", headers={"Accept-Encoding": "identity"}),
    Case("/bytes/100000?seed=7"),
    Case("/stream-bytes/100000?seed=7&chunk_size=3000"),
    Case("/stream/20"),
    Case("/drip?numbytes=5&duration=0.3&delay=0"),
    Case("/drip?numbytes=5&duration=0.3&delay=0&code=206"),
    Case("/delay/0.3"),
    Case("/range/1024"),
    Case("/range/1024", headers={"Range": "bytes=10-99"}),
    Case("/range/1024", headers={"Range": "bytes=-50"}),
    Case("/range/1024", headers={"Range": "bytes=5000-"}),
    Case("/etag/abc"),
    Case("/etag/abc", headers={"If-None-Match": '"abc"'}),
    Case("/etag/abc", headers={"If-None-Match": '"other"'}),
    Case("/etag/abc", headers={"If-Match": '"other"'}),
    Case("/cache", is_random=True),  # its ETag is new each time
    Case("/cache", headers={"If-None-Match": "x"}),
    Case("/cache/60", is_random=True),
    Case("/basic-auth/u/p"),
    Case("/basic-auth/u/p", auth=("u", "p")),
    Case("/basic-auth/u/p", auth=("u", "wrong")),
    Case("/hidden-basic-auth/u/p"),
    Case("/bearer", headers={"Authorization": "Bearer t"}),
    Case("/base64/V2VpciBob2xkcw=="),
    Case("/links/3/0"),
    Case("/nowhere"),
]  # fmt: skip


# --- clients ---


def by_curl(base: str, case: Case) -> Answer:
    command = [
        program("curl"),
        "--silent",
        "--show-error",
        "--http1.1",
        "--max-time",
        "20",
        "--request",
        case.method,
    ]
    command += ["--dump-header", "/dev/stderr", "--output", "-", "--path-as-is"]
    if case.method == "HEAD":
        command = [word for word in command if word not in ("--request", "HEAD")] + ["--head"]
    for name, value in (TOKEN | case.headers).items():
        command += ["--header", f"{name}: {value}"]
    if case.follows:
        command += ["--location", "--cookie", ""]
    if case.auth:
        command += ["--user", ":".join(case.auth)]
    if case.is_chunked:
        command += ["--header", "Transfer-Encoding: chunked"]
    if case.body is not None:
        command += ["--data-binary", "@-"]
        if "Content-Type" not in case.headers:
            command += ["--header", "Content-Type:"]
    done = subprocess.run(
        [*command, base + case.path], input=case.body, capture_output=True, check=False, timeout=25
    )
    assert done.returncode == 0, done.stderr
    heads = [head for head in done.stderr.decode("latin-1").replace("\r\n", "\n").split("\n\n") if head]
    start, *lines = heads[-1].split("\n")
    headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    return Answer(int(start.split()[1]), headers, b"" if case.method == "HEAD" else done.stdout)


def by_requests(base: str, case: Case) -> Answer:
    with requests.Session() as session:
        session.trust_env = False
        response = session.request(
            case.method,
            base + case.path,
            headers=TOKEN | case.headers,
            data=iter(pieces(case.body)) if case.is_chunked else case.body,
            auth=case.auth,
            allow_redirects=case.follows,
            timeout=20,
            stream=True,
        )
        headers = [(name.lower(), value) for name, value in response.raw.headers.iteritems()]
        return Answer(response.status_code, headers, response.raw.read(decode_content=False))


# Nothing here is by TLS, for which httpx would load the world's authorities for each client.
TRUSTING_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def by_httpx(base: str, case: Case) -> Answer:
    with httpx.Client(
        trust_env=False, verify=TRUSTING_NOBODY, timeout=20, follow_redirects=case.follows
    ) as client:
        content = iter(pieces(case.body)) if case.is_chunked else case.body
        arguments = {"auth": case.auth} if case.auth else {}
        with client.stream(
            case.method, base + case.path, headers=TOKEN | case.headers, content=content, **arguments
        ) as response:
            body = b"".join(response.iter_raw())
        return Answer(response.status_code, [(n.lower(), v) for n, v in response.headers.multi_items()], body)


def by_aiohttp(base: str, case: Case) -> Answer:
    return asyncio.run(_by_aiohttp(base, case))


async def _by_aiohttp(base: str, case: Case) -> Answer:
    async def chunks():
        for piece in pieces(case.body):
            yield piece

    auth = (
        {"Authorization": "Basic " + base64.b64encode(":".join(case.auth).encode()).decode()}
        if case.auth
        else {}
    )
    body = chunks() if case.is_chunked else io.BytesIO(case.body) if case.body else case.body
    timeout = aiohttp.ClientTimeout(20)
    async with (
        aiohttp.ClientSession(auto_decompress=False, timeout=timeout) as session,
        session.request(
            case.method,
            URL(base + case.path, encoded=True),
            headers=TOKEN | case.headers | auth,
            data=body,
            allow_redirects=case.follows,
        ) as response,
    ):
        body = await response.read()
        headers = [
            (n.decode().lower(), v.decode("utf-8", "surrogateescape")) for n, v in response.raw_headers
        ]
        return Answer(response.status, headers, body)


def pieces(body: bytes | None) -> list[bytes]:
    assert body is not None
    return [body[i : i + 50_000] for i in range(0, len(body), 50_000)]


CLIENTS: list[Callable[[str, Case], Answer]] = [by_curl, by_requests, by_httpx, by_aiohttp]


# --- direct and through Weir ---


@pytest.fixture(scope="module")
def direct(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with httpbin(tmp_path_factory.mktemp("httpbin")) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def gate(direct: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weir]:
    """With a limit, so that the fields of one are there; nobody reaches it."""
    weir = Weir(tmp_path_factory.mktemp("weir"), direct)
    weir.write_config({"limits": [{"name": "per-user", "key": ["header:X-Auth-Token"], "rate": "100000/s"}]})
    weir.start()
    yield weir
    weir.stop()


def neutral(answer: Answer, base: str) -> list[object]:
    """The body, as lines of JSON where it is that, without what must differ."""
    coding = dict(answer.headers).get("content-encoding")
    body = CODINGS[coding](answer.body) if coding and answer.body else answer.body
    text = body.replace(base.removeprefix("http://").encode(), b"HOST")
    try:
        shown = [json.loads(text)]
    except ValueError:
        try:
            shown = [json.loads(line) for line in text.splitlines()]
        except ValueError:
            return [text]
    return [without_way(part) for part in shown]


def without_way(shown: object) -> object:
    if isinstance(shown, dict) and isinstance(shown.get("headers"), dict):
        shown["headers"] = {name: value for name, value in shown["headers"].items() if name not in OF_THE_WAY}
    return shown


def neutral_headers(answer: Answer, base: str, case: Case, *, echoes: bool) -> list[tuple[str, str]]:
    """An echo is longer by what Weir adds to the request; a random answer has its own validators."""
    host = base.removeprefix("http://")
    left_out = {"content-length"} if echoes else set()
    left_out |= {"etag", "last-modified"} if case.is_random else set()
    return [
        (name, value.replace(host, "HOST")) for name, value in answer.compared_headers if name not in left_out
    ]


def shows_request(answer: Answer, base: str) -> bool:
    """Whether the body tells of the request's headers."""
    return any(isinstance(part, dict) and "headers" in part for part in neutral(answer, base))


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__.removeprefix("by_"))
@pytest.mark.parametrize("case", CASES, ids=str)
def test_answer_equals_the_direct_one(direct, gate, client, case):
    """Status, headers in their order with their values, and body."""
    with gate.watched():
        plain, passed = client(direct, case), client(gate.url, case)
    echoes = shows_request(plain, direct) or (case.method == "HEAD" and case.path == "/get")
    heads = [
        neutral_headers(a, base, case, echoes=echoes) for a, base in ((plain, direct), (passed, gate.url))
    ]

    assert passed.status == plain.status
    assert heads[1] == heads[0]
    if not case.is_random:
        assert neutral(passed, gate.url) == neutral(plain, direct)
    assert {"x-request-id", "ratelimit", "ratelimit-policy"} <= {name for name, _ in passed.headers}


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__.removeprefix("by_"))
@pytest.mark.parametrize("is_chunked", [False, True], ids=["length", "chunked"])
def test_ten_megabytes_up_arrive(direct, gate, client, is_chunked):
    """httpbin counts what came; the echo of ten megabytes comes back too."""
    case = Case("/post", "POST", {"Content-Type": "application/octet-stream"}, BLOB, is_chunked=is_chunked)
    with gate.watched():
        plain, passed = client(direct, case), client(gate.url, case)
    data = [
        hashlib.sha256(json.loads(answer.body)["data"].encode()).hexdigest() for answer in (plain, passed)
    ]

    assert passed.status == plain.status == 200
    assert data[0] == data[1]
    assert len(passed.body) > len(BLOB)


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.__name__.removeprefix("by_"))
@pytest.mark.parametrize("number", [500, 501, 502, 503, 504])
def test_failures_keep_status_and_lose_details(direct, gate, client, number):
    """The one difference that is meant."""
    with gate.watched():
        passed = client(gate.url, Case(f"/status/{number}"))
    problem = json.loads(passed.body)

    assert (passed.status, problem["status"]) == (number, number)
    assert dict(passed.headers)["content-type"] == "application/problem+json"
    assert "server" not in dict(passed.headers)


def test_lines_stream_as_they_are_made(direct, gate):
    """/drip through Weir takes as long, and its bytes come one by one, not at the end."""
    sizes = {}
    for base in (direct, gate.url):
        with httpx.Client(trust_env=False, timeout=20) as client, client.stream("GET", f"{base}/drip?numbytes=4&duration=2&delay=0", headers=TOKEN) as response:  # fmt: skip
            sizes[base] = [len(piece) for piece in response.iter_raw()]

    assert sizes[gate.url] == sizes[direct] == [1, 1, 1, 1]


def test_redirects_go_through_weir(gate):
    """An absolute Location names the host that the client asked, not the origin."""
    answer = by_requests(gate.url, Case("/absolute-redirect/1"))

    assert dict(answer.headers)["location"] == f"{gate.url}/get"


def test_origin_sees_the_client_and_the_way(gate):
    """What httpbin reports of it: the address, the host, and each field once."""
    shown = json.loads(by_httpx(gate.url, Case("/anything?show_env=1")).body)

    assert shown["origin"] == "127.0.0.1"
    assert shown["url"].startswith(gate.url)
    assert shown["headers"]["X-Forwarded-For"] == "127.0.0.1"
    assert shown["headers"]["Via"] == "1.1 weir"
