"""Whose buckets a request is charged to: every credential that it carries, in whatever spelling."""

from __future__ import annotations

import pytest

from proxy.config.key_names import parse_key
from proxy.policy.keys import KEY_BYTES, Partition
from tests.policy.heads import head
from tests.policy.tokens import token


def keys(specs, headers=(), client="192.0.2.7", secret=b"", target="/", method="GET", *, shares=True):
    parsed = [parse_key(each) for each in ([specs] if isinstance(specs, str) else specs)]
    partition = Partition(parsed, secret, shares=shares)
    return partition.keys(head(method, target, headers), client)


def key(specs, headers=(), *args, **kwargs):
    """Of a request that is charged to one bucket."""
    (one,) = keys(specs, headers, *args, **kwargs)
    return one


def is_absent(spec, headers):
    return keys([spec, "const"], headers) == keys("const")


@pytest.mark.parametrize(
    ("named", "request_of_it"),
    [
        ({"header:X-Auth-Token": " alice "}, {"headers": {"X-Auth-Token": "alice"}}),
        ({"header:Authorization": "Bearer  abc"}, {"headers": {"Authorization": "bearer\tabc"}}),
        ({"cookie:sid": "s1"}, {"headers": {"Cookie": "a=b; sid=s1"}}),
        ({"jwt:sub": "ada"}, {"headers": {"Authorization": token({"sub": "ada"})}}),
        ({"query:user": "a b"}, {"target": "/x?user=a+b"}),
        ({"path:2": "Acme"}, {"target": "/api/acme/x"}),
        ({"host": "API.example.com:443"}, {"headers": {"Host": "api.example.com"}}),
        ({"method": "PUT"}, {"method": "PUT"}),
        ({"client-ip": "2001:db8::1"}, {}),
        ({"const": ""}, {}),
        (
            {"path:1": "a", "header:X-Auth-Token": "alice"},
            {"target": "/a/b", "headers": {"X-Auth-Token": "alice"}},
        ),
    ],
    ids=lambda each: "+".join(each) if "target" not in each else "",
)
def test_key_of_a_named_client_is_that_of_its_requests(named, request_of_it):
    """By whatever entry."""
    spec = "+".join(named)
    asked = Partition([parse_key(spec)], b"s").key_of(named)

    assert asked == key(spec, client="2001:db8::1", secret=b"s", **request_of_it)


def test_nobody_has_the_key_of_another_entry_or_of_no_value():
    partition = Partition([parse_key("header:X-Auth-Token"), parse_key("host+path:1")], b"")

    assert partition.key_of({"header:Authorization": "x"}) is None
    assert partition.key_of({"header:X-Auth-Token": " "}) is None
    assert partition.key_of({"host": "a"}) is None
    assert partition.key_of({}) is None


# --- headers ---


def test_other_credentials_have_other_keys():
    one, other = {"X-Auth-Token": "alice"}, {"X-Auth-Token": "bob"}

    assert key("header:X-Auth-Token", one) != key("header:X-Auth-Token", other)
    assert len(key("header:X-Auth-Token", one)) == KEY_BYTES


def test_credential_cannot_be_read_from_its_key():
    """Without the secret, a key cannot even be compared with a guess."""
    headers = {"X-Auth-Token": "alice"}

    assert b"alice" not in key("header:X-Auth-Token", headers)
    assert key("header:X-Auth-Token", headers, secret=b"a") != key(
        "header:X-Auth-Token", headers, secret=b"b"
    )
    assert key("header:X-Auth-Token", headers, secret=b"a") != key("header:X-Auth-Token", headers)


def test_secret_of_any_length_will_do():
    """BLAKE2b itself takes 64 bytes."""
    headers = {"X-Auth-Token": "alice"}
    long = b"s" * 500

    assert key("header:X-Auth-Token", headers, secret=long) != key(
        "header:X-Auth-Token", headers, secret=long[:64]
    )


@pytest.mark.parametrize("value", ["alice", " alice", "alice\t ", "\talice"])
def test_white_space_around_a_value_does_not_count(value):
    assert key("header:X-Auth-Token", {"X-Auth-Token": value}) == key(
        "header:X-Auth-Token", {"X-Auth-Token": "alice"}
    )


