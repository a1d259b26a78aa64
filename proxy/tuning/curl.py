"""A command line of curl, as people paste it, to the request that it sends.

Options that change the request are heeded, those that only change what curl does are passed over, and any
other is refused: better no answer than one about another request.
"""

from __future__ import annotations

import argparse
import re
import shlex
from base64 import b64encode
from typing import NoReturn
from urllib.parse import quote_plus, unquote, urlsplit

from proxy.tuning.typed_request import TypedError, TypedRequest, header_of

_PROMPTS = frozenset("$%#>")
_IS_CURL = re.compile(r"(?:.*[/\\])?curl(?:\.exe)?")  # a path may end in it, and so may a URL
_CONTINUED = re.compile(r"[\\^]\r?\n")
_ANSI_QUOTED = re.compile(r"\$'((?:[^'\\]|\\.)*)'")  # what browsers write where a value holds a quote
_ANSI_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|(.))")
_ANSI_LETTERS = {"n": "\n", "r": "\r", "t": "\t"}

_URL_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^/?#]*)([^?#]*)(.*)", re.DOTALL)

_DATA = ("-d", "--data", "--data-raw", "--data-binary", "--data-ascii")
_FORM = ("-F", "--form", "--form-string")
_TEXTS = (
    *("-X --request", "-u --user", "-b --cookie", "-A --user-agent", "-e --referer", "-T --upload-file"),
    *("-r --range", "--oauth2-bearer"),
)
_FLAGS = ("-I --head", "-G --get", "--compressed", "--path-as-is")
# They change nothing of the request's head: the first take no value, the others one.
_PASSED_FLAGS = (
    *("-s --silent", "-S --show-error", "-L --location", "-k --insecure", "-i --include", "-v --verbose"),
    *("-f --fail", "-N --no-buffer", "-g --globoff", "-4 --ipv4", "-6 --ipv6", "-O --remote-name"),
    *("-J --remote-header-name", "-q --disable", "-Z --parallel", "-# --progress-bar", "-a --append"),
    *("--http1.1", "--http2", "--http2-prior-knowledge", "--http3", "--fail-with-body"),
    *(
        "--no-progress-meter",
        "--no-keepalive",
        "--retry-all-errors",
        "--retry-connrefused",
        "--ssl-no-revoke",
    ),
    *("--tlsv1.2", "--tlsv1.3", "--location-trusted", "--basic"),
)
_PASSED_TEXTS = (
    *("-o --output", "-w --write-out", "-m --max-time", "-x --proxy", "-E --cert", "-c --cookie-jar"),
    *("-D --dump-header", "--connect-timeout", "--cacert", "--key", "--resolve", "--retry", "--limit-rate"),
    *("--interface", "--unix-socket", "--connect-to", "--retry-delay", "--retry-max-time", "--max-redirs"),
    *(
        "--keepalive-time",
        "--tls-max",
        "--ciphers",
        "--capath",
        "--cert-type",
        "--key-type",
        "--pass",
        "--noproxy",
    ),
    *("--trace-ascii", "--trace", "--output-dir"),
)


def of_curl(command: str) -> TypedRequest:
    """Raises TypedError."""
    words = _words(command)
    while words and words[0] in _PROMPTS:
        words = words[1:]
    if words and _IS_CURL.fullmatch(words[0]) and "://" not in words[0]:
        words = words[1:]
    given, others = _parser().parse_known_args(words)
    if odd := [word for word in others if word.startswith("-")]:
        raise TypedError(f"cannot read the command line of curl: {odd[0]} is not known here")
    urls = [*given.url, *others]
    if len(urls) != 1:
        raise TypedError("a command line of curl with one URL is needed")
    return _request(given, urls[0] if "://" in urls[0] else f"http://{urls[0]}")


def _words(command: str) -> list[str]:
    joined = _CONTINUED.sub(" ", command.strip())
    try:
        return shlex.split(_ANSI_QUOTED.sub(lambda match: shlex.quote(_unescaped(match[1])), joined))
    except ValueError as error:
        raise TypedError(f"cannot read the command line of curl: {str(error).lower()}") from None


