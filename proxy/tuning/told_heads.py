"""The head of a request as far as a log tells it, for the policy to read.

A log knows method, target and client; a credential it knows by the field that `--key-field` names, or, in
Weir's own log, by the hash of each limit's key. Such a value is put where the limit reads its key from: what
counts is who shares a bucket with whom, and that it tells as well. Headers that a limit asks for are there if
the log says that the limit applied. Knows nothing of buckets and files.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64encode
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import msgspec

from proxy.http1.head import METHODS, HeaderSection, RequestHead, request_head
from proxy.policy.matching import Matcher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.config.key_names import KeyPart
    from proxy.config.sections.limits import LimitSettings, Match
    from proxy.config.settings import Settings
    from proxy.tuning.logged import Logged

LINE_BYTES = 128 * 1024  # the log has bounded it
HEADERS_MAX = 1000
_NO_FIELDS = HeaderSection(b"\r\n")
_CARRIED = ("header", "cookie", "jwt", "query", "host")
_WORD = re.compile(r"[!-~]+")  # of a request line
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]+")  # has one reading wherever it stands
_WITH_SCHEME = re.compile(r"[A-Za-z]+ [A-Za-z0-9._~+/=-]+")


class _Draft:
    """A head that is being put together."""

    def __init__(self) -> None:
        self.host = "weir.invalid"
        self.headers: dict[str, str] = {}
        self.cookies: dict[str, str] = {}
        self.claims: dict[str, str] = {}
        self.query: dict[str, str] = {}
        self.carried: set[KeyPart] = set()

    def carry(self, part: KeyPart, value: str) -> None:
        """Has the request carry the value where this part of a key is read from."""
        self.carried.add(part)
        match part.kind:
            case "header" if part.name.lower() == "authorization":
                self.headers[part.name] = value if _WITH_SCHEME.fullmatch(value) else f"Bearer {_safe(value)}"
            case "header":
                self.headers[part.name] = _safe(value)
            case "cookie":
                self.cookies[part.name] = _safe(value)
            case "jwt":
                self.claims[part.name] = value
            case "query":
                self.query[part.name] = value
            case _:  # the host, the last of those that are carried
                self.host = f"{_safe(value)}.invalid"

    def carry_all(self, parts: Sequence[KeyPart], value: str) -> None:
        for part in parts:
            self.carry(part, value)

    def bytes_of(self, method: str, target: str) -> bytes:
        path, mark, query = target.partition("?")
        if self.query:  # what the log shows of it may be masked
            query = "&".join(f"{quote(name)}={quote(value, safe='')}" for name, value in self.query.items())
        lines = [f"{method} {path}{'?' if mark or query else ''}{query} HTTP/1.1", f"Host: {self.host}"]
        if self.claims:
            self.headers["Authorization"] = f"Bearer e30.{_base64(json.dumps(self.claims))}.e30"
        if self.cookies:
            self.headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        lines += (f"{name}: {value}" for name, value in self.headers.items())
        return "\r\n".join((*lines, "", "")).encode("utf-8", "replace")


def _safe(value: str) -> str:
    """Another text for a value that cannot stand there, and another one for each."""
    return value if _TOKEN.fullmatch(value) else f"x{value.encode('utf-8', 'surrogatepass').hex()}"


def _base64(text: str) -> str:
    return urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


class Said(NamedTuple):
    """What Weir's own log says of the limits: keys by the names of those that charged, and who are exempt."""

    keys: dict[str, list[str]]
    exempt: list[str]


def said(logged: Logged) -> Said:
    """Whatever else stands there says nothing."""
    keys = {name: _texts(value) for name, value in _decoded(bytes(logged.keys)).items()}
    exempt = _texts(_decoded(bytes(logged.limits)).get("exempt"))
    return Said({name: value for name, value in keys.items() if value}, exempt)


def _decoded(data: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(data) if data else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _texts(value: object) -> list[str]:
    """One text, or a list of them."""
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, str)]


class ToldHeads:
    """Puts heads together."""

    def __init__(self, settings: Settings, logged: Sequence[LimitSettings] = ()) -> None:
        """Made for the config that is tried; `logged` are the limits of that which wrote the log."""
        tried = settings.limits
        self._methods = METHODS.union(method.encode() for method in settings.downstream.methods)
        self._by_name = {limit.name: limit for limit in (*tried, *logged)}
        self._logged = {limit.name: Matcher(_line_of(limit)) for limit in logged}
        self._carriers = {limit.name: carriers(limit) for limit in self._by_name.values()}
        # Who has least choice chooses first, so that no limit meets one credential in two places.
        self._tried = sorted(
            [(limit.name, found) for limit in tried if (found := carriers(limit))],
            key=lambda each: len(each[1]),
        )

    def head(self, logged: Logged, told: Said) -> RequestHead | None:
        """None for what no parser would take: it is refused before any limit."""
        if not _WORD.fullmatch(logged.method) or not _WORD.fullmatch(logged.target):
            return None
        draft = _Draft()
        for name in (*told.keys, *told.exempt):
            if limit := self._by_name.get(name):
                draft.headers |= _satisfying(limit.match.headers)
        for name in told.exempt:
            if limit := self._by_name.get(name):
                draft.headers |= _satisfying(limit.exempt.headers)
        for name, keys in told.keys.items():
            for parts, key in zip(self._carriers.get(name, ()), keys, strict=False):
                draft.carry_all(parts, key)
        known = self._credential(told) or logged.credential
        if known:
            self._carry_for_others(draft, known, told, self._silent(logged, told))
        data = draft.bytes_of(logged.method, logged.target)
        head = request_head(data, LINE_BYTES, HEADERS_MAX, None, self._methods)
        return head if isinstance(head, RequestHead) else None

    def _credential(self, told: Said) -> str:
        """A key that is no address: of a limit that reads credentials, or of one that nobody knows."""
        for name, keys in told.keys.items():
            if name not in self._by_name or self._carriers[name]:
                return keys[0]
        return ""

    def _silent(self, logged: Logged, told: Said) -> frozenset[str]:
        """Limits that wrote nothing of a request whose line they look at: it had nothing of their keys."""
        if not told.keys:
            return frozenset()
        head = RequestHead(logged.method.encode(), logged.target.encode("utf-8", "replace"), 1, _NO_FIELDS)
        return frozenset(
            name for name, match in self._logged.items() if name not in told.keys and match.holds(head)
        )

    def _carry_for_others(self, draft: _Draft, known: str, told: Said, silent: frozenset[str]) -> None:
        """Limits that the log cannot speak of read their keys from the same credential."""
        for name, entries in self._tried:
            if name not in told.keys and name not in silent and draft.carried.isdisjoint(chain(*entries)):
                draft.carry_all(entries[0], known)


def carriers(limit: LimitSettings) -> list[list[KeyPart]]:
    """Where a limit reads credentials, by the entries of its key."""
    entries = [[part for part in spec.parts if part.kind in _CARRIED] for spec in limit.key]
    return [parts for parts in entries if parts]


def _line_of(limit: LimitSettings) -> Match:
    """What it asks of a request's line alone."""
    return limit.match.model_copy(update={"headers": {}, "absent": ()})


def _satisfying(globs: Mapping[str, str]) -> dict[str, str]:
    """Headers that fit."""
    return {name: glob.replace("*", "") or "x" for name, glob in globs.items()}
