"""Whatever a service reads out of a request, the one it serves is charged, or the request is refused.

Requests are made of the pieces of which tricks are made; the services are those of services.py.
"""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from proxy.config.key_names import parse_key
from proxy.config.sections.answers import ContractSettings
from proxy.policy.edge import Edge
from proxy.policy.keys import Partition
from tests.policy import services
from tests.policy.heads import head, limit

pytestmark = pytest.mark.unmeasured  # each module of policy is covered whole by its own tests

VALID = "s3cretToken"
SETTINGS = settings(deadline=None)
EXAMPLES = 3 * SETTINGS.max_examples


def pieces(*texts, most=8):
    return st.lists(st.sampled_from(texts), max_size=most).map("".join)


def charged(spec, headers=(), target="/"):
    """The keys, or None if the request is refused."""
    return Partition([parse_key(spec)], b"").keys(head(target=target, headers=headers), "192.0.2.7")


def assert_pays(found, owner):
    """The owner's bucket is among those that are charged."""
    assert found is None or owner[0] in found


@given(pieces(VALID, VALID, "x", "X", " ", "\t", ",", ";", "\u00a0", "\u200b", "\uff53", "\x85", '"', most=6))
@settings(SETTINGS, max_examples=1 * EXAMPLES)
def test_service_that_reads_a_field_is_charged_for(text):
    owner = charged("header:X-Auth-Token", {"X-Auth-Token": VALID})
    for encoding in ("latin-1", "utf-8"):
        value = text.encode(encoding, "replace").strip(b" \t")
        if any(read(value) == VALID for read in services.FIELD.values()):
            assert_pays(charged("header:X-Auth-Token", {"X-Auth-Token": value}), owner)


@given(
    pieces(
        "Bearer",
        "bearer",
        "Basic",
        "Foo",
        VALID,
        VALID,
        "x",
        " ",
        " ",
        "\t",
        ",",
        ", ",
        "=",
        '"',
        ";",
        most=9,
    )
)
@settings(SETTINGS, max_examples=2 * EXAMPLES)
def test_service_that_reads_authorization_is_charged_for(text):
    owner = charged("header:Authorization", {"Authorization": f"Bearer {VALID}"})
    value = text.encode().strip(b" \t")
    if any(read(value) == VALID for read in services.AUTHORIZATION.values()):
        assume(value != VALID.encode())  # a word alone is another credential: docs/limits.md
        assert_pays(charged("header:Authorization", {"Authorization": value}), owner)


@given(pieces("dXNl", "cjpw", "YXM", "YXN", "=", "=", "-", ".", " ", "!", "\t", "basic ", "Basic ", most=9))
@settings(SETTINGS, max_examples=1 * EXAMPLES)
def test_service_that_reads_a_password_is_charged_for(text):
    owner = charged("header:Authorization", {"Authorization": "Basic dXNlcjpwYXM="})
    value = f"Basic {text}".encode().strip()
    if services.basic(value) == b"user:pas":
        assert_pays(charged("header:Authorization", {"Authorization": value}), owner)


@given(pieces("c2ln", "c2lu", "Z", "=", ".", "!", "-", "_", "+", " ", most=5))
@settings(SETTINGS, max_examples=1 * EXAMPLES)
def test_service_that_verifies_a_token_is_charged_for(tail):
    """Whatever stands for its signature."""
    signed = "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9"
    value = f"{signed}.{tail}".encode().strip()
    for spec in ("header:Authorization", "jwt:sub"):
        owner = charged(spec, {"Authorization": f"{signed}.c2ln"})
        if services.web_token(value) == services.web_token(f"{signed}.c2ln".encode()):
            assert_pays(charged(spec, {"Authorization": value}), owner)


@given(
    pieces(
        "sid",
        "SID",
        "sid=",
        f"={VALID}",
        VALID,
        f"sid={VALID}",
        "=",
        "x",
        ";",
        "; ",
        ",",
        " ",
        "\t",
        '"',
        "%73",
        "\\163",
        "a=b",
        most=9,
    )
)
@settings(SETTINGS, max_examples=3 * EXAMPLES)
def test_service_that_reads_a_cookie_is_charged_for(cookie):
    owner = charged("cookie:sid", {"Cookie": f"sid={VALID}"})
    cookie = cookie.strip(" \t")
    if any(read(cookie, "sid") == VALID for read in services.COOKIE.values()):
        assert_pays(charged("cookie:sid", {"Cookie": cookie}), owner)


@given(
    pieces(
        "user",
        "USER",
        "user=",
        "=",
        VALID,
        f"user={VALID}",
        "x",
        "&",
        ";",
        "+",
        "%20",
        "%75",
        "%73",
        "[]",
        "[0]",
        most=9,
    )
)
@settings(SETTINGS, max_examples=2 * EXAMPLES)
def test_service_that_reads_a_parameter_is_charged_for(query):
    owner = charged("query:user", target=f"/?user={VALID}")
    if any(read(query, "user") == VALID for read in services.QUERY.values()):
        assert_pays(charged("query:user", target=f"/?{query}"), owner)


