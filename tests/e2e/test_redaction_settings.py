"""What the config may change of redaction: which statuses, which members, which shape."""

from __future__ import annotations

import json

import pytest

from tests.e2e.test_redaction import PLAIN, SECRET, TRACE, assert_redacted
from tests.support.messages import answer, get
from tests.support.origin import answering


async def test_range_can_be_chosen(start_weir, start_origin, ask):
    """Only these statuses."""
    origin = await start_origin(answering(lambda request: answer(int(request.target[1:]), TRACE, PLAIN)))
    weir = start_weir({"errors": {"redact": ["502-504", 418]}}, upstream=origin)
    for status in (502, 503, 504, 418):
        assert_redacted(await ask(weir, get(target=f"/{status}")), status)
    for status in (500, 501, 505, 400):
        assert (await ask(weir, get(target=f"/{status}"))).body == TRACE


async def test_members_of_an_error_object_may_stay(start_weir, start_origin, ask):
    """Those that are allowed; never in place of our own."""
    body = json.dumps(
        {"errorCode": "E17", "message": SECRET, "stack": TRACE.decode(), "status": 1, "requestId": "theirs"}
    )
    origin = await start_origin(answering(answer(500, body.encode(), "Content-Type: application/json")))
    weir = start_weir({"errors": {"keep_members": ["errorCode", "status"]}}, upstream=origin)
    response = await ask(weir, get())

    assert_redacted(response)
    assert response.json()["errorCode"] == "E17"
    assert "stack" not in response.json()


@pytest.mark.parametrize(
    "body",
    [
        b'{"errorCode": ',
        b"[1, 2]",
        b"null",
        b'{"errorCode": {"deep": "Acme.Hub.Store.OpenConnection"}}',
        b"\xff",
    ],
)
async def test_odd_error_objects_are_redacted_whole(start_weir, start_origin, ask, body):
    """What is no object, or no plain value, has no members to keep."""
    origin = await start_origin(answering(answer(500, body, "Content-Type: application/json")))
    weir = start_weir({"errors": {"keep_members": ["errorCode"]}}, upstream=origin)

    assert_redacted(await ask(weir, get()))


async def test_error_object_may_have_the_services_shape(start_weir, start_origin, ask):
    """A template is used for redacted answers, refusals at the door and refusals by a limit."""
    template = (
        '{"error": {"code": "{status}", "message": "{title}", "ticket": "{request_id}", "why": "{detail}"}}'
    )
    origin = await start_origin(answering(answer(500, TRACE, PLAIN)))
    weir = start_weir(
        {
            "errors": {"format": {"content_type": "application/vnd.acme+json", "body": template}},
            "limits": [{"name": "one", "rate": "1/m", "key": ["const"]}],
        },
        upstream=origin,
    )
    responses = [await ask(weir, data) for data in (get(), get(), b"BAD\r\n\r\n")]

    assert [r.status for r in responses] == [500, 429, 400]
    for response in responses:
        error = response.json()["error"]
        assert response.value("Content-Type") == b"application/vnd.acme+json"
        assert error["code"] == str(response.status)
        assert error["ticket"].encode() == response.value("X-Request-Id")
        assert error["message"]
        assert SECRET.encode() not in response.body
