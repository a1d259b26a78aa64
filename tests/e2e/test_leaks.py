"""How real stacks fail, and what of it a client sees: the answers that record.py recorded, through a running Weir."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from tests.support.messages import get

CORPUS = sorted((Path(__file__).parent / "leaks" / "corpus").iterdir())
FAILING = [path for path in CORPUS if path.read_bytes()[9:10] == b"5"]
# What each way of failing must leave in the log, whatever the stack, and what not even the log may hold.
TOLD = {
    "refused": "db01.corp.example",
    "sql": r"card_number|customers",
    "file": r"production\.pem",
    "key": "region",
    "assertion": r"ana@shop\.example",
}
SECRETS = ("Tr0ub4dor-9", "s3cr3t-pw", "hk-4f9a1c77d2", "c2lnbmF0dXJlLW9mLWFuYQ", "django-insecure-8c1e")


def name_of(path: Path) -> str:
    return path.stem


def answers() -> dict[bytes, bytes]:
    """By target: each recorded answer as it was, some of them compressed too, and one without a body a status."""
    found = {f"/{path.stem}".encode(): path.read_bytes() for path in CORPUS}
    found |= {f"/{path.stem}?gzip".encode(): compressed(path.read_bytes()) for path in FAILING}
    for status in (500, 502, 503):
        found[b"/plain-%d" % status] = b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status
    return found


def compressed(raw: bytes) -> bytes:
    """The same, as a service with compression would send it."""
    head, _, body = raw.partition(b"\r\n\r\n")
    if b"chunked" in head.lower():
        return raw
    kept = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
    packed = gzip.compress(body, mtime=0)
    lines = [*kept, b"Content-Encoding: gzip", b"Content-Length: %d" % len(packed)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + packed


@pytest.fixture(scope="module")
def references() -> dict[str, bytes]:
    """By status, what a failure without any detail looks like."""
    return {}


@pytest.fixture
async def failing_service(origin):
    """Sends what was recorded, and closes as the recorded server did."""
    recorded = answers()

    async def script(visit):
        if (request := await visit.request()) is not None:
            await visit.send(recorded[request.target])

    origin.script = script
    return origin


def neutral(raw: bytes) -> bytes:
    """An answer without what is its own: the request id, the moment, and policies for browsers, which stay."""
    request_id = re.search(rb"X-Request-Id: (\S+)", raw)[1]
    raw = re.sub(rb"(?:Content-Security-Policy|X-Content-Type-Options): [^\r]*\r\n", b"", raw)
    return re.sub(rb"Date: [^\r]*", b"Date:", raw.replace(request_id, b"<id>"))


async def asked(connect, weir, target: str) -> bytes:
    """Every byte of the answer."""
    wire = await connect(weir)
    await wire.send(get("Connection: close", target=target))
    return await wire.rest()


@pytest.mark.parametrize("coding", ["", "?gzip"], ids=["as it was", "gzip"])
@pytest.mark.parametrize("case", FAILING, ids=name_of)
async def test_client_learns_the_status_and_nothing_else(
    case, coding, references, weir, failing_service, connect
):
    """To the byte what a failure without any detail looks like; the log has the details, but for secrets."""
    weir.tolerates_complaints = True  # the tracebacks in its log are the service's
    raw = await asked(connect, weir, f"/{case.stem}{coding}")
    status = raw[9:12].decode()
    if status not in references:  # asked once: the log takes no more than 20 originals a second
        references[status] = neutral(await asked(connect, weir, f"/plain-{status}"))
    request_id = re.search(rb"X-Request-Id: (\S+)", raw)[1].decode()
    line = await weir.logged(lambda line: line.get("request_id") == request_id)

    assert neutral(raw) == references[status]
    assert line["event"] == "redacted"
    assert re.search(TOLD[case.stem.rpartition("-")[2]], f"{line['reason']} {line['body']}")
    assert [secret for secret in SECRETS if secret in str(line)] == []


def test_corpus_is_large_enough():
    """Of twenty stacks; each answer holds what must not leave, so that the test above can fail."""
    stacks = {path.stem.rpartition("-")[0] for path in FAILING}
    telling = [p for p in FAILING if re.search(TOLD[p.stem.rpartition("-")[2]], p.read_text("latin-1"))]

    assert len(FAILING) >= 80
    assert len(stacks) >= 20
    assert telling == FAILING
