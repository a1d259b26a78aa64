"""Command lines of curl, as people type them and as browsers copy them."""

import shutil
import socket
import subprocess
import threading

import pytest

from proxy.tuning.curl import of_curl
from proxy.tuning.typed_request import TypedError, typed


def head(command):
    lines = of_curl(command).head().decode("latin-1").split("\r\n")
    return lines[0], {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:-2])
    }


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("curl http://a/b?c=d#e", "GET /b?c=d HTTP/1.1"),
        ("curl a.example/b", "GET /b HTTP/1.1"),
        ("curl 1x://a/../b", "GET 1x://a/../b HTTP/1.1"),
        ("curl https://a", "GET / HTTP/1.1"),
        ("curl https://a?x=1", "GET /?x=1 HTTP/1.1"),
        ("curl -I https://a/b", "HEAD /b HTTP/1.1"),
        ("curl -X DELETE https://a/b", "DELETE /b HTTP/1.1"),
        ("curl -XPUT --url https://a/b", "PUT /b HTTP/1.1"),
        ("curl https://a/b -d x=1 -d y=2", "POST /b HTTP/1.1"),
        ("curl -G https://a/b?z=0 -d x=1 --data-urlencode y=2", "GET /b?z=0&x=1&y=2 HTTP/1.1"),
        ("curl -G https://a/b --data-urlencode 'x y'", "GET /b?x+y HTTP/1.1"),
        ("curl -T file https://a/b", "PUT /b HTTP/1.1"),
        ("curl --json '{}' https://a/b", "POST /b HTTP/1.1"),
        ("curl -sSL -o /dev/null -w '%{http_code}' --max-time 5 https://a/b", "GET /b HTTP/1.1"),
        ("https://a/b -H 'X: y'", "GET /b HTTP/1.1"),
        ("$ /usr/bin/curl.exe https://a/b", "GET /b HTTP/1.1"),
        ("curl -F a=b https://a/b", "POST /b HTTP/1.1"),
        ("curl -d '' https://a/b", "POST /b HTTP/1.1"),
        ("curl --json '' https://a/b", "POST /b HTTP/1.1"),
        ("curl -G -d '' https://a/b", "GET /b HTTP/1.1"),
        ("curl https://a/x/../b?c=/../d", "GET /b?c=/../d HTTP/1.1"),
        ("curl https://a/x/./b/..", "GET /x/ HTTP/1.1"),
        ("curl https://a/../..//b/.", "GET //b/ HTTP/1.1"),
        ("curl --path-as-is https://a/x/../b", "GET /x/../b HTTP/1.1"),
    ],
)
def test_request_line_is_that_of_curl(command, line):
    assert head(command)[0] == line


def test_headers_are_those_of_curl():
    _, headers = head(
        "curl 'https://me:pw@shop.example:8443/b' -H 'X-Auth-Token: ann' -u ann:pw -b 'sid=1' -A ua -e ref --json '{\"a\": 1}'"
    )

    assert headers == {
        "host": "shop.example:8443", "x-auth-token": "ann", "authorization": "Basic YW5uOnB3", "cookie": "sid=1",
        "user-agent": "ua", "referer": "ref", "accept": "application/json", "content-type": "application/json", "content-length": "8",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("command", "name", "value"),
    [
        ("curl https://me:p%40ss@a/", "authorization", "Basic bWU6cEBzcw=="),
        ("curl https://me@a/", "authorization", "Basic bWU6"),
        ("curl https://me@a/ -u ann:pw", "authorization", "Basic YW5uOnB3"),
        ("curl https://a/ --compressed", "accept-encoding", "deflate, gzip, br, zstd"),
        (
            "curl https://a/ -F a=b",
            "content-type",
            "multipart/form-data; boundary=------------------------0123456789abcdef",
        ),
        ("curl https://a/ -H 'sec-ch-ua;'", "sec-ch-ua", ""),
        ("curl https://a/ -H 'Accept:'", "accept", None),
    ],
)
def test_header_is_that_of_curl(command, name, value):
    assert head(command)[1].get(name) == value


