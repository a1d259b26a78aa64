"""Raw answers of a service, one file each in `answers/`, and what becomes of them and of the next request.

`refused-502-...`: an error object. `broken-...`: the head is through, the client sees that the body broke off.
`passes-...`: the answer as it is; `spent-...` too, but its connection carries nothing else. A title that ends in
`-closes` says that the service closes behind it, `-to-head` that it was asked by HEAD. Padding is made as in corpus.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.corpus import message
from tests.support.messages import answer, get
from tests.support.wire import Broken

CASES = sorted((Path(__file__).parent / "answers").glob("*.answer"), key=lambda path: path.stem)


def serving(case):
    """A service that gives this answer to /case, and a plain one to what else comes on the connection."""

    async def script(visit):
        while (request := await visit.request()) is not None:
            if request.target != b"/case":
                await visit.send(answer(200, b"next"))
                continue
            try:
                await visit.send(message(case))
            except ConnectionError:
                return  # Weir has seen enough
            if case.stem.endswith("-closes"):
                return

    return script


def test_corpus_is_whole():
    assert len(CASES) >= 90
    assert {case.stem.partition("-")[0] for case in CASES} == {"refused", "broken", "passes", "spent"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
async def test_answer_harms_nobody(start_bench, start_origin, connect, case):
    """As its name says, and the next request is answered by its own answer."""
    verdict = case.stem.partition("-")[0]
    method = "HEAD" if "to-head" in case.stem else "GET"
    origin = await start_origin(serving(case))
    bench = await start_bench(origin)
    wire = await connect(bench)
    await wire.send(get(target="/case", method=method))
    if verdict == "broken":
        with pytest.raises(Broken):
            await wire.response(method)
        assert wire.received.startswith(b"HTTP/1.1 200 ")
        wire = await connect(bench)
    else:
        response = await wire.response(method)
        assert_verdict(response, verdict, message(case))
    await wire.send(get(target="/next"))
    after = await wire.response()
    visit = next(n for n, each in enumerate(origin.visits) if b"/next" in each.received)

    assert (after.status, after.body) == (200, b"next")
    assert (visit == 0) == (verdict == "passes"), "reused" if visit == 0 else "not reused"
    assert [request.target for request in origin.requests] == [b"/case", b"/next"]
    outcome = {"refused": "faulted", "broken": "faulted"}.get(verdict, "served")
    assert bench.ledger.outcomes == [outcome, "served"]


def assert_verdict(response, verdict, sent):
    if verdict == "refused":
        assert response.status == 502
        assert response.value("Content-Type") == b"application/problem+json"
        assert b"127.0.0.1" not in response.body
        return
    head = [part for part in sent.split(b"\r\n\r\n") if part.startswith(b"HTTP/1.")]
    final = next(part for part in head if not part.startswith(b"HTTP/1.1 10"))
    assert response.status == int(final.split(b" ")[1])
    assert response.body in (b"hello", b"")
