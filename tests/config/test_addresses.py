"""Addresses, servers, stores and origins; and that no message repeats a password."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.config.addresses import (
    Address,
    UpstreamUrl,
    is_loopback,
    parse_access,
    parse_address,
    parse_collector,
    parse_host,
    parse_origin,
    parse_server,
    parse_store,
)

SECRET = "hunter2zz"


def said(parse, value):
    with pytest.raises(ValueError) as caught:
        parse(value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:8080", Address("0.0.0.0", 8080)),
        ("localhost:0", Address("localhost", 0)),
        ("[::1]:8080", Address("::1", 8080)),
        ("[2001:DB8:0::1]:80", Address("2001:db8::1", 80)),
        ("my_host.internal:80", Address("my_host.internal", 80)),
        ("unix:/run/weir.sock", Address("", 0, "/run/weir.sock")),
    ],
)
def test_address_is_host_and_port_or_a_path(text, address):
    assert parse_address(text) == parse_address(address) == address
    assert parse_address(address.address) == address
    assert str(address) == address.address


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (8080, "needs a host: write 127.0.0.1:8080, or 0.0.0.0:8080 for every interface"),
        (":8080", "needs a host: write 0.0.0.0:8080 for every interface"),
        ("*:8080", "needs a host: write 0.0.0.0:8080 for every interface"),
        ("localhost", "needs a port: write localhost:8080"),
        ("[::1]", "needs a port: write [::1]:8080"),
        ("::1:8080", "an IPv6 address goes in brackets: write [::1]:8080"),
        ("http://0.0.0.0:80", "is an address, not a URL: write host:port, such as 127.0.0.1:8080"),
        ("15:30", "the host looks like an IPv4 address but is none: four numbers from 0 to 255"),
        ("256.0.0.1:80", "the host looks like an IPv4 address but is none: four numbers from 0 to 255"),
        ("[::zz]:80", "what stands in brackets must be an IPv6 address, such as [::1]"),
        ("-a:80", "the host must be a name, an IPv4 address or an IPv6 address in brackets"),
        ("a b:80", "the host must be a name, an IPv4 address or an IPv6 address in brackets"),
        ("localhost:http", "the port must be a whole number from 0 to 65535"),
        ("localhost:65536", "the port must be a whole number from 0 to 65535"),
        ("unix:weir.sock", "the path of a Unix socket must be absolute: unix:/run/weir.sock"),
        ("unix:/" + "a" * 107, "the path of a Unix socket holds at most 107 bytes"),
        ("", "is empty: write host:port"),
        (None, "must be an address such as 127.0.0.1:8080, not null"),
    ],
)
def test_address_that_is_none_says_what_to_write(value, message):
    assert said(parse_address, value) == message


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("127.0.0.1:1", True),
        ("127.8.8.8:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/a", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.0.0.1:1", False),
        ("localhost.example:1", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(text, answer):
    assert is_loopback(parse_address(text)) is answer


@pytest.mark.parametrize(
    ("text", "url", "authority"),
    [
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000", "127.0.0.1:9000"),
        ("http://app", "http://app", "app"),
        ("http://app:80/", "http://app", "app"),
        ("HTTPS://app", "https://app", "app"),
        ("https://app:8443", "https://app:8443", "app:8443"),
        ("http://[::1]:9000", "http://[::1]:9000", "[::1]:9000"),
        ("https://[::1]", "https://[::1]", "[::1]"),
    ],
)
def test_server_knows_its_authority(text, url, authority):
    server = parse_server(text)

    assert server.url == url
    assert server.authority == authority
    assert server.origin == f"{server.scheme}://{authority}"
    assert parse_server(server) is server
    assert str(server) == url


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("http://app:9000", True),
        ("http://127.0.0.1:9000", False),
        ("http://[::1]:9000", False),
        ("http+unix:///run/app.sock", False),
    ],
)
def test_server_with_a_name_must_be_looked_up(text, answer):
    assert parse_server(text).is_name is answer


@pytest.mark.parametrize(
    ("text", "host"),
    [("app.internal", "app.internal"), ("2001:DB8:0::1", "2001:db8::1"), ("192.0.2.7", "192.0.2.7")],
)
def test_host_is_a_name_or_an_address_alone(text, host):
    assert parse_host(text) == host


@pytest.mark.parametrize("text", ["app:80", "[::1]", "", "a b", "300.0.0.1"])
def test_host_that_is_none_says_so(text):
    assert said(parse_host, text) == "must be a name or an IP address, without a port"


def test_server_may_be_a_unix_socket():
    server = parse_server("http+unix:///run/app.sock")

    assert server == UpstreamUrl("http+unix:///run/app.sock", "http", "localhost", 80, "/run/app.sock")
    assert server.authority == "localhost"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("127.0.0.1:9000", "must be a URL with its scheme, such as http://127.0.0.1:9000"),
        ("app", "must be a URL with its scheme, such as http://127.0.0.1:9000"),
        ("htp://app", "must begin with http://, https:// or http+unix://; did you mean http://?"),
        ("ftp://app", "must begin with http://, https:// or http+unix://"),
        ("http://app/base", "a server's URL ends with its host or port: paths pass as the client sent them"),
        ("http://app?x", "a server's URL ends with its host or port: paths pass as the client sent them"),
        ("http://me:pw@app", "a server's URL cannot hold credentials"),
        ("http://", "a host is missing in the URL"),
        ("http://:80", "the host must be a name, an IPv4 address or an IPv6 address in brackets"),
        ("http://app:0", "the port must be a whole number from 1 to 65535"),
        ("http://::1", "an IPv6 address goes in brackets, such as [::1]:6379"),
        ("http://[::1", "the IPv6 address in the URL must end with ]"),
        ("http+unix://app.sock", "the path of a Unix socket must be absolute: http+unix:///run/service.sock"),
        (9000, "must be a URL such as http://127.0.0.1:9000, not a number"),
    ],
)
def test_server_that_is_none_says_what_to_write(value, message):
    assert said(parse_server, value) == message


@pytest.mark.parametrize(
    ("text", "kind", "tls", "addresses", "database"),
    [
        ("memory", "memory", False, (), 0),
        ("redis://localhost", "redis", False, (("localhost", 6379),), 0),
        ("redis://localhost:6380/3", "redis", False, (("localhost", 6380),), 3),
        ("rediss://[::1]:6380", "redis", True, (("::1", 6380),), 0),
        ("redis+cluster://a:1,b:2,c", "cluster", False, (("a", 1), ("b", 2), ("c", 6379)), 0),
        ("redis+sentinel://a,b:2/main/4", "sentinel", False, (("a", 26379), ("b", 2)), 4),
        ("rediss+sentinel://a/main", "sentinel", True, (("a", 26379),), 0),
        ("rediss+cluster://a,b:2", "cluster", True, (("a", 6379), ("b", 2)), 0),
    ],
)
def test_store_is_taken_apart(text, kind, tls, addresses, database):
    store = parse_store(text)

    assert (store.kind, store.tls, store.addresses, store.database) == (kind, tls, addresses, database)
    assert parse_store(str(store)) == parse_store(store) == store


def test_store_has_service_path_and_credentials():
    sentinel = parse_store("redis+sentinel://a/main")
    unix = parse_store("redis+unix://:p%40ss@/run/redis.sock")

    assert sentinel.service == "main"
    assert (unix.kind, unix.path, unix.username) == ("unix", "/run/redis.sock", None)
    assert unix.password.get_secret_value() == "p@ss"


def test_store_hides_its_password_wherever_it_is_shown():
    store = parse_store(f"redis://me:{SECRET}@localhost/1")

    assert str(store) == "redis://me:***@localhost:6379/1"
    assert SECRET not in repr(store)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("localhost:6379", "must be memory or a URL such as redis://127.0.0.1:6379"),
        ("ram", "must be memory or a URL such as redis://127.0.0.1:6379"),
        (
            "reddis://localhost",
            "must be memory, redis://, redis+unix://, redis+sentinel:// or redis+cluster://, with TLS rediss://,"
            " rediss+sentinel:// or rediss+cluster://; did you mean redis://?",
        ),
        (
            "redis://a:1,b:2",
            "names several hosts: write redis+cluster:// or redis+sentinel://, or keep one host",
        ),
        (
            "redis://localhost/x",
            "the number of the database at the end of the URL must be a whole number, such as /0",
        ),
        (
            "redis://localhost?db=1",
            "a store's URL has no query and no fragment; escape ? as %3F and # as %23 in a password",
        ),
        ("redis+cluster://a/1", "a cluster has no databases: end the URL after the last host"),
        (
            "redis+sentinel://a",
            "needs the service that the sentinels watch: redis+sentinel://host:26379/mymaster",
        ),
        (
            "redis+unix://run/redis.sock",
            "the path of a Unix socket must be absolute: redis+unix:///run/redis.sock",
        ),
        (
            "redis://:a/b@localhost",
            "escape / as %2F, @ as %40, ? as %3F and # as %23 in the password of a URL",
        ),
        ("redis://localhost:port", "the port must be a whole number from 1 to 65535"),
        (None, "must be memory or a URL such as redis://127.0.0.1:6379, not null"),
    ],
)
def test_store_that_is_none_says_what_to_write(value, message):
    assert said(parse_store, value) == message


JUNK = st.text(alphabet="ab:/@?#%[],. \n'\"\\", max_size=8)


@given(
    st.sampled_from(
        ["redis", "rediss", "redis+unix", "redis+sentinel", "rediss+cluster", "http", "https", "reds", ""]
    ),
    st.sampled_from(["://", ":", "//", ""]),
    JUNK,
    JUNK,
    st.sampled_from([parse_store, parse_server, parse_origin, parse_address]),
)
@example("redis", "://", ":", "/x@host:bad", parse_store)
def test_no_message_repeats_a_password(scheme, slashes, before, after, parse):
    """However a URL is broken, the message about it holds nothing of what may be its password."""
    text = f"{scheme}{slashes}{before}{SECRET}{after}"
    if parse is parse_address and ":" not in text:
        return  # an address that lacks only its port is shown with one
    try:
        parse(text)
    except ValueError as error:
        assert SECRET not in str(error)
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://api.example.com", "https://api.example.com"),
        ("https://API.example.com:443", "https://api.example.com"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_origin_is_scheme_host_and_port(text, origin):
    assert parse_origin(text) == origin


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("api.example.com", "must be an origin such as https://api.example.com"),
        ("ftp://api", "must be an origin such as https://api.example.com"),
        ("https://api/", "an origin ends with its host or port: leave out the slash at the end"),
        ("https://api/v1", "an origin ends with its host or port: paths pass as the client sent them"),
    ],
)
def test_origin_that_is_none_says_what_to_write(value, message):
    assert said(parse_origin, value) == message


@pytest.mark.parametrize("text", ["stdout", "off", "/var/log/weir.log", "./access.log", "logs/a"])
def test_access_log_goes_to_stdout_nowhere_or_a_file(text):
    assert parse_access(text) == text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("Stdout", "must be stdout, off or the path of a file, not 'Stdout'; did you mean stdout?"),
        (
            "access.log",
            "must be stdout, off or the path of a file, not 'access.log'; a file is written with its folder: './access.log'",
        ),
        (False, "must be stdout, off or the path of a file, not false; did you mean off?"),
        (None, "must be stdout, off or the path of a file, not null"),
    ],
)
def test_access_log_that_goes_nowhere_known_says_what_to_write(value, message):
    assert said(parse_access, value) == message


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("http://collector:4318", "http://collector:4318"),
        ("http://collector:4318/", "http://collector:4318"),
        ("http://collector:4318/v1/traces", "http://collector:4318"),
        ("https://Otlp.Example.com/tenant/otlp/", "https://otlp.example.com/tenant/otlp"),
        ("https://[::1]:4318", "https://[::1]:4318"),
    ],
)
def test_collector_is_meant_with_and_without_the_path_of_otlp(given, meant):
    """Both ways stand in the manuals of collectors."""
    assert parse_collector(given) == meant


@pytest.mark.parametrize(
    "text", ["collector:4318", "http://", "http://collector:4318?x", "http:///v1/traces"]
)
def test_collector_that_is_none_says_what_to_write(text):
    assert said(parse_collector, text) == "must be the URL of a collector such as http://collector:4318"


@pytest.mark.parametrize(
    ("listen", "host"),
    [
        ("0.0.0.0:1", "127.0.0.1"),
        ("[::]:1", "::1"),
        ("192.0.2.7:1", "192.0.2.7"),
        ("unix:/run/weir.sock", ""),
    ],
)
def test_address_that_is_open_to_the_world_is_found_on_loopback(listen, host):
    assert parse_address(listen).host_nearby == host
