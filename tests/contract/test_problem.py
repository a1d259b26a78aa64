from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from proxy import faults
from proxy.config.loader import loads
from proxy.config.sections.answers import ErrorSettings
from proxy.contract.problem import (
    ROWS_MAX,
    ProblemLayout,
    Problems,
    TemplateLayout,
    escaped,
    form_of,
    problem_head_lines,
    title_of,
)

ID = "4bf92f3577b34da6a3ce929d0e0e4736"
OWN = '{"error": {"code": {status}, "text": "{status} {title}", "why": "{detail}", "ticket": "{request_id}"}}'


def problems() -> Problems:
    return Problems(ProblemLayout())


def templated(template: str, content_type: str = "application/json") -> Problems:
    return Problems(TemplateLayout(content_type, template))


def answer(
    problems: Problems, status: int, detail: str | None, request_id: str, violated: tuple[str, ...] = ()
) -> tuple[bytes, bytes]:
    """The header lines and the body, put together as for a client."""
    id_bytes = escaped(request_id).encode()
    lines, pieces = problems.pieces(status, detail, len(id_bytes), violated)
    return lines, id_bytes.join(pieces)


def header(lines: bytes, name: bytes) -> bytes:
    (value,) = [line.split(b": ", 1)[1] for line in lines.split(b"\r\n") if line.startswith(name + b":")]
    return value


def test_a_problem_says_what_rfc_9457_asks_for():
    """Type, title and status of the standard, the occurrence as a URI, and the id to search the log for."""
    lines, body = answer(problems(), 503, "Too many connections are open.", ID)

    assert json.loads(body) == {
        "type": "about:blank",
        "title": "Service Unavailable",
        "status": 503,
        "detail": "Too many connections are open.",
        "instance": f"urn:weir:request:{ID}",
        "requestId": ID,
    }
    assert header(lines, b"Content-Type") == b"application/problem+json"