def _unescaped(text: str) -> str:
    def letter(match: re.Match[str]) -> str:
        code = match[1] or match[2]
        return chr(int(code, 16)) if code else _ANSI_LETTERS.get(match[3], match[3])

    return _ANSI_ESCAPE.sub(letter, text)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise TypedError(f"cannot read the command line of curl: {message}")


def _parser() -> _Parser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("--url", action="append", default=[])
    parser.add_argument("-H", "--header", action="append", default=[])
    parser.add_argument("--json", action="append", default=[])
    parser.add_argument(*_DATA, action="append", default=[], dest="data")
    parser.add_argument("--data-urlencode", action="append", dest="data", type=_encoded)
    parser.add_argument(*_FORM, action="append", default=[], dest="form")
    for names in _TEXTS:
        parser.add_argument(*names.split())
    for names in _FLAGS:
        parser.add_argument(*names.split(), action="store_true")
    for names in _PASSED_FLAGS:
        parser.add_argument(*names.split(), action="store_true", dest="passed_flag")
    for names in _PASSED_TEXTS:
        parser.add_argument(*names.split(), dest="passed_text")
    return parser


def _encoded(text: str) -> str:
    """`name=value`, `=value` or `value`, of which the value is encoded."""
    name, mark, value = text.partition("=")
    if not mark:
        return quote_plus(text)
    return f"{name}={quote_plus(value)}" if name else quote_plus(value)


def _headers(lines: list[str]) -> tuple[list[tuple[str, str]], set[str]]:
    """Those that are sent, and the names of all that are spoken of: `Name:` leaves out, `Name;` is empty."""
    headers, named = [], set()
    for line in lines:
        is_empty = ":" not in line and line.endswith(";")
        name, value = (line[:-1].strip(), "") if is_empty else header_of(line)
        named.add(name.lower())
        if value or is_empty:
            headers.append((name, value))
    return headers, named


def _request(given: argparse.Namespace, url: str) -> TypedRequest:
    data = "&".join(given.data) or "".join(given.json)
    has_data = bool(given.data or given.json)
    if not given.path_as_is:
        url = _without_dots(url)
    headers, named = _headers(given.header)
    if given.get and data:
        url += f"{'&' if urlsplit(url).query else '?'}{data}"
    if given.get:
        data, has_data = "", False
    defaults = {
        "User-Agent": given.user_agent or "curl/8",
        "Accept": "application/json" if given.json else "*/*",
        "Referer": given.referer,
        "Cookie": given.cookie,
        "Accept-Encoding": "deflate, gzip, br, zstd" if given.compressed else None,
        "Range": f"bytes={given.range}" if given.range else None,
        "Authorization": _authorization(given, url),
        "Content-Type": _content_type(given) if has_data or given.form else None,
    }
    headers += ((name, value) for name, value in defaults.items() if value and name.lower() not in named)
    body_bytes = len(data.encode()) if has_data else None
    return TypedRequest(given.request or _method(given, has_data=has_data), url, headers, body_bytes)


def _without_dots(url: str) -> str:
    """Resolves them as curl does before it asks (RFC 3986 section 5.2.4)."""
    parts = _URL_PARTS.fullmatch(url)
    if parts is None:
        return url
    before, path, after = parts.groups()
    kept: list[str] = []
    names = path.split("/")[1:]
    for name in names:
        if name == "..":
            del kept[-1:]
        elif name != ".":
            kept.append(name)
    if names and names[-1] in (".", ".."):
        kept.append("")
    return f"{before}{'/' if names else ''}{'/'.join(kept)}{after}"


def _authorization(given: argparse.Namespace, url: str) -> str | None:
    """What an option says, or what stands before the host."""
    if given.oauth2_bearer:
        return f"Bearer {given.oauth2_bearer}"
    user, mark, _ = urlsplit(url).netloc.rpartition("@")
    login = given.user or (unquote(user if ":" in user else f"{user}:") if mark else None)
    return f"Basic {b64encode(login.encode()).decode()}" if login else None


def _content_type(given: argparse.Namespace) -> str:
    if given.form:
        return "multipart/form-data; boundary=------------------------0123456789abcdef"
    return "application/json" if given.json else "application/x-www-form-urlencoded"


def _method(given: argparse.Namespace, *, has_data: bool) -> str:
    if given.head:
        return "HEAD"
    if given.upload_file:
        return "PUT"
    return "POST" if has_data or given.form else "GET"