@pytest.mark.parametrize("name", ["X-Auth-Token", "Authorization"])
def test_white_space_that_a_head_left_does_not_count(name):
    """Whoever read the head, the key is the same."""
    partition = Partition([parse_key(f"header:{name}")], b"")

    def of(value):
        made = head()
        made.fields = {name.lower().encode(): value}
        return partition.keys(made, "")

    assert of(b" \talice ") == of(b"alice")
    assert of(b" \t ") == partition.keys(head(), "")


def test_case_of_a_header_name_does_not_count():
    assert key("header:x-auth-token", {"X-AUTH-TOKEN": "alice"}) == key(
        "header:X-Auth-Token", {"x-auth-token": "alice"}
    )


def test_case_of_a_value_counts():
    assert key("header:X-Auth-Token", {"X-Auth-Token": "Alice"}) != key(
        "header:X-Auth-Token", {"X-Auth-Token": "alice"}
    )


@pytest.mark.parametrize("name", ["X-Auth-Token", "Authorization"])
@pytest.mark.parametrize("value", ["", " ", "\t "])
def test_empty_value_is_absent(name, value):
    assert is_absent(f"header:{name}", {name: value})


def test_every_credential_that_is_present_is_charged():
    """So nothing is gained by sending an invented one too."""
    both = {"X-Auth-Token": "alice", "Authorization": "Bearer X"}
    specs = ["header:X-Auth-Token", "header:Authorization", "client-ip"]

    assert keys(specs, both) == keys("header:X-Auth-Token", both) + keys("header:Authorization", both)
    assert keys(specs, {"Authorization": "Bearer X"}) == keys("header:Authorization", both)


def test_address_is_charged_only_where_nothing_else_is():
    specs = ["header:X-Auth-Token", "client-ip", "const"]

    assert keys(specs) == keys("client-ip")
    assert keys(specs, {"X-Auth-Token": "alice"}) == keys("header:X-Auth-Token", {"X-Auth-Token": "alice"})


def test_host_and_method_are_charged_beside_a_credential():
    """They are no addresses: who wants them together writes one key of both."""
    alice = {"X-Auth-Token": "alice", "Host": "a"}

    assert keys(["header:X-Auth-Token", "host", "method"], alice) == [
        key("header:X-Auth-Token", alice),
        key("host", alice),
        key("method", alice),
    ]


def test_what_cannot_be_read_in_one_way_has_no_keys():
    """Wherever it stands in the list."""
    unclear = {"X-Auth-Token": "alice", "Cookie": "sid=a; sid=b"}

    assert keys(["header:X-Auth-Token", "cookie:sid"], unclear) is None
    assert keys(["cookie:sid", "const"], unclear) is None
    assert keys(["header:X-Auth-Token+cookie:sid", "const"], unclear) is None
    assert keys(["client-ip+cookie:sid"], unclear) is None


# --- several as one ---


def test_joined_entry_is_one_bucket_for_each_pair():
    def of(user, target):
        return key("header:X-User+path:1", {"X-User": user}, target=target)

    assert of("alice", "/a/x") == of("alice", "/a/y")
    assert len({of(user, target) for user in ("alice", "bob") for target in ("/a", "/b")}) == 4


@pytest.mark.parametrize("headers", [{"A": "1"}, {"B": "1"}, {"A": "1", "B": ""}, {}])
def test_joined_entry_is_absent_if_a_part_is(headers):
    assert is_absent("header:A+header:B", headers)


def test_joined_entry_is_the_same_in_any_order():
    both = {"A": "1", "B": "2"}

    assert key("header:a+header:B", both) == key("header:B+header:A", both)
    assert key("header:A+header:B", both) != key("header:A+header:B", {"A": "2", "B": "1"})


def test_joined_values_do_not_run_together():
    assert key("header:A+header:B", {"A": "ab", "B": "c"}) != key("header:A+header:B", {"A": "a", "B": "bc"})


