"""The body of a redacted answer as text for the log: bounded, decoded as far as it goes, secrets masked.

Of what is no text the words in it are shown. Never raises. A bomb is cut like any other body, as no decoder
is asked for more than the bound. Brotli and Zstandard are decoded where a library for them is installed.
"""

from __future__ import annotations

import re
import zlib
from importlib import import_module
from typing import TYPE_CHECKING, Any

from proxy.contract.masking import masked

if TYPE_CHECKING:
    from collections.abc import Callable

    Decoder = Callable[[bytes, int], bytes]  # data, most bytes to give

CAPTURE_BYTES = 16 * 1024  # of the body, as it came and decoded
STRINGS_BYTES = 4096  # of the words in what is no text
SLICE_BYTES = 32  # decoded at once where a body breaks: 16 KiB take 0.3 ms
CODINGS_MAX = 3  # a body that is coded more often is left as it is
GZIP_MEMBERS_MAX = 8
WINDOW_BYTES_MAX = 8 * 1024 * 1024  # of Zstandard, RFC 8878 section 3.1.1.1.2: what every decoder supports

_CHARSET = re.compile(rb"charset=[\"']?([\w\-]+)", re.IGNORECASE)
_CHARSETS = frozenset(b"utf-8 us-ascii iso-8859-1 windows-1252 utf-16 utf-16le utf-16be".split())
_WORDS = re.compile(rb"[\x20-\x7e]{6,}")
_UNPRINTABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f\ufffd]")


def captured(data: bytes, content_encoding: bytes = b"", content_type: bytes = b"") -> str:
    """What `data`, the beginning of a body, says as far as it can be read, within CAPTURE_BYTES."""
    taken = data[:CAPTURE_BYTES]
    whole = decoded(taken, content_encoding)
    if whole is not None:
        return _shown(whole, content_type, len(data))
    part = decoded_in_part(taken, content_encoding)
    remark = f"<{len(data)} bytes that cannot be decoded>"
    if not part:
        return _strings(remark, taken)
    return f"{_shown(part, content_type, len(data))[: CAPTURE_BYTES - len(remark) - 1]} {remark}"


def _shown(content: bytes, content_type: bytes, size: int) -> str:
    text = _text(content, content_type)
    if len(_UNPRINTABLE.findall(text)) * 8 > len(text):
        return _strings(f"<{size} bytes that are no text>", content)
    return masked(text)[:CAPTURE_BYTES]


def _strings(remark: str, data: bytes) -> str:
    """What is words in the midst of bytes.

    A colon stands for what was between: between a name and its secret there may have been a length or a type.
    """
    words = b": ".join(_WORDS.findall(data.replace(b"\x00", b"\x01")))[:STRINGS_BYTES]
    return f"{remark} {masked(words.decode('ascii'))}".strip()[:CAPTURE_BYTES]


def decoded(data: bytes, content_encoding: bytes) -> bytes | None:
    """Decodes at most CAPTURE_BYTES of the content; None if it cannot be had whole."""
    codings = _codings(content_encoding)
    if len(codings) > CODINGS_MAX:
        return None
    for coding in codings:
        decoder = _DECODERS.get(coding)
        if decoder is None:
            return None
        try:
            data = decoder(data, CAPTURE_BYTES)[:CAPTURE_BYTES]
        except Exception:  # noqa: BLE001 - five libraries with errors of their own, and the log must not fail
            return None
    return data


def decoded_in_part(data: bytes, content_encoding: bytes) -> bytes:
    """What comes before the place at which it breaks; empty if that is the beginning."""
    codings = _codings(content_encoding)
    if len(codings) > CODINGS_MAX:
        return b""
    for coding in codings:
        if coding not in _STEPPERS:
            return b""
        data = _until_it_breaks(coding, data)
    return data


def _codings(content_encoding: bytes) -> list[bytes]:
    """The last one that was put on comes first."""
    codings = [coding.strip().lower() for coding in content_encoding.split(b",")]
    return [coding for coding in reversed(codings) if coding not in (b"", b"identity")]


