"""Heads as they go on: what a header section means by one config, and the heads that are made of it."""

from __future__ import annotations

import pytest

from proxy.faults import REPEATED_CREDENTIAL
from proxy.policy.decision import Decision, Verdict
from tests.rules.asked import BASE, LIMIT, answer, charges_of, request, rules, told

TRACE = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def onward(text, *lines, base=BASE, **more):
    """The lines of the head that the server gets."""
    by = rules(text, base)
    head, facts = told(by, *lines, **more)
    return by.heads.request(head, facts, "abc", b"server:9000").decode().split("\r\n")


def returned(text, *lines, status="200 OK", asked="GET / HTTP/1.1", decision=None):
    """The lines of the head that the client gets."""
    head = rules(text).heads.response(
        answer(*lines, status=status), request(line=asked), decision, "abc", b"\r\n"
    )
    return head.decode().split("\r\n")


# --- what it means ---


def test_header_section_that_comes_again_is_not_studied_again():
    """By another config it is."""
    by, other = rules(LIMIT), rules(LIMIT)
    first, facts = told(by, "X: 1")
    again = request("X: 1", before=first)

    assert by.heads.facts(again, "192.0.2.7", b"http") is facts
    assert by.heads.judged(again, "192.0.2.7") is facts
    assert other.heads.facts(again, "192.0.2.7", b"http") is not facts


def test_question_of_another_proxy_is_charged_and_goes_nowhere():
    by = rules(LIMIT)
    facts = by.heads.judged(request("X: 1"), "192.0.2.7")

    assert [charge.limit.name for charge in facts.charges[0]] == ["a"]
    assert facts.lines == b""
    assert by.heads.judged(request("X: 1"), "192.0.2.8").charges[0][0].key != facts.charges[0][0].key


@pytest.mark.parametrize("is_question", [True, False])
def test_claim_of_a_stranger_is_not_read_also_when_it_comes_again(is_question):
    by = rules("limits: [{name: a, rate: 1/s, key: 'header:X-Real-IP'}]")
    first = request("X-Real-IP: 10.0.0.1")
    again = request("X-Real-IP: 10.0.0.1", before=first)
    for head in (first, again):
        _ = by.heads.judged(head, "192.0.2.7") if is_question else by.heads.facts(head, "192.0.2.7", b"http")

    assert again.fields == {b"host": b"a"}


def test_field_that_has_a_twin_is_refused():
    """A service may take `_` and `-` for the same."""
    by = rules("limits: [{name: a, rate: 1/s, key: 'header:X_Key'}]")

    assert told(by, "X_Key: 1", "X-Key: 2")[1].charges is REPEATED_CREDENTIAL


@pytest.mark.parametrize(
    ("key", "is_known"), [("client-ip", True), ("'header:X-A'", True), ("'path:1'", False)]
)
def test_charges_are_known_where_the_target_does_not_matter(key, is_known):
    _, facts = told(rules(f"limits: [{{name: a, rate: 15/s, key: {key}}}]"), "X-A: 1")

    assert (facts.charges is not None) is is_known


@pytest.mark.parametrize(("given", "kept"), [("order-17", "order-17"), ("a b", None), ("x" * 129, None)])
def test_decent_request_id_of_the_client_is_kept(given, kept):
    assert told(rules(), f"X-Request-Id: {given}")[1].request_id == kept


def test_client_is_the_peer_or_whom_a_trusted_one_names():
    by = rules("forwarded: {trust: [10.0.0.0/8]}")

    for peer, client, is_trusted in (("192.0.2.7", "192.0.2.7", False), ("10.0.0.1", "198.51.100.1", True)):
        _, facts = told(by, "X-Forwarded-For: 198.51.100.1", peer=peer)
        assert (facts.client, facts.is_trusted) == (client, is_trusted)


# --- the request ---


def test_head_to_the_server_is_the_clients_with_the_way_it_came():
    assert onward("", "Accept: */*", "X-Request-Id: theirs", "Connection: keep-alive, X-Hop", "X-Hop: 1") == [
        "GET / HTTP/1.1",
        "Host: a",
        "Accept: */*",
        "Via: 1.1 weir",
        "X-Forwarded-For: 192.0.2.7",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Host: a",
        "X-Request-Id: abc",
        "",
        "",
    ]


def test_host_is_the_servers_where_the_config_says_so():
    lines = onward("", base="upstream: {servers: ['http://a'], host: upstream}")

    assert lines[1] == "Host: server:9000"
    assert "X-Forwarded-Host: a" in lines