def test_a_refusal_names_the_limits():
    """429 has the registered type of a used-up quota, and the names of those that refused."""
    _, body = answer(problems(), 429, None, ID, ("per-user", "per-plan"))

    said = json.loads(body)
    assert said["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert said["violated-policies"] == ["per-user", "per-plan"]
    assert "detail" not in said


@pytest.mark.parametrize("fault", [f for f in faults.FAULTS.values() if f.status], ids=lambda f: f.reason)
def test_every_fault_has_an_error_object(fault):
    """Each row of the fault table that is answered becomes a problem with its status and a title."""
    _, body = answer(problems(), fault.status, fault.detail, ID)

    said = json.loads(body)
    assert (said["status"], said["detail"]) == (fault.status, fault.detail)
    assert said["title"] == title_of(fault.status) != ""


def test_answers_are_not_to_be_stored():
    """The header lines of every answer: its length to the byte, and no-store."""
    for made in (problems(), templated(OWN)):
        lines, body = answer(made, 500, None, ID)

        assert lines.endswith(b"\r\n")
        assert header(lines, b"Content-Length") == b"%d" % len(body)
        assert header(lines, b"Cache-Control") == b"no-store"
        assert lines.count(b"\r\n") == 3
        assert sorted(problem_head_lines(made.content_type, body).split(b"\r\n")) == sorted(
            lines.split(b"\r\n")
        )


def test_the_hot_way_and_the_plain_way_agree():
    """`answer`, which joins pieces, gives what `body`, which renders, gives."""
    for made in (problems(), templated(OWN)):
        _, joined = answer(made, 429, "x", ID)

        assert (made.content_type, joined) == made.body(429, "x", ID)


def test_each_answer_has_its_own_request_id():
    """What is remembered of a kind of answer is never the id of another request."""
    made = problems()
    first = answer(made, 429, "x", "a" * 32, ("per-user",))
    second = answer(made, 429, "x", "b-1/2", ("per-user",))
    third = answer(made, 429, "x", "c" * 32, ("other",))

    assert b"b-1/2" not in first[1]
    assert b"aaa" not in second[1] + third[1]
    assert json.loads(second[1])["requestId"] == "b-1/2"
    assert json.loads(third[1])["violated-policies"] == ["other"]


def test_kinds_of_answers_are_bounded():
    """However many details there are, what is remembered stays small."""
    made = problems()
    for number in range(ROWS_MAX * 2 + 10):
        _, body = answer(made, 400, f"detail {number}", ID)

        assert json.loads(body)["detail"] == f"detail {number}"
    assert len(made._rows) <= ROWS_MAX


def test_statuses_without_a_phrase_have_the_title_of_their_class():
    """599 and 499 are in nobody's table."""
    assert title_of(599) == "Server Error"
    assert title_of(499) == "Client Error"
    assert title_of(404) == "Not Found"


# --- members of the original ---


def test_kept_members_come_behind_the_own_ones():
    """A member that the config lets through is added; it never replaces one of ours."""
    _, body = problems().body(500, None, ID, members={"errorCode": "E-17", "status": 200, "requestId": "x"})

    said = json.loads(body)
    assert (said["errorCode"], said["status"], said["requestId"]) == ("E-17", 500, ID)


def test_no_member_is_there_twice():
    """The service's detail, if it may stay, stands in the place of ours; all else of ours stays."""
    members = {"detail": "The entity is locked.", "title": "x", "violated-policies": "x"}
    for status, places in ((500, 1), (429, 1)):
        _, body = problems().body(status, "Withheld.", ID, members=members)
        pairs = json.loads(body, object_pairs_hook=list)
        assert len(dict(pairs)) == len(pairs)
        assert dict(pairs)["detail"] == "The entity is locked."
        assert body.count(b"violated-policies") == places


def test_kept_members_join_a_template():
    """Also where the error object has the service's own shape, even an empty one."""
    _, own = templated(OWN).body(500, None, ID, members={"errorCode": 17, "error": "x"})
    _, empty = templated("{ }").body(500, None, ID, members={"errorCode": None})
    _, array = templated('["{title}"]').body(500, None, ID, members={"errorCode": 17})

    assert json.loads(own)["errorCode"] == 17
    assert json.loads(own)["error"]["code"] == 500
    assert json.loads(empty) == {"errorCode": None}
    assert json.loads(array) == ["Internal Server Error"]


# --- templates ---


def test_a_template_is_filled():
    """Each placeholder wherever it stands, the status also as a number."""
    made = templated(OWN, "application/vnd.acme+json")
    lines, body = answer(made, 503, 'a "b" \\', ID)

    assert header(lines, b"Content-Type") == b"application/vnd.acme+json"
    assert json.loads(body) == {
        "error": {"code": 503, "text": "503 Service Unavailable", "why": 'a "b" \\', "ticket": ID}
    }


def test_a_template_without_the_request_id_works():
    """Nothing has to be in it."""
    lines, body = answer(templated('{"failed": true}'), 500, None, ID)

    assert body == b'{"failed": true}'
    assert header(lines, b"Content-Length") == b"16"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ('{"a": {title}}', "in quotes"),
        ('{"a": "{titel}"}', "did you mean {title}"),
        ("{", "does not become JSON"),
        ("", "does not become JSON"),
        ('{"a": "\\u{request_id}"}', "backslash"),
    ],
)
def test_a_template_that_is_no_json_is_refused(template, said):
    """When it is compiled, in words that say what to do."""
    with pytest.raises(ValueError, match=r".") as error:
        templated(template)

    assert said in str(error.value)


def test_a_template_of_another_media_type_is_taken_as_it_is():
    """Text has no syntax to break."""
    _, body = answer(templated("{status} {title} ({request_id})", "text/plain"), 404, None, "r1")

    assert body == b"404 Not Found (r1)"


@given(
    st.integers(400, 599),
    st.text(max_size=40) | st.none(),
    st.text(st.characters(exclude_categories=()), max_size=40),
)
def test_a_template_always_becomes_json(status, detail, request_id):
    """Whatever the values hold, lone surrogates included, nothing breaks out of its string."""
    assume("{request_id}" not in (detail or ""))
    _, body = templated(OWN).body(status, detail, request_id)
    _, hot = answer(templated(OWN), status, detail, request_id)

    said = json.loads(body)["error"]
    assert said["text"] == f"{status} {title_of(status)}"
    assert said["why"] == (detail or "")
    assert said["ticket"] == request_id
    assert json.loads(hot)["error"]["ticket"] == request_id