def _until_it_breaks(coding: bytes, data: bytes) -> bytes:
    """Slice by slice to the one that breaks, then byte by byte into it.

    An error takes with it what its own call would have given.
    """
    good, out = 0, b""
    for step in (SLICE_BYTES, 1):
        try:
            decoder = _STEPPERS[coding](data)
            out = decoder(data[:good], CAPTURE_BYTES) if good else b""
            while good < len(data) and len(out) < CAPTURE_BYTES:
                out += decoder(data[good : good + step], CAPTURE_BYTES - len(out))
                good += step
        except Exception:  # noqa: BLE001, S112 - five libraries with errors of their own
            continue
    return out


def _text(data: bytes, content_type: bytes) -> str:
    named = _CHARSET.search(content_type)
    charset = named[1].lower() if named else b"utf-8"
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        charset = b"utf-16"
    text = data.decode(charset.decode() if charset in _CHARSETS else "utf-8", "replace")
    # Without zeros, UTF-16 that nobody declared can be read too, and its secrets found.
    return text.replace("\x00", "")


def _gzip(data: bytes, limit: int) -> bytes:
    out = b""
    for _ in range(GZIP_MEMBERS_MAX):
        member = zlib.decompressobj(zlib.MAX_WBITS | 16)
        out += member.decompress(data, limit - len(out))
        data = member.unused_data
        if not data or len(out) >= limit:
            break
    return out


def _deflate(data: bytes, limit: int) -> bytes:
    """Takes the zlib header that the RFC has, and does without it as some senders do (RFC 9110 section
    8.4.1.2).
    """
    try:
        return zlib.decompressobj().decompress(data, limit)
    except zlib.error:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, limit)


def _imported(*names: str) -> Any:
    for name in names:
        try:
            return import_module(name)
        except ImportError:
            continue
    return None


_brotli = _imported("brotli", "brotlicffi")
_zstd = _imported("compression.zstd", "backports.zstd")
_zstandard = _imported("zstandard")


def _brotli_decoded(data: bytes, limit: int) -> bytes:
    # A library without a limit of output (before 1.2) refuses the argument: not decoded rather than bombed.
    out: bytes = _brotli.Decompressor().process(data, output_buffer_limit=limit)
    return out


def _zstd_decoded(data: bytes, limit: int) -> bytes:
    parameter = _zstd.DecompressionParameter.window_log_max
    options = {parameter: WINDOW_BYTES_MAX.bit_length() - 1}
    out: bytes = _zstd.ZstdDecompressor(options=options).decompress(data, limit)
    return out


def _zstandard_decoded(data: bytes, limit: int) -> bytes:  # pragma: no cover - tests have the other library
    decompressor = _zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES_MAX)
    with decompressor.stream_reader(data) as reader:
        return bytes(reader.read(limit))


def _gzip_step(_: bytes) -> Decoder:
    member = zlib.decompressobj(zlib.MAX_WBITS | 16)

    def step(data: bytes, limit: int) -> bytes:
        nonlocal member
        out = b""
        while data and len(out) < limit:
            if member.eof:
                member = zlib.decompressobj(zlib.MAX_WBITS | 16)
            out += member.decompress(data, limit - len(out))
            data = member.unused_data
        return out

    return step


def _deflate_step(data: bytes) -> Decoder:
    try:
        zlib.decompressobj().decompress(data[:2])
    except zlib.error:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress
    return zlib.decompressobj().decompress


def _brotli_step(_: bytes) -> Decoder:
    decompressor = _brotli.Decompressor()

    def step(data: bytes, limit: int) -> bytes:
        out: bytes = decompressor.process(data, output_buffer_limit=limit)
        return out

    return step


def _zstd_step(_: bytes) -> Decoder:
    out: Decoder = _zstd.ZstdDecompressor().decompress
    return out


_STEPPERS: dict[bytes, Callable[[bytes], Decoder]] = {
    b"gzip": _gzip_step,
    b"x-gzip": _gzip_step,
    b"deflate": _deflate_step,
}
_DECODERS: dict[bytes, Decoder] = {b"gzip": _gzip, b"x-gzip": _gzip, b"deflate": _deflate}
if _brotli is not None:  # pragma: no branch - tests have it
    _DECODERS[b"br"] = _brotli_decoded
    _STEPPERS[b"br"] = _brotli_step
if _zstd is not None:  # pragma: no branch - tests have it
    _DECODERS[b"zstd"] = _zstd_decoded
    _STEPPERS[b"zstd"] = _zstd_step
elif _zstandard is not None:  # pragma: no cover - tests have the other library
    _DECODERS[b"zstd"] = _zstandard_decoded