@given(pieces("user_id", "user.id", "user id", "user[id", "[", "]", "=", "=", VALID, VALID, "&", most=6))
@example(f"user.id={VALID}")
@example(f"x=1& user id={VALID}")
@example(f"user id=x&user[id={VALID}")
@example(f"user_id[0]={VALID}")
@example(f"user_id%00x={VALID}")
@settings(SETTINGS, max_examples=1 * EXAMPLES)
def test_service_that_mangles_a_name_is_charged_for(query):
    owner = charged("query:user_id", target=f"/?user_id={VALID}")
    if services.QUERY["PHP"](query, "user_id") == VALID:
        assert_pays(charged("query:user_id", target=f"/?{query.replace(' ', '+')}"), owner)


def test_trailing_space_is_an_underscore_for_some():
    """PHP drops leading spaces only."""
    owner = charged("query:user_", target=f"/?user_={VALID}")
    for query in (f"user+={VALID}", f"user%20={VALID}", f"user[={VALID}"):
        assert services.QUERY["PHP"](query, "user_") == VALID
        assert_pays(charged("query:user_", target=f"/?{query}"), owner)


COOKIES = [
    "user_id",
    "user.id",
    "user id",
    " user id",
    "user[id",
    "user_id[0]",
    "user_id[ 0]",
    'user_id["a,b"]',
]


@pytest.mark.parametrize("name", COOKIES)
def test_service_that_mangles_the_name_of_a_cookie_is_charged_for(name):
    owner = charged("cookie:user_id", {"Cookie": f"user_id={VALID}"})
    for cookie in (f"{name}={VALID}", f"x=1; {name}={VALID}", f"{name}={VALID}; user_id=x"):
        if services.COOKIE["PHP"](cookie, "user_id") == VALID:
            assert_pays(charged("cookie:user_id", {"Cookie": cookie}), owner)


@given(pieces("api.example.com", "API.", "example", ".com", ".", ":", "443", ":80", "%61pi.", "x", most=6))
def test_service_that_reads_a_host_is_charged_for(host):
    owner = charged("host", {"Host": "api.example.com"})
    if any(read(host) == "api.example.com" for read in services.HOST.values()):
        assert_pays(charged("host", {"Host": host}), owner)


@pytest.mark.parametrize("host", ["[2001:DB8::1]", "[2001:db8:0:0::1]:443", "[2001:0db8::0001]:80"])
def test_service_that_reads_an_address_is_charged_for(host):
    assert services.HOST["address"](host) == "2001:db8::1"
    assert charged("host", {"Host": host}) == charged("host", {"Host": "[2001:db8::1]"})


# --- paths ---

path_pieces = pieces(
    *("/", "/", "api", "API", "sign-in", "Sign-In", "x", ".", "..", "../", "/./", ";", ";v=1", "%2f", "%2F", "%5c"),
    *("\\", "%2e", "%61", "%2561", "%20", "%00", "%3b", "%EF%BD%81", "/api/sign-in", "/health"),
    *(".json", "%3f", "%23"),
    most=9,
).map(lambda text: "/" + text)  # fmt: skip


@given(path_pieces)
@settings(SETTINGS, max_examples=3 * EXAMPLES)
def test_path_that_a_service_takes_for_a_limited_one_is_limited(target):
    limited = limit(match={"paths": ["/api/sign-in"]})
    read = [read(target.encode()).strip() for read in services.PATH.values()]
    if b"/api/sign-in" in read:
        assert limited.match.holds(head(target=target))


@given(path_pieces)
@settings(SETTINGS, max_examples=3 * EXAMPLES)
def test_segment_that_a_service_reads_is_charged_for(target):
    """Also of a path that goes on behind it."""
    owner = charged("path:2", target="/api/sign-in")
    found = {name: read(target.encode()).split(b"/")[1:3] for name, read in services.PATH.items()}
    del found["without the format"]  # a segment may well hold a dot: docs/limits.md
    if [b"api", b"sign-in"] in found.values():
        assert_pays(charged("path:2", target=target), owner)


@given(path_pieces)
@settings(SETTINGS, max_examples=3 * EXAMPLES)
def test_path_is_let_through_only_if_every_service_takes_it_for_that(target):
    """Exempt, open, known, and by its methods."""
    free = limit(exempt={"paths": ["/health", "/public/**"]})
    edge = Edge(ContractSettings(known_paths=["/health", "/public/**"]))
    request = head(target=target)
    if free.exemption.holds(request, "") or edge.refusal(request, "") is None:
        for name, read in services.PATH.items():
            path = read(target.encode())
            assert path in (b"/health", b"/public") or path.startswith(b"/public/"), name


@given(path_pieces)
@settings(SETTINGS, max_examples=1 * EXAMPLES)
def test_method_is_let_through_only_if_it_is_allowed_wherever_a_service_takes_the_path(target):
    edge = Edge(ContractSettings(path_methods=[{"paths": ["/api/sign-in"], "allow": ["POST"]}]))
    if edge.refusal(head("GET", target), "") is None:
        assert b"/api/sign-in" not in [read(target.encode()).strip() for read in services.PATH.values()]
