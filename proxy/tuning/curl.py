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
from urllib.parse import urlsplit

from proxy.tuning.typed_request import TypedError, TypedRequest, header_of

_CONTINUED = re.compile(r"[\\^]\r?\n")
_ANSI_QUOTED = re.compile(r"\$'((?:[^'\\]|\\.)*)'")  # what browsers write where a value holds a quote
_ANSI_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|x([0-9A-Fa-f]{2})|(.))")
_ANSI_LETTERS = {"n": "\n", "r": "\r", "t": "\t"}

_DATA = ("-d", "--data", "--data-raw", "--data-binary", "--data-ascii", "--data-urlencode", "-F", "--form")
_TEXTS = ("-X --request", "-u --user", "-b --cookie", "-A --user-agent", "-e --referer", "-T --upload-file")
_FLAGS = ("-I --head", "-G --get")
# They change nothing of the request's head: the first take no value, the others one.
_PASSED_FLAGS = (
    *("-s --silent", "-S --show-error", "-L --location", "-k --insecure", "-i --include", "-v --verbose"),
    *("-f --fail", "-N --no-buffer", "-g --globoff", "-4 --ipv4", "-6 --ipv6", "-O --remote-name"),
    *("--compressed", "--http1.1", "--http2", "--path-as-is"),
)
_PASSED_TEXTS = (
    *("-o --output", "-w --write-out", "-m --max-time", "-x --proxy", "-E --cert", "-c --cookie-jar"),
    *("-D --dump-header", "--connect-timeout", "--cacert", "--key", "--resolve", "--retry", "--limit-rate"),
    *("--interface", "--unix-socket", "--connect-to"),
)


def of_curl(command: str) -> TypedRequest:
    """Raises TypedError."""
    words = _words(command)
    given, others = _parser().parse_known_args(words[1:] if words[:1] == ["curl"] else words)
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
    for names in _TEXTS:
        parser.add_argument(*names.split())
    for names in _FLAGS:
        parser.add_argument(*names.split(), action="store_true")
    for names in _PASSED_FLAGS:
        parser.add_argument(*names.split(), action="store_true", dest="passed_flag")
    for names in _PASSED_TEXTS:
        parser.add_argument(*names.split(), dest="passed_text")
    return parser


def _request(given: argparse.Namespace, url: str) -> TypedRequest:
    data = "&".join(given.data) or "".join(given.json)
    headers = [header_of(line) for line in given.header]
    if given.get and data:
        url += f"{'&' if urlsplit(url).query else '?'}{data}"
        data = ""
    defaults = {
        "User-Agent": given.user_agent or "curl/8",
        "Accept": "application/json" if given.json else "*/*",
        "Referer": given.referer,
        "Cookie": given.cookie,
        "Authorization": f"Basic {b64encode(given.user.encode()).decode()}" if given.user else None,
        "Content-Type": _content_type(given) if data else None,
    }
    named = {name.lower() for name, _ in headers}
    headers += ((name, value) for name, value in defaults.items() if value and name.lower() not in named)
    return TypedRequest(given.request or _method(given, data), url, headers, len(data.encode()))


def _content_type(given: argparse.Namespace) -> str:
    return "application/json" if given.json else "application/x-www-form-urlencoded"


def _method(given: argparse.Namespace, data: str) -> str:
    if given.head:
        return "HEAD"
    if given.upload_file:
        return "PUT"
    return "POST" if data else "GET"
