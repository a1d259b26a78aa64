"""Raw request heads and their verdicts: the rows of the design's "refused at the door", and what passes it.

One table for the tests of the head and for anybody who wants to try them against a running Weir. A row is a name, the
bytes up to the empty line, and the fault, or None where the request is let in.
"""

from proxy import faults
from proxy.faults import Fault

LINE_BYTES = 200  # the limits that the rows about sizes are written for
HEADERS_MAX = 10

START = b"GET /x HTTP/1.1\r\n"
HOST = b"Host: a.example\r\n"


def get(fields: bytes = b"", target: bytes = b"/x", method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    return b"%b %b HTTP/%b\r\n%b%b\r\n" % (method, target, version, HOST, fields)


def host(value: bytes) -> bytes:
    return b"GET /x HTTP/1.1\r\nHost:%b\r\n\r\n" % value


def absolute(target: bytes, host: bytes = b"a.example", method: bytes = b"GET") -> bytes:
    return b"%b %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (method, target, host)


CHUNKED = b"Transfer-Encoding: chunked\r\n"
LENGTH = b"Content-Length: 3\r\n"

GRAMMAR: list[tuple[str, bytes, Fault | None]] = [
    ("plain", get(), None),
    ("many fields", get(b"A: 1\r\nB:2\r\nC:\t3\r\nD:\r\nE: \r\n"), None),
    ("name of odd tokens", get(b"!#$%&'*+-.^_`|~0Az: 1\r\n"), None),
    ("obs-text in a value", get(b"X: caf\xc3\xa9 \xff\r\n"), None),
    ("colon in a value", get(b"X::a:b\r\n"), None),
    ("tab in a value", get(b"X: a\tb\r\n"), None),
    ("bare LF", b"GET /x HTTP/1.1\nHost: a.example\r\n\r\n", faults.MALFORMED_HEAD),
    ("bare LF after a field", START + b"Host: a.example\nX: y\r\n\r\n", faults.MALFORMED_HEAD),
    ("empty line of a bare LF", START + HOST + b"\nX: y\r\n\r\n", faults.MALFORMED_HEAD),
    ("bare CR", START + b"Host: a.example\rX: y\r\n\r\n", faults.MALFORMED_HEAD),
    ("CR before CRLF", START + b"Host: a.example\r\r\n\r\n", faults.MALFORMED_HEAD),
    ("folded line", get(b"X: a\r\n b\r\n"), faults.MALFORMED_HEAD),
    ("folded line by tab", get(b"X: a\r\n\tb\r\n"), faults.MALFORMED_HEAD),
    ("space before the first field", START + b" X: a\r\n" + HOST + b"\r\n", faults.MALFORMED_HEAD),
    ("space before the colon", get(b"X : a\r\n"), faults.MALFORMED_HEAD),
    ("tab before the colon", get(b"X\t: a\r\n"), faults.MALFORMED_HEAD),
    ("no colon", get(b"X\r\n"), faults.MALFORMED_HEAD),
    ("no name", get(b": a\r\n"), faults.MALFORMED_HEAD),
    ("NUL in a value", get(b"X: a\0b\r\n"), faults.MALFORMED_HEAD),
    ("control in a value", get(b"X: a\x01b\r\n"), faults.MALFORMED_HEAD),
    ("DEL in a value", get(b"X: a\x7fb\r\n"), faults.MALFORMED_HEAD),
    ("NUL in a name", get(b"X\0: a\r\n"), faults.MALFORMED_HEAD),
    ("obs-text in a name", get(b"X\xe9: a\r\n"), faults.MALFORMED_HEAD),
    ("parenthesis in a name", get(b"X(y): a\r\n"), faults.MALFORMED_HEAD),
]

REQUEST_LINE: list[tuple[str, bytes, Fault | None]] = [
    ("HTTP/1.0", get(version=b"1.0"), None),
    ("HTTP/1.0 without Host", b"GET /x HTTP/1.0\r\n\r\n", None),
    ("unusual method", get(method=b"PROPFIND"), None),
    ("HTTP/0.9", b"GET /x\r\n\r\n", faults.MALFORMED_HEAD),
    ("HTTP/0.9, said", b"GET /x HTTP/0.9\r\n\r\n", faults.UNSUPPORTED_VERSION),
    ("HTTP/1.2", get(version=b"1.2"), faults.UNSUPPORTED_VERSION),
    ("HTTP/1.10", get(version=b"1.10"), faults.UNSUPPORTED_VERSION),
    ("HTTP/2.0", get(version=b"2.0"), faults.UNSUPPORTED_VERSION),
    ("HTTP/2", get(version=b"2"), faults.UNSUPPORTED_VERSION),
    ("HTTP/2's preface", b"PRI * HTTP/2.0\r\n\r\n", faults.UNSUPPORTED_VERSION),
    ("LF before the method", b"\n" + get(), faults.MALFORMED_HEAD),
    ("CR before the method", b"\r" + get(), faults.MALFORMED_HEAD),
    ("CRLF before the method", b"\r\n" + get(), faults.MALFORMED_HEAD),
    ("space before the method", b" " + get(), faults.MALFORMED_HEAD),
    ("lower-case version", b"GET /x http/1.1\r\n" + HOST + b"\r\n", faults.MALFORMED_HEAD),
    ("RTSP", b"OPTIONS /x RTSP/1.0\r\n" + HOST + b"\r\n", faults.MALFORMED_HEAD),
    ("lower-case method", get(method=b"get"), faults.UNKNOWN_METHOD),
    ("unknown method", get(method=b"GOT"), faults.UNKNOWN_METHOD),
    ("two spaces", b"GET  /x HTTP/1.1\r\n" + HOST + b"\r\n", faults.MALFORMED_HEAD),
    ("two spaces before the version", b"GET /x  HTTP/1.1\r\n" + HOST + b"\r\n", faults.MALFORMED_HEAD),
    ("space after the version", b"GET /x HTTP/1.1 \r\n" + HOST + b"\r\n", faults.MALFORMED_HEAD),
    ("tab for a space", b"GET\t/x HTTP/1.1\r\n" + HOST + b"\r\n", faults.MALFORMED_HEAD),
    ("space in the target", b"GET /x y HTTP/1.1\r\n" + HOST + b"\r\n", faults.MALFORMED_HEAD),
    ("line at its limit", get(target=b"/" + b"x" * (LINE_BYTES - 14)), None),
    ("line too long", get(target=b"/" + b"x" * (LINE_BYTES - 13)), faults.LINE_TOO_LONG),
    ("line too long and malformed", get(target=b"/" + b"\xff" * LINE_BYTES), faults.LINE_TOO_LONG),
    ("fields at their limit", get(b"X: y\r\n" * (HEADERS_MAX - 1)), None),
    ("too many fields", get(b"X: y\r\n" * HEADERS_MAX), faults.TOO_MANY_HEADERS),
    ("CONNECT", b"CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\r\n", faults.METHOD_REFUSED),
    ("CONNECT with a path", get(method=b"CONNECT"), faults.METHOD_REFUSED),
    ("TRACE", get(method=b"TRACE"), faults.METHOD_REFUSED),
]

TARGETS: list[tuple[str, bytes, Fault | None]] = [
    ("query", get(target=b"/x?a=b&c=/?"), None),
    ("path that looks like an authority", get(target=b"//host/x"), None),
    ("odd but visible", get(target=b"/x\"<>\\^`{|}?'"), None),
    ("OPTIONS *", get(method=b"OPTIONS", target=b"*"), None),
    ("* of another method", get(target=b"*"), faults.BAD_TARGET),
    ("fragment", get(target=b"/x#y"), faults.BAD_TARGET),
    ("fragment in a query", get(target=b"/x?y#z"), faults.BAD_TARGET),
    ("NUL in the target", get(target=b"/x\0"), faults.MALFORMED_HEAD),
    ("LF in the target", get(target=b"/x?y\nGET"), faults.MALFORMED_HEAD),  # llhttp takes it
    ("CR in the target", get(target=b"/x\ry"), faults.MALFORMED_HEAD),
    ("tab in the target", get(target=b"/x\ty"), faults.MALFORMED_HEAD),
    ("DEL in the target", get(target=b"/x\x7f"), faults.MALFORMED_HEAD),
    ("obs-text in the target", get(target=b"/caf\xc3\xa9"), faults.MALFORMED_HEAD),
    ("relative target", get(target=b"x"), faults.MALFORMED_HEAD),
    ("authority as a target", get(target=b"a.example:80"), faults.MALFORMED_HEAD),
    ("absolute-form", absolute(b"http://a.example/x"), None),
    ("absolute-form, https", absolute(b"https://a.example/x"), None),
    ("absolute-form, case", absolute(b"HTTP://A.Example/x", b"a.eXAMPLE"), None),
    ("absolute-form, default port", absolute(b"http://a.example:80/x"), None),
    ("absolute-form, Host with the default port", absolute(b"https://a.example/x", b"a.example:443"), None),
    ("absolute-form, same port", absolute(b"http://a.example:8080/x", b"a.example:8080"), None),
    ("absolute-form, IPv6", absolute(b"http://[::1]:8080/x", b"[::1]:8080"), None),
    ("absolute-form without a path", absolute(b"http://a.example"), None),
    ("absolute-form, query only", absolute(b"http://a.example?x=1"), None),
    ("absolute-form, elsewhere", absolute(b"http://b.example/x"), faults.MISDIRECTED),
    ("absolute-form, other port", absolute(b"http://a.example:81/x"), faults.MISDIRECTED),
    ("absolute-form, port of another scheme", absolute(b"http://a.example:443/x"), faults.MISDIRECTED),
    ("absolute-form, no Host", b"GET http://a.example/x HTTP/1.0\r\n\r\n", faults.MISDIRECTED),
    ("absolute-form, user", absolute(b"http://u:p@a.example/x"), faults.BAD_TARGET),
    ("absolute-form, no authority", absolute(b"http:///x"), faults.BAD_TARGET),
    ("absolute-form, other scheme", absolute(b"ftp://a.example/x"), faults.BAD_TARGET),
    ("absolute-form, fragment", absolute(b"http://a.example/x#y"), faults.BAD_TARGET),
]

HOSTS: list[tuple[str, bytes, Fault | None]] = [
    ("host with port", host(b" a.example:8080"), None),
    ("host with spaces around it", host(b" \t a.example \t "), None),
    ("address", host(b" 192.0.2.1:80"), None),
    ("IPv6 address", host(b" [2001:db8::1]"), None),
    ("IPv6 address with port", host(b" [::1]:80"), None),
    ("percent-encoded host", host(b" a%2Db"), None),
    ("no Host", b"GET /x HTTP/1.1\r\n\r\n", faults.BAD_HOST),
    ("two Hosts", get(b"Host: a.example\r\n"), faults.BAD_HOST),
    ("two different Hosts", get(b"hOST: b.example\r\n"), faults.BAD_HOST),
    ("two Hosts, one empty", get(b"Host:\r\n"), faults.BAD_HOST),
    ("two Hosts in HTTP/1.0", get(HOST, version=b"1.0"), faults.BAD_HOST),
    ("empty Host", host(b""), faults.BAD_HOST),
    ("Host of spaces", host(b"  "), faults.BAD_HOST),
    ("list of hosts", host(b" a.example,b.example"), faults.BAD_HOST),
    ("user in Host", host(b" u@a.example"), faults.BAD_HOST),
    ("path in Host", host(b" a.example/x"), faults.BAD_HOST),
    ("scheme in Host", host(b" http://a.example"), faults.BAD_HOST),
    ("query in Host", host(b" a.example?x"), faults.BAD_HOST),
    ("space in Host", host(b" a.example b.example"), faults.BAD_HOST),
    ("obs-text in Host", host(b" caf\xc3\xa9.example"), faults.BAD_HOST),
    ("half an escape in Host", host(b" a%2.example"), faults.BAD_HOST),
    ("empty port", host(b" a.example:"), faults.BAD_HOST),
    ("port out of range", host(b" a.example:99999"), faults.BAD_HOST),
    ("port of letters", host(b" a.example:http"), faults.BAD_HOST),
    ("only a port", host(b" :80"), faults.BAD_HOST),
    ("two ports", host(b" a.example:80:81"), faults.BAD_HOST),
    ("IPv6 without brackets", host(b" ::1"), faults.BAD_HOST),
    ("IPv6, bracket open", host(b" [::1"), faults.BAD_HOST),
    ("IPv6 that is none", host(b" [:::1]"), faults.BAD_HOST),
    ("IPv6 with a zone", host(b" [fe80::1%25eth0]"), faults.BAD_HOST),
]

FRAMING: list[tuple[str, bytes, Fault | None]] = [
    ("length", get(LENGTH), None),
    ("length of nothing", get(b"Content-Length: 0\r\n"), None),
    ("length with zeros before it", get(b"Content-Length: 003\r\n"), None),
    ("length with spaces around it", get(b"Content-Length: \t3 \t\r\n"), None),
    ("chunked", get(CHUNKED), None),
    ("chunked, odd case", get(b"tRANSFER-eNCODING: cHUNKED\r\n"), None),
    ("chunked with spaces around it", get(b"Transfer-Encoding: \tchunked  \r\n"), None),
    ("chunked with a tab behind it", get(b"Transfer-Encoding: chunked\t\r\n"), faults.MALFORMED_HEAD),
    ("chunked in HTTP/1.0", get(CHUNKED, version=b"1.0"), faults.CHUNKED_IN_HTTP10),
    ("gzip in HTTP/1.0", get(b"Transfer-Encoding: gzip\r\n", version=b"1.0"), faults.CHUNKED_IN_HTTP10),
    ("length and chunked", get(LENGTH + CHUNKED), faults.AMBIGUOUS_LENGTH),
    ("chunked and length", get(CHUNKED + LENGTH), faults.AMBIGUOUS_LENGTH),
    ("chunked and length in HTTP/1.0", get(CHUNKED + LENGTH, version=b"1.0"), faults.AMBIGUOUS_LENGTH),
    ("two lengths", get(LENGTH * 2), faults.AMBIGUOUS_LENGTH),
    ("two different lengths", get(LENGTH + b"content-length: 4\r\n"), faults.AMBIGUOUS_LENGTH),
    ("list of lengths", get(b"Content-Length: 3, 3\r\n"), faults.AMBIGUOUS_LENGTH),
    ("chunked twice", get(CHUNKED * 2), faults.AMBIGUOUS_LENGTH),
    ("chunked, then identity", get(CHUNKED + b"Transfer-Encoding: identity\r\n"), faults.AMBIGUOUS_LENGTH),
    ("gzip, then chunked", get(b"Transfer-Encoding: gzip\r\n" + CHUNKED), faults.AMBIGUOUS_LENGTH),
    ("empty length", get(b"Content-Length:\r\n"), faults.AMBIGUOUS_LENGTH),
    ("length with a plus", get(b"Content-Length: +3\r\n"), faults.AMBIGUOUS_LENGTH),
    ("negative length", get(b"Content-Length: -3\r\n"), faults.AMBIGUOUS_LENGTH),
    ("hexadecimal length", get(b"Content-Length: 0x3\r\n"), faults.AMBIGUOUS_LENGTH),
    ("length with an underscore", get(b"Content-Length: 1_0\r\n"), faults.AMBIGUOUS_LENGTH),
    ("fraction of a length", get(b"Content-Length: 3.0\r\n"), faults.AMBIGUOUS_LENGTH),
    ("split length", get(b"Content-Length: 3 4\r\n"), faults.AMBIGUOUS_LENGTH),
    ("length beyond 64 bits", get(b"Content-Length: 18446744073709551619\r\n"), faults.AMBIGUOUS_LENGTH),
    ("length beyond 18 digits", get(b"Content-Length: 9223372036854775807\r\n"), faults.AMBIGUOUS_LENGTH),
    ("identity", get(b"Transfer-Encoding: identity\r\n"), faults.UNKNOWN_CODING),
    ("gzip", get(b"Transfer-Encoding: gzip\r\n"), faults.UNKNOWN_CODING),
    ("gzip and chunked", get(b"Transfer-Encoding: gzip, chunked\r\n"), faults.UNKNOWN_CODING),
    ("chunked and gzip", get(b"Transfer-Encoding: chunked, gzip\r\n"), faults.UNKNOWN_CODING),
    ("chunked and chunked", get(b"Transfer-Encoding: chunked, chunked\r\n"), faults.UNKNOWN_CODING),
    ("chunked and a comma", get(b"Transfer-Encoding: chunked,\r\n"), faults.UNKNOWN_CODING),
    ("comma and chunked", get(b"Transfer-Encoding: ,chunked\r\n"), faults.UNKNOWN_CODING),
    ("quoted chunked", get(b'Transfer-Encoding: "chunked"\r\n'), faults.UNKNOWN_CODING),
    ("chunked with a parameter", get(b"Transfer-Encoding: chunked;q=1\r\n"), faults.UNKNOWN_CODING),
    ("xchunked", get(b"Transfer-Encoding: xchunked\r\n"), faults.UNKNOWN_CODING),
    ("empty coding", get(b"Transfer-Encoding:\r\n"), faults.UNKNOWN_CODING),
    ("vertical tab before chunked", get(b"Transfer-Encoding: \x0bchunked\r\n"), faults.UNKNOWN_CODING),
    ("space before the coding's colon", get(b"Transfer-Encoding : chunked\r\n"), faults.MALFORMED_HEAD),
    ("folded coding", get(b"Transfer-Encoding:\r\n chunked\r\n"), faults.UNKNOWN_CODING),
    ("good length, bad field", get(LENGTH + b"X : a\r\n"), faults.MALFORMED_HEAD),
    ("good coding, bad field", get(CHUNKED + b"X : a\r\n"), faults.MALFORMED_HEAD),
    ("100-continue", get(LENGTH + b"Expect: 100-Continue \r\n"), None),
    ("unknown expectation", get(b"Expect: 200-ok\r\n"), faults.UNKNOWN_EXPECTATION),
    ("two expectations", get(b"Expect: 100-continue\r\n" * 2), faults.UNKNOWN_EXPECTATION),
    ("empty expectation", get(b"Expect:\r\n"), faults.UNKNOWN_EXPECTATION),
    ("upgrade", get(b"Connection: Upgrade\r\nUpgrade: websocket\r\n"), None),
]

CASES = GRAMMAR + REQUEST_LINE + TARGETS + HOSTS + FRAMING
