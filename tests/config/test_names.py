"""Methods, headers, paths, networks, names and media types: what is read and what is said of the rest."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from proxy.config import names
from proxy.config.key_names import parse_key


def said(parse, value):
    with pytest.raises(ValueError) as caught:
        parse(value)
    return str(caught.value)


@pytest.mark.parametrize("text", ["GET", "DELETE", "PURGE", "PROPFIND", "M-SEARCH"])
def test_any_token_is_a_method(text):
    assert names.parse_method(text) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("get", "'get' is not a method; did you mean GET?"),
        ("PSOT", "'PSOT' is not a method; did you mean POST?"),
        ("TRACE", "TRACE is never forwarded: leave it out"),
        ("connect", "CONNECT is never forwarded: leave it out"),
        ("GET,POST", "a method holds letters, digits and !#$%&'*+-.^_`|~ only, not 'GET,POST'"),
    ],
)
def test_method_that_is_none_says_what_to_write(text, message):
    assert said(names.parse_method, text) == message


@pytest.mark.parametrize("text", ["/", "/api/*", "/api/**", "/caf\u00e9/*", "/a..b"])
def test_path_is_a_glob_over_normalised_paths(text):
    assert names.parse_path(text) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("api/*", "a path begins with /: write '/api/*'"),
        ("", "a path begins with /: write '/'"),
        ("/a//b", "'/a//b' never matches: paths are compared with dots resolved and slashes collapsed"),
        ("/a/../b", "'/a/../b' never matches: paths are compared with dots resolved and slashes collapsed"),
        ("/a/.", "'/a/.' never matches: paths are compared with dots resolved and slashes collapsed"),
        ("/a%2Fb", "'/a%2Fb' never matches: paths are compared decoded, write the character itself"),
        ("/a?b=*", "'/a?b=*' never matches: queries are not compared, and only * and ** are wildcards"),
        ("/a**" * 9, "at most 8 times ** in one path"),
        ("/a#b", "must be a path such as /api/*, not '/a#b'"),
        ("/a\nb", "a path has no control characters, '/a\\nb' does"),
    ],
)
def test_path_that_never_matches_says_why(text, message):
    assert said(names.parse_path, text) == message


@pytest.mark.parametrize("text", ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1", "0.0.0.0/0"])
def test_network_is_a_range_or_one_address(text):
    assert names.parse_network(text) == ip_network(text)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            "10.1.2.3/8",
            "10.1.2.3/8 is an address within a network: write 10.0.0.0/8, or 10.1.2.3 for it alone",
        ),
        ("10.0.0.0/33", "must be a network such as 10.0.0.0/8 or 2001:db8::/32, not '10.0.0.0/33'"),
        ("10.0.0", "must be a network such as 10.0.0.0/8 or 2001:db8::/32, not '10.0.0'"),
        ("example.com", "must be a network such as 10.0.0.0/8 or 2001:db8::/32, not 'example.com'"),
        (10, "must be a network such as 10.0.0.0/8 or 2001:db8::/32, not 10"),
        ("", "must be a network such as 10.0.0.0/8 or 2001:db8::/32, not ''"),
    ],
)
def test_network_that_is_none_says_what_to_write(value, message):
    assert said(names.parse_network, value) == message


@pytest.mark.parametrize("text", ["per-user", "A.b_1", "x" * 64])
def test_limit_has_a_short_plain_name(text):
    assert names.parse_limit_name(text) == text


@pytest.mark.parametrize("text", ["", "per user", "x" * 65, "a:b", "café", "a\n", '"a"'])
def test_limit_has_no_other_name(text):
    """The name stands in a header, a metric's label and a Redis key."""
    assert said(names.parse_limit_name, text).startswith(
        "a limit's name has 1 to 64 letters, digits, _ . or -, not "
    )


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("application/json", True),
        ("application/json; charset=utf-8", True),
        ("application/vnd.example+JSON", True),
        ("application/problem+json;v=1", True),
        ("text/plain", False),
        ("text/json-ish", False),
    ],
)
def test_media_type_may_be_json(text, answer):
    assert names.is_json(names.parse_media_type(text)) is answer


