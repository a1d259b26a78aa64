"""Messages as bytes, for tests to send. Text becomes Latin-1, which is what it is on the wire."""

from __future__ import annotations


def get(
    *headers: str | bytes,
    target: str | bytes = b"/",
    method: str | bytes = "GET",
    version: str | bytes = "HTTP/1.1",
) -> bytes:
    """A request's head; headers are whole lines, Host is there."""
    start = b"%b %b %b" % (_bytes(method), _bytes(target), _bytes(version))
    return b"\r\n".join([start, b"Host: shop.example", *map(_bytes, headers)]) + b"\r\n\r\n"


def post(
    body: bytes = b"hello", *headers: str | bytes, target: str | bytes = b"/", method: str | bytes = "POST"
) -> bytes:
    """A request whose body has a length."""
    return get(*headers, f"Content-Length: {len(body)}", target=target, method=method) + body


def answer(
    status: int = 200, body: bytes = b"ok", *headers: str | bytes, reason: str = "", length: bool = True
) -> bytes:
    """A response as bytes. Headers are whole lines; Content-Length is added unless `length` is false."""
    lines = [_bytes(f"HTTP/1.1 {status} {reason or 'Whatever'}"), *map(_bytes, headers)]
    if length:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(*pieces: bytes, trailers: bytes = b"") -> bytes:
    """A whole chunked body, a chunk for each piece."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailers + b"\r\n"


def _bytes(text: str | bytes) -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else text