def test_joined_with_an_address_it_stands_for_who_sends_nothing_else():
    """client-ip+host is an address, client-ip+header is a credential."""
    alice = {"X-Auth-Token": "alice", "Host": "a"}
    specs = ["header:X-Auth-Token", "client-ip+host"]

    assert keys(specs, alice) == keys("header:X-Auth-Token", alice)
    assert keys(specs, {"Host": "a"}) == keys("client-ip+host", alice)
    assert len(keys(["header:X-Auth-Token", "client-ip+header:X-Auth-Token"], alice)) == 2


# --- the list ---


def test_key_does_not_move_when_the_list_is_reordered():
    """A reload that adds an entry in front keeps the buckets of those who do not have it."""
    alice = {"X-Auth-Token": "alice"}

    assert key(["cookie:sid", "header:X-Auth-Token"], alice) == key(
        ["header:X-Auth-Token", "cookie:sid"], alice
    )


def test_without_any_entry_there_may_be_no_bucket():
    """`when_absent: skip`."""
    assert keys("header:X-Auth-Token", shares=False) == []
    assert keys("header:X-Auth-Token", {"X-Auth-Token": "a"}, shares=False) == keys(
        "header:X-Auth-Token", {"X-Auth-Token": "a"}
    )


def test_without_any_entry_all_share_one_bucket():
    """The address is charged only where the list says so."""
    assert key("header:X-Auth-Token", client="192.0.2.7") == key("cookie:sid", client="192.0.2.8")
    assert key("header:X-Auth-Token") != key("client-ip")


def test_same_value_under_another_name_or_kind_is_another_bucket():
    """Nobody can spend the tokens of a cookie by sending its value as a header."""
    headers = {"A": "v", "B": "v", "Cookie": "A=v; B=v", "Authorization": token({"A": "v", "B": "v"})}
    specs = ["header:A", "header:B", "cookie:A", "cookie:B", "jwt:A", "jwt:B", "const", "client-ip"]

    assert len({key(spec, headers, client="v") for spec in specs} | {key("header:C")}) == len(specs) + 1


def test_const_is_one_bucket_for_all():
    assert key("const", {"A": "1"}, client="192.0.2.7") == key("const", {"A": "2"}, client="192.0.2.8")


def test_addresses_of_one_network_share_a_bucket():
    assert key("client-ip", client="2001:db8::1") == key("client-ip", client="2001:db8::2%eth0")
    assert key("client-ip", client="::ffff:192.0.2.7") == key("client-ip", client="192.0.2.7")
    assert key("client-ip", client="192.0.2.7") != key("client-ip", client="192.0.2.8")
    assert key("client-ip", client="") == key("client-ip", client="")


def test_fields_that_name_the_user_are_known():
    """A request that repeats one of them is refused: one value could be charged and another be served."""
    specs = [
        parse_key(spec) for spec in ("header:X-Auth-Token", "cookie:sid", "jwt:sub", "client-ip", "const")
    ]

    assert Partition(specs, b"").credential_names == {b"x-auth-token", b"cookie", b"authorization"}
    assert Partition(specs[3:], b"").credential_names == frozenset()


def test_partition_tells_which_credentials_a_request_shows():
    """A claim is of the same one as its field; a segment is none."""
    entries = ["jwt:sub", "header:Authorization", "cookie:sid", "header:X-A+path:1", "path:1", "client-ip"]
    made = Partition([parse_key(entry) for entry in entries], b"")
    request = head(headers={"Authorization": token({"sub": "ada"}), "X-A": "a"})

    assert made.has_credentials
    assert made.shown(request, "192.0.2.7") == {
        frozenset({"header:authorization"}),
        frozenset({"header:x-a"}),
    }
    assert not Partition([parse_key("client-ip+path:1")], b"").has_credentials


def test_unclear_credential_is_charged_as_if_it_were_absent():
    """By limits that refuse nobody."""
    made = Partition([parse_key("header:X-A"), parse_key("client-ip")], b"")
    request = head(headers={"X-A": "a, b"})

    assert made.keys(request, "192.0.2.7") is None
    assert made.unclear_keys(request, "192.0.2.7") == made.keys(head(), "192.0.2.7")
    assert made.sources(request, "192.0.2.7") == made.sources(head(), "192.0.2.7")
