"""`contract.rules`: what is asked of answers can be said for each status; who breaks it passes, and is counted."""

from __future__ import annotations

import pytest

from tests.e2e.test_reload import reloaded, replaced
from tests.e2e.test_start import GOOD, file
from tests.support.messages import answer, chunked, get
from tests.support.origin import answering
from tests.support.weir import run

JSON = "Content-Type: application/json"
SETTINGS = {
    "contract": {
        "rules": [
            {"status": 200, "headers": ["ETag"], "media_types": ["application/json", "text/*"]},
            {"status": 201, "headers": ["Location"]},
            {"status": "202-203", "body": "required"},
            {"status": 401, "headers": []},
            {"status": 404, "body": "none"},
        ]
    }
}
CHUNKED = b"HTTP/1.1 %b\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def counts():
    """Of the last scrape: with one for each test they stay below the ration of scrapes."""
    return {}


@pytest.fixture
async def judge(weir, origin, connect, counts):
    """The rules that an answer breaks, and what the client saw of it."""
    return await judged_by(weir, origin, connect, counts)


async def judged_by(weir, origin, connect, counts):
    replies: list[bytes] = []
    origin.script = answering(lambda request: replies[0])
    wire = await connect(weir)

    def counted():
        """The rules that count more than at the last scrape."""
        before = dict(counts)
        for labels, count in weir.metrics().samples("weir_contract_violations_total"):
            counts[labels["rule"], labels["status"]] = count
        return {key[0] for key, count in counts.items() if count > before.get(key, 0)}

    async def judged(said, method="GET"):
        replies[:] = [said]
        await wire.send(get(method=method))
        response = await wire.response(method)
        return response, counted()

    return judged


@pytest.mark.parametrize(
    ("said", "rules"),
    [
        (answer(200, b"{}", JSON, 'ETag: "a"'), set()),
        (answer(200, b"x", "Content-Type: text/csv; header=present", 'ETag: "a"'), set()),
        (answer(200, b"<p>", "Content-Type: image/png"), {"missing_etag", "media_type"}),
        (answer(200, b"{}"), {"missing_etag", "media_type"}),
        (CHUNKED % b"200 OK" + chunked(b"{}"), {"missing_etag", "media_type"}),
        (answer(200, b"", 'ETag: "a"'), set()),
        (answer(201, b"", "Location: /17"), set()),
        (answer(201, b"", "X-Global-Identifier: 17"), {"missing_location"}),
        (answer(202, b""), {"missing_body"}),
        (answer(203, b"x"), set()),
        (CHUNKED % b"203 Fine" + chunked(), set()),
        (answer(204, b"", length=False), set()),
        (answer(401, b""), set()),
        (answer(404, b"gone"), {"unexpected_body"}),
        (answer(405, b""), {"missing_allow"}),
        (answer(500, b""), set()),
    ],
)
async def test_answers_are_judged_by_the_table_in_force(judge, said, rules):
    """They pass as they are, whatever they break."""
    response, broken = await judge(said)

    assert broken == rules
    assert response.status == int(said.split()[1])


async def test_answer_to_head_is_judged_by_what_it_tells(judge):
    """Its Content-Length is that of the body which a GET would bring."""
    _, kept = await judge(answer(203, b"xyz")[:-3], "HEAD")
    _, broken = await judge(answer(404, b"xyz")[:-3], "HEAD")

    assert kept == set()
    assert broken == {"unexpected_body"}


async def test_reload_changes_the_table(start_weir, start_origin, connect):
    """On a connection that is open."""
    origin = await start_origin()
    weir = start_weir(SETTINGS, upstream=origin)
    judge = await judged_by(weir, origin, connect, {})
    _, before = await judge(answer(200, b"", 'ETag: "a"'))
    await reloaded(weir, replaced(weir, {"contract": {"rules": [{"status": 200, "headers": ["X-New-1"]}]}}))
    _, after = await judge(answer(200, b"", 'ETag: "a"'))
    _, default = await judge(answer(201, b""))

    assert (before, after) == (set(), {"missing_new_1"})
    assert default == {"missing_location", "missing_global_identifier"}


def test_check_shows_the_table_in_force(tmp_path):
    """Without what is replaced before the client sees it."""
    rules = (
        "contract:\n  rules:\n    - {status: 200-299, media_types: [application/json, text/*]}\n"
        "    - {status: 401, headers: []}\n    - {status: 403-599, body: required}\n"
    )
    result = run("check", str(file(tmp_path, f"{GOOD}errors: {{redact: [430-599]}}\n{rules}")))

    assert result.returncode == 0
    assert [line.split(None, 1) for line in result.stdout.splitlines() if line.startswith("  ")] == [
        ["200", "is application/json or text/*"],
        ["201", "has Location, has X-Global-Identifier, is application/json or text/*"],
        ["202-203", "is application/json or text/*"],
        ["204", "has no body"],
        ["205-299", "is application/json or text/*"],
        ["304", "has no body"],
        ["403-404", "has a body"],
        ["405", "has Allow, has a body"],
        ["406-428", "has a body"],
        ["429", "has Retry-After, has a body"],
    ]


@pytest.mark.parametrize(
    ("entry", "place", "word"),
    [
        ("{status: 99, body: any}", "4:16", "99"),
        ("{status: 600, body: any}", "4:16", "between 100 and 599"),
        ("{status: 500-400, body: any}", "4:16", "write 400-500"),
        ("{status: 200, media_types: [json]}", "4:35", "must be a media type"),
        ("{status: 200, body: nothing}", "4:27", "required, none or any"),
        ("{status: 201, headers: [A]}", "4:16", "201 is in the entry for 201 already"),
        ("{status: 202}", "4:7", "says nothing of 202"),
    ],
)
def test_bad_rule_is_refused_with_its_place(tmp_path, entry, place, word):
    """`weir check`, exit 2."""
    path = file(tmp_path, f"contract:\n  rules:\n    - {{status: 201, body: any}}\n    - {entry}\n{GOOD}")
    result = run("check", str(path))

    assert result.returncode == 2
    assert result.stderr.startswith(f"{path}:{place}: contract.rules[1]")
    assert word in result.stderr