@pytest.mark.parametrize(
    ("text", "lines", "line", "way"),
    [
        ("", ["Via: 1.1 cdn"], "GET / HTTP/1.1", ["Via: 1.1 cdn, 1.1 weir"]),
        ("", [], "GET / HTTP/1.0", ["Via: 1.0 weir"]),
        (
            "forwarded: {field: forwarded}",
            [],
            "GET / HTTP/1.1",
            ["Via: 1.1 weir", "Forwarded: for=192.0.2.7;proto=http;host=a"],
        ),
        (
            "forwarded: {trust: [192.0.2.7/32]}",
            ["X-Forwarded-For: 198.51.100.1", "X-Forwarded-Proto: https"],
            "GET / HTTP/1.1",
            ["X-Forwarded-For: 198.51.100.1, 192.0.2.7", "X-Forwarded-Proto: https"],
        ),
    ],
)
def test_way_goes_on_behind_what_came_before(text, lines, line, way):
    found = onward(text, *lines, line=line)

    assert set(way) <= set(found)


@pytest.mark.parametrize(
    ("lines", "line", "more"),
    [
        (["Transfer-Encoding: chunked"], "POST / HTTP/1.1", ["Transfer-Encoding: chunked"]),
        (["Content-Length: 3", "Expect: 100-continue"], "POST / HTTP/1.1", ["Expect: 100-continue"]),
        (
            ["Connection: Upgrade", "Upgrade: websocket"],
            "GET / HTTP/1.1",
            ["Connection: Upgrade", "Upgrade: websocket"],
        ),
        ([TRACE, "tracestate: a=b"], "GET / HTTP/1.1", [TRACE, "tracestate: a=b"]),
    ],
)
def test_what_a_hop_says_is_said_again_by_the_next(lines, line, more):
    assert set(more) <= set(onward("", *lines, line=line))


def test_trace_state_without_a_valid_parent_goes_nowhere():
    lines = onward("", "traceparent: nonsense", "tracestate: a=b")

    assert not [line for line in lines if line.startswith("trace")]


# --- the answer ---


def test_head_to_the_client_is_the_services_with_the_request_id():
    """And framed anew where nobody knows how long the body is."""
    fields = ["Server: Kestrel", "X-Request-Id: theirs", "Connection: X-Hop", "X-Hop: 1"]

    assert returned("", *fields, "Content-Length: 2") == [
        "HTTP/1.1 200 OK", "Server: Kestrel", "Content-Length: 2", "X-Request-Id: abc", "", "",
    ]  # fmt: skip
    assert returned("", "Server: Kestrel") == [
        "HTTP/1.1 200 OK", "Server: Kestrel", "Transfer-Encoding: chunked", "X-Request-Id: abc", "", "",
    ]  # fmt: skip
    assert returned("", asked="GET / HTTP/1.0") == ["HTTP/1.1 200 OK", "X-Request-Id: abc", "", ""]


def test_answer_tells_the_client_of_its_limits():
    """The service's own fields of these names make room where they would be the same ones."""
    (limit,) = rules(LIMIT).limits
    charges = charges_of(rules(LIMIT))
    decision = Decision(True, [Verdict(charges[0], True, limit.terms.cost_units)])
    own = ["X-RateLimit-Limit: 5", "Content-Length: 0"]

    assert 'RateLimit: "a";r=14;t=1' in returned(LIMIT, *own, decision=decision)
    assert own[0] in returned(LIMIT, *own, decision=decision)
    legacy = returned(LIMIT + "ratelimit_fields: legacy\n", *own, decision=decision)
    assert [line for line in legacy if line.startswith("X-RateLimit-Limit")] == ["X-RateLimit-Limit: 15"]


def test_204_has_no_length():
    """RFC 9110 section 8.6."""
    assert "Content-Length: 0" not in returned("", "Content-Length: 0", status="204 No Content")


def test_426_says_which_protocol_is_asked_for():
    """RFC 9110 section 15.5.22."""
    lines = returned("", "Upgrade: TLS/1.3", "Connection: Upgrade", status="426 Upgrade Required")

    assert {"Upgrade: TLS/1.3", "Connection: Upgrade"} <= set(lines)


def test_location_at_a_server_is_one_at_the_public_origin():
    public = "contract: {public_url: 'https://api.example.com'}"

    assert "Location: https://api.example.com/x" in returned(
        public, "Location: http://a/x", status="201 Created"
    )
    assert "Location: http://a/x" in returned("", "Location: http://a/x", status="201 Created")
