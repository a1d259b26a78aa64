"""Lines of access logs: what is read of each format, and what is passed over."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tuning.formats import CombinedFormat, FieldError, WeirFormat, recognised

AT = 1_767_225_600_000_000  # 2026-01-01T00:00:00Z
WEIR = '{"time":"2026-01-01T00:00:00.000Z","request_id":"1","client":"192.0.2.1","peer":"10.0.0.1","method":"GET","target":"/a","status":200,"source":"upstream","keys":{"per-user":"00ff"}}'
COMBINED = '192.0.2.1 - - [01/Jan/2026:00:00:00 +0000] "GET /a HTTP/1.1" 200 12 "-" "curl/8" "tok"'


def one(line, key_field=None):
    """What is read of a log that has this line alone."""
    found = recognised(line.encode(), key_field)
    assert found is not None
    ((at, logged),) = found.read(line.encode() + b"\n")
    return at, logged


def nothing(line, key_field=None):
    found = recognised(line if isinstance(line, bytes) else line.encode(), key_field)
    return found is None


def test_own_line_is_read():
    at, logged = one(WEIR)

    assert at == AT
    assert (logged.client, logged.method, logged.target, logged.status) == ("192.0.2.1", "GET", "/a", 200)
    assert bytes(logged.keys) == b'{"per-user":"00ff"}'


def test_own_line_of_a_client_on_a_unix_socket_is_read():
    """It has no address; lines of others that lack one are not taken for ours."""
    line = WEIR.replace('"192.0.2.1"', '""').replace('"source"', '"outcome":"served","source"')
    log = recognised(line.encode(), None)

    assert log.name == "Weir"
    assert len(log.read(line.encode())) == 1


def test_own_log_of_a_program_is_not_its_access_log():
    assert nothing('{"time":"2026-01-01T00:00:00.000Z","level":"info","event":"serving"}')


@pytest.mark.parametrize(
    "fields",
    [
        {"time": "2026-01-01T00:00:00Z", "remote_addr": "192.0.2.1", "request": "GET /a HTTP/1.1", "status": "200"},
        {"msec": 1767225600.0, "remote_addr": "192.0.2.1", "request_method": "GET", "request_uri": "/a", "status": 200},
        {"@timestamp": "2026-01-01T00:00:00Z", "client": {"ip": "192.0.2.1"}, "http": {"request": {"method": "GET"}, "response": {"status_code": 200}}, "url": {"original": "/a"}},
        {"time": "2026-01-01T00:00:00Z", "source": "a.log", "address": "192.0.2.1", "method": "GET", "path": "/a", "status": 200},
        {"ts": 1767225600000, "client.ip": "192.0.2.1", "method": "GET", "path": "/a", "status": 200},
    ],
)  # fmt: skip
def test_json_of_others_is_read_by_its_names(fields):
    at, logged = one(json.dumps(fields))

    assert at == AT
    assert (logged.client, logged.method, logged.target, logged.status) == ("192.0.2.1", "GET", "/a", 200)


def test_key_of_json_is_a_member_by_its_name():
    fields = {"time": "2026-01-01T00:00:00Z", "ip": "::1", "auth": {"user": "ann"}, "token": "t", "n": None}

    assert one(json.dumps(fields), "auth.user")[1].credential == "ann"
    assert one(json.dumps(fields), "token")[1].credential == "t"
    assert one(json.dumps(fields), "n")[1].credential == ""


@pytest.mark.parametrize(
    "line",
    [
        COMBINED,
        '192.0.2.1 - - [01/Jan/2026:00:00:00 +0000] "GET /a HTTP/1.1" 200 12',
        '192.0.2.1 - - [01/Jan/2026:00:00:00 +0000] "GET /a HTTP/2.0" 200 - "-" "odd \\"agent\\""',
        'www.example.com:443 192.0.2.1 - - [01/Jan/2026:01:00:00 +0100] "GET /a HTTP/1.1" 200 12 "-" "-"',
        '192.0.2.1 - ann example [01/Jan/2026:00:00:00 +0000] "GET /a HTTP/1.1" 200 12 "-" "-"',
        '192.0.2.1 - - [2026-01-01T00:00:00+00:00] "GET /a HTTP/1.1" 200 12 "-" "-"\r',
    ],
)
def test_combined_line_is_read(line):
    at, logged = one(line)

    assert at == AT
    assert (logged.client, logged.method, logged.target, logged.status) == ("192.0.2.1", "GET", "/a", 200)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("10", "tok"), ("-2", "tok"), ("-1", "rt=0.1"), ("11", "rt=0.1"), ("12", ""), ("8", ""), ("9", "a b"),
        ("1", "192.0.2.1"), ("3", "ann"), ("user", "ann"), ("agent", "a b"), ("client", "192.0.2.1"),
    ],
)  # fmt: skip
def test_key_of_a_combined_line_is_a_column(field, value):
    line = '192.0.2.1 - ann [01/Jan/2026:00:00:00 +0000] "GET /a HTTP/1.1" 200 12 "-" "a b" "tok" rt=0.1'

    assert one(line, field)[1].credential == value


def test_escapes_of_a_combined_line_are_undone():
    line = '192.0.2.1 - - [01/Jan/2026:00:00:00 +0000] "GET /a\\x22b HTTP/1.1" 200 12 "-" "-" "t\\"k"'
    _, logged = one(line, "10")

    assert (logged.target, logged.credential) == ('/a"b', 't"k')


@pytest.mark.parametrize("field", ["0", "x", "100", "1.5", ""])
def test_field_that_no_combined_log_has_is_told(field):
    with pytest.raises(FieldError, match="a field is the number of a column"):
        recognised(COMBINED.encode(), field)


PLAIN = st.text(st.sampled_from('abz019 -."[]\\/:x'), max_size=12)


@given(
    st.sampled_from(["192.0.2.1", "2001:db8::1", "-", "a b", ""]),
    st.sampled_from(["-", "ann", "a b"]),
    st.sampled_from(["GET /a HTTP/1.1", "GET /a b HTTP/1.1", "GET", "", "PUT /x HTTP/3", "GET /a"]),
    st.sampled_from(["200 12", "200 -", "20 1", "x 1", "200"]),
    st.lists(PLAIN, max_size=3),
    st.sampled_from([None, "10", "8", "3", "-1"]),
)
def test_short_way_reads_a_combined_line_as_the_long_one_does(client, user, request, result, tail, field):
    words = "".join(f' "{word}"' for word in tail)
    line = f'{client} - {user} [01/Jan/2026:00:00:00 +0000] "{request}" {result}{words}'
    combined = CombinedFormat(field)
    long = combined._odd(line)

    assert combined.read(line.encode("latin-1") + b"\n") == ([long] if long is not None else [])


def test_csv_is_read_by_its_header():
    table = recognised(b"time,client,path,api_key,status\r\n", "api_key")
    rows = b'time,client,path,api_key,status\r\n2026-01-01T00:00:00Z,192.0.2.1,"/a,b",k1,200\r\nshort,row\r\nno time,x,y,z,1\r\n1767225601,192.0.2.2,/c,-,\r\n'
    (first, one), (second, other) = table.read(rows)

    assert (first, second) == (AT, AT + 1_000_000)
    assert (one.client, one.method, one.target, one.credential, one.status) == (
        "192.0.2.1",
        "GET",
        "/a,b",
        "k1",
        200,
    )
    assert (other.target, other.credential, other.status) == ("/c", "", 0)


def test_csv_without_the_field_says_which_there_are():
    with pytest.raises(FieldError, match=r"there is no field user; there are time, client$"):
        recognised(b"time,client\n", "user")


@pytest.mark.parametrize(
    "line", ["", "hello world", "time", "a,b,c", "{", "{}", "[1]", "\x00\x01", '"', "x" * 1000]
)
def test_what_is_no_log_is_not_recognised(line):
    assert nothing(line)


GARBAGE = [
    b"", b"\n", b"garbage", b"{", b'{"time": 5}', b"\xff\xfe\x00", b"[" * 5000, b'{"a":' * 5000, b"null", b"7",
    WEIR.replace("2026", "yesterday").encode(), WEIR.replace('"status":200', '"status":"x"').encode(),
    WEIR.replace("GET", "\\ud800").encode(), COMBINED.encode(), b'{"time":"2026-01-01T00:00:00.000Z","client":""}',
]  # fmt: skip


@given(st.lists(st.sampled_from([WEIR.encode(), *GARBAGE]), max_size=12))
def test_garbage_among_own_lines_costs_nothing_but_itself(lines):
    found = WeirFormat().read(b"".join(line + b"\n" for line in lines))

    assert len(found) == lines.count(WEIR.encode())


@given(st.binary(max_size=200), st.sampled_from([None, "10", "key"]))
def test_anything_is_recognised_or_not(data, field):
    """Never an error, but for a field that there is not."""
    try:
        found = recognised(data, field)
    except FieldError:
        return
    if found is not None:
        found.read(data + b"\n")


def test_program_that_writes_ever_new_members_is_read_all_the_same():
    """What is remembered of their names is bounded, and what is read is as without it."""
    lines = [
        json.dumps({"time": AT // 1000, "client": "192.0.2.1", f"member{number}": 1}) for number in range(200)
    ]
    found = recognised(lines[0].encode(), None).read("\n".join(lines).encode() + b"\n")

    assert [(at, logged.client) for at, logged in found] == [(AT, "192.0.2.1")] * 200


def test_combined_line_of_no_moment_costs_only_itself():
    good = COMBINED.encode()
    lines = b"\n".join([good, good.replace(b"01/Jan", b"99/Jan"), good]) + b"\n"

    assert [at for at, _ in recognised(good, None).read(lines)] == [AT, AT]