@given(st.text(st.characters(exclude_categories=()), max_size=60), st.text(max_size=60))
def test_a_problem_always_is_json(request_id, detail):
    """The same of the standard shape; the length is right to the byte. Our own details hold no placeholder."""
    assume("{request_id}" not in detail)
    lines, body = answer(problems(), 400, detail, request_id)

    assert json.loads(body)["requestId"] == request_id
    assert json.loads(body)["detail"] == detail
    assert header(lines, b"Content-Length") == b"%d" % len(body)


@given(st.dictionaries(st.text(max_size=9), st.none() | st.booleans() | st.integers() | st.text(max_size=9)))
def test_members_never_break_the_object(members):
    """With any members it stays one JSON object that says its own status."""
    _, body = problems().body(500, None, ID, members=members)

    said = json.loads(body)
    assert said["status"] == 500
    assert {name: said[name] for name in members if name not in ("status", "title", "type", "instance")} | {
        "requestId": ID
    } == {n: v for n, v in members.items() if n not in ("status", "title", "type", "instance")} | {
        "requestId": ID
    }


# --- from the config ---


def test_the_config_chooses_the_shape():
    """`format: problem` is the standard, a block the service's own."""
    config = "upstream: {servers: ['http://127.0.0.1:9']}\nerrors:\n  format:\n    content_type: application/json\n"
    settings = loads(config + "    body: '{\"code\": {status}}'\n", "weir.yaml")

    assert answer(Problems.from_settings(settings.errors)["problem"], 502, None, ID)[1] == b'{"code": 502}'
    assert list(Problems.from_settings(settings.errors)) == ["problem"]
    assert Problems.from_settings(ErrorSettings())["problem"].content_type == b"application/problem+json"


# --- the form that a client asks for ---


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (b"", "problem"),
        (b"*/*", "problem"),
        (b"application/problem+json", "problem"),
        (b"application/json", "json"),
        (b"application/json, text/plain, */*", "json"),  # axios
        (b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "html"),  # browsers
        (b"TEXT/HTML ; q=0.5", "html"),
        (b"text/plain", "plain"),
        (b"text/html;q=0, */*", "problem"),
        (b"text/html;q=0.000,text/plain;q=0.001", "plain"),
        (b"image/png, image/*", "problem"),
        (b"application/xml, text/html", "html"),
        (b"text/html;q=0.1, application/json", "json"),
        (b"text/html;q=0.5, text/plain;q=0.9, application/json;q=0.2", "plain"),
        (b"application/json;q=0.5, text/html;level=1;q=0.7", "html"),
        (b"application/json ; Q=0.5 , text/html ; q=0.6", "html"),
        (b"text/html, application/json", "html"),
        (b"text/html;q=0.3, */*;q=0.8", "problem"),
        (b"application/problem+json;q=0, */*", "json"),
        (b"*/*, application/problem+json;q=0", "json"),
        (b"application/json;q=x, text/html;q=0.9", "json"),
        (b"application/json;q=0.1234, text/html;q=0.9", "json"),
        (b",;,=", "problem"),
    ],
)
def test_accept_names_the_form(accept, form):
    """That of the most weight, the first of equals; JSON for who asks for nothing, or for what there is not."""
    assert form_of(accept) == form


@given(st.binary(max_size=60))
def test_no_accept_field_is_too_strange(accept):
    assert form_of(accept) in Problems.from_settings(ErrorSettings())


@pytest.mark.parametrize(
    ("form", "content_type"),
    [
        ("problem", b"application/problem+json"),
        ("json", b"application/json"),
        ("html", b"text/html; charset=utf-8"),
        ("plain", b"text/plain; charset=utf-8"),
    ],
)
def test_every_form_says_status_detail_and_id(form, content_type):
    """And has the length that it says."""
    problems = Problems.from_settings(ErrorSettings())[form]
    lines, body = answer(problems, 503, "It is <down> & out.", ID)

    assert problems.content_type == content_type
    assert b"Content-Type: " + content_type + b"\r\n" in lines
    assert b"Content-Length: %d\r\n" % len(body) in lines
    assert ID.encode() in body
    assert b"503" in body
    assert b"Service Unavailable" in body
    assert (b"&lt;down&gt; &amp; out" if form == "html" else b"<down> & out") in body