def test_own_header_takes_the_place_of_what_curl_would_send():
    _, headers = head(
        "curl https://a -H 'host: b' -H 'User-Agent: mine' -H 'accept: text/html' -d x -H 'Content-Type: a/b'"
    )

    assert (headers["host"], headers["user-agent"], headers["accept"], headers["content-type"]) == (
        "b",
        "mine",
        "text/html",
        "a/b",
    )


@pytest.mark.parametrize("before", ["", "curl ", "$ curl ", "> /usr/bin/curl ", "C:/curl.exe "])
def test_what_stands_before_the_url_is_passed_over(before):
    """But no URL that ends like it."""
    line, _ = head(f"{before}https://shop.example/docs/curl")

    assert line == "GET /docs/curl HTTP/1.1"


def test_what_a_browser_copies_is_read():
    """Over several lines, with quotes within quotes."""
    line, headers = head(
        "curl 'https://shop.example/api/a' \\\n  -H 'accept: */*' \\\n  -H $'x-note: it\\'s \\u0041' \\\n"
        '  --data-raw $\'{"a":"it\\\'s\\\\n"}\' \\\n  --compressed ;'.removesuffix(" ;")
    )

    assert line == "POST /api/a HTTP/1.1"
    assert headers["x-note"] == "it's A"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("", "one URL is needed"),
        ("curl", "one URL is needed"),
        ("curl https://a https://b", "one URL is needed"),
        ("curl 'https://a", "no closing quotation"),
        ("curl https://a --teleport", "--teleport is not known here"),
        ("curl https://a -H", "expected one argument"),
        ("curl https://a -H nothing", "a header is written 'Name: value'"),
        ("curl https://a -H $'X: a\\r\\nY: b'", "has the end of a line in it"),
        ("curl https://a/\u4e2d", "percent-encoded"),
    ],
)
def test_what_is_no_request_is_told(command, said):
    with pytest.raises(TypedError, match=said):
        of_curl(command).head()


@pytest.mark.parametrize(
    ("method", "target", "headers"), [("GET", "/a b", []), ("GET", "/", ["X: y\nZ: z"]), ("GET\r\n", "/", [])]
)
def test_typed_request_is_one_head(method, target, headers):
    """What would be two is refused; what a parser refuses is left to it."""
    try:
        data = typed(method, target, headers).head()
    except TypedError:
        return
    assert data.count(b"\r\n\r\n") == 1
    assert data.endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [], ["-d", "x=1"], ["-I"], ["-u", "ann:pw", "-b", "a=1"], ["--json", '{"a":1}'], ["-X", "PATCH", "-H", "X-A: b"],
        ["-G", "-d", "q=1"], ["-A", "ua", "-e", "http://r/"], ["--oauth2-bearer", "tok"], ["-r", "0-9"],
        ["-H", "User-Agent:"], ["-H", "X-Empty;"], ["--data-urlencode", "q=a b&c", "--data-urlencode", "=x y"],
        ["-G", "--data-urlencode", "q=a b"],
    ],
)  # fmt: skip
def test_curl_itself_sends_the_same(arguments):
    """The head that the program sends, but for its version."""
    if shutil.which("curl") is None:
        pytest.fail("curl is missing")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        seen = []

        def answer():
            connection, _ = server.accept()
            with connection:
                data = b""
                while b"\r\n\r\n" not in data:
                    data += connection.recv(65536)
                seen.append(data.partition(b"\r\n\r\n")[0])
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        command = ["curl", "-s", "-o", "/dev/null", *arguments, f"http://127.0.0.1:{port}/b?c=d"]
        subprocess.run(command, check=True, timeout=20)
        thread.join()
    sent = seen[0].decode().split("\r\n")
    ours = of_curl(" ".join(f"'{word}'" for word in command)).head().decode().split("\r\n")[:-2]

    assert ours[0] == sent[0]
    assert normal(ours[1:]) == normal(sent[1:])


def normal(lines):
    return sorted(
        "user-agent: curl" if line.lower().startswith("user-agent: curl/") else line.lower() for line in lines
    )