@pytest.mark.parametrize("text", ["json", "", "application/", "a/b\r\nX: y", "a b/c"])
def test_media_type_has_a_slash_and_no_line_end(text):
    assert said(names.parse_media_type, text).startswith(
        "must be a media type such as application/json, not "
    )


@pytest.mark.parametrize("text", ["application/json", "text/*", "application/*+json", "*/*"])
def test_media_types_are_named_by_globs(text):
    assert names.parse_media_glob(text) == text


@pytest.mark.parametrize(
    ("parse", "value", "message"),
    [
        (names.parse_token, "a b", "the name of a header holds letters, digits and !#$%&'*+-.^_`|~ only, not 'a b'"),
        (names.parse_media_glob, "text/html; q=1", "parameters are not compared: write text/html"),
        (names.parse_media_glob, "text/*x*", "at most one * on each side of the slash, not 'text/*x*'"),
        (names.parse_target, "healthz", "must be a path such as /healthz in ASCII, not 'healthz'"),
        (names.parse_trusted, "unix:/run/a.sock", "write unix: for all peers on Unix sockets: they have no address that"
         " tells them apart"),
        (names.parse_cors_origin, "null", "null is what pages without an origin send, whoever made them: it cannot be"
         " told apart"),
        (names.parse_prefix, "a:b", "has 1 to 64 letters, digits, _ . or -, such as orders-api, not 'a:b'"),
        (names.parse_plan_name, "a b", "a plan's name has 1 to 64 letters, digits, _ . or -, not 'a b'"),
        (names.distinct_headers, {"X-A": "1", "x-a": "2"}, "names a header twice: case makes no difference"),
    ],
)  # fmt: skip
def test_name_that_is_none_says_what_to_write(parse, value, message):
    assert said(parse, value) == message


@pytest.mark.parametrize(
    ("parse", "value"),
    [
        (names.parse_target, "/healthz?deep=1"),
        (names.parse_trusted, "unix:"),
        (names.parse_cors_origin, "*"),
        (names.parse_cors_origin, "https://app.example"),
        (names.parse_prefix, "orders-api"),
        (names.parse_plan_name, "step-2"),
        (names.distinct_headers, {"X-A": "1", "X-B": "2"}),
    ],
)
def test_name_is_taken_as_it_is_written(parse, value):
    assert parse(value) == value


def test_trusted_network_is_one_as_elsewhere():
    assert names.parse_trusted("10.0.0.0/8") == names.parse_network(ip_network("10.0.0.0/8"))


@pytest.mark.parametrize(
    ("name", "answer"), [("X-Real-IP", True), ("x-forwarded-tenant", True), ("Via", False)]
)
def test_claim_is_what_a_proxy_says_of_a_client(name, answer):
    assert names.is_claim(name) is answer


def test_hash_of_a_key_is_what_weir_prints():
    """No message shows it: it may be the credential itself."""
    assert names.parse_key_hash("sha256:" + "AB" * 32) == "sha256:" + "ab" * 32
    assert "hunter2" not in said(names.parse_key_hash, "hunter2")


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "is empty; null leaves it out"), ("hunter2 ", "has a space, a control or a non-ASCII character")],
)
def test_secret_can_travel_in_a_field(text, message):
    """The message does not show it."""
    assert names.parse_secret(SecretStr("hunter2")).get_secret_value() == "hunter2"
    assert said(names.parse_secret, SecretStr(text)) == message


@given(st.one_of(st.text(), st.none(), st.integers(), st.dictionaries(st.text(), st.text(), max_size=1)))
@pytest.mark.parametrize("parse", [parse_key, names.parse_network])
def test_parser_takes_a_value_or_says_why_not_in_one_line(parse, value):
    try:
        parse(value)
    except ValueError as error:
        assert str(error)
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("CF-Connecting-IP", True),
        ("X-Edge-Real-IP", True),
        ("Forwarded-For", True),
        ("X-Forwarded-For", False),
        ("X-Real-IP", False),
        ("X-Email-Address", False),
    ],
)
def test_fields_that_tell_an_address_are_known_by_their_words(name, answer):
    """But for those that Weir writes anew: of a stranger they say nothing to anybody."""
    assert names.is_address_claim(name) is answer
