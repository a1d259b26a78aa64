"""What the service promises for each status, and whether a response's head keeps it.

The table of the contract is the service's own; an entry of `contract.rules` replaces what it names of it,
for its statuses. A violation is a word for a metric's label and for the log; it never changes the response.
Judged is the head alone: what has neither Content-Length nor Transfer-Encoding may have a body or not. Knows
nothing of bodies.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from proxy.config.sections.answers import ContractRule

    Fields = Mapping[bytes, bytes]  # by lower-case name

_BODILESS = (204, 304)  # RFC 9110 sections 15.3.5 and 15.4.5


class Promise(NamedTuple):
    """What the answers of a status must have."""

    headers: tuple[str, ...] = ()
    media_types: tuple[str, ...] = ()  # globs; none: whatever
    body: str = "any"  # or required, or none

    def replaced(self, rule: ContractRule, status: int) -> Promise:
        """Takes what the rule says; what it is silent about stays, what a status cannot have is left out."""
        headers = self.headers if rule.headers is None else rule.headers
        if status in _BODILESS:
            return Promise(headers, (), rule.body if rule.body in ("none", "any") else self.body)
        return Promise(
            headers,
            self.media_types if rule.media_types is None else rule.media_types,
            self.body if rule.body is None else rule.body,
        )

    def __str__(self) -> str:
        parts = [f"has {name}" for name in self.headers]
        if self.body != "any":
            parts.append("has a body" if self.body == "required" else "has no body")
        if self.media_types:
            parts.append(f"is {' or '.join(self.media_types)}")
        return ", ".join(parts)


TABLE: dict[int, Promise] = {
    201: Promise(("Location", "X-Global-Identifier")),
    204: Promise(body="none"),
    304: Promise(body="none"),
    401: Promise(("WWW-Authenticate",)),
    405: Promise(("Allow",)),
    429: Promise(("Retry-After",)),
}


class Check(NamedTuple):
    rule: str  # the word for a violation, unique for its status
    is_kept: Callable[[Fields], bool]


class Contract:
    """The table and the rules of one config, compiled."""

    __slots__ = ("_promises", "checks", "headers_alone")

    def __init__(self, rules: Sequence[ContractRule] = ()) -> None:
        promises = dict(TABLE)
        for rule in rules:
            for status in range(rule.status.low, rule.status.high + 1):
                promises[status] = promises.get(status, Promise()).replaced(rule, status)
        self._promises = {status: said for status, said in sorted(promises.items()) if said != Promise()}
        self.checks = {status: _checks(status, said) for status, said in self._promises.items()}
        self.headers_alone: dict[int, tuple[bytes, ...]] = {  # of statuses that promise nothing else
            status: tuple(name.lower().encode() for name in said.headers)
            for status, said in self._promises.items()
            if said == Promise(said.headers)
        }

    def violations(self, status: int, fields: Fields) -> tuple[str, ...]:
        """The rules that the response's head breaks; nothing for a status without rules."""
        checks = self.checks.get(status)
        if checks is None:
            return ()
        return tuple([check.rule for check in checks if not check.is_kept(fields)])

    def rows(self, is_judged: Callable[[int], bool]) -> list[tuple[str, str]]:
        """Tells people what is promised: a status, or a run of them, and what they promise."""
        judged = [status for status in self._promises if is_judged(status)]
        rows = []
        # Of neighbours in a run, status less position stays the same.
        for _, run in groupby(enumerate(judged), lambda each: (each[1] - each[0], self._promises[each[1]])):
            statuses = [status for _, status in run]
            first, last = statuses[0], statuses[-1]
            rows.append((f"{first}" if first == last else f"{first}-{last}", str(self._promises[first])))
        return rows


def _checks(status: int, promise: Promise) -> tuple[Check, ...]:
    checks = [_has(name.lower().encode()) for name in promise.headers]
    if promise.body == "required":
        checks.append(Check("missing_body", _may_have_body))
    elif promise.body == "none":
        # RFC 9110 section 15.4.5: a 304 may say the Content-Length that the 200 would have.
        checks.append(Check("unexpected_body", _has_no_coding if status == 304 else _may_lack_body))
    if promise.media_types:
        checks.append(_is_of(promise.media_types))
    return tuple(checks)


@cache
def _has(name: bytes) -> Check:
    rule = f"missing_{name.decode().removeprefix('x-').replace('-', '_')}"
    return Check(rule, lambda fields: bool(fields.get(name)))


@cache
def _is_of(globs: tuple[str, ...]) -> Check:
    """Only what may have a body is judged; without a Content-Type, only what has one for certain."""
    sources = [re.escape(glob.lower()).replace(r"\*", "[^/;,]*") for glob in globs]
    matches = re.compile("|".join(sources).encode()).fullmatch

    def is_kept(fields: Fields) -> bool:
        if not _may_have_body(fields):
            return True
        media_type = fields.get(b"content-type", b"").partition(b";")[0].strip().lower()
        return matches(media_type) is not None if media_type else _may_lack_body(fields)

    return Check("media_type", is_kept)


def _has_no_coding(fields: Fields) -> bool:
    return b"transfer-encoding" not in fields


def _may_lack_body(fields: Fields) -> bool:
    return b"transfer-encoding" not in fields and fields.get(b"content-length", b"0").strip(b" \t0") == b""


def _may_have_body(fields: Fields) -> bool:
    return b"transfer-encoding" in fields or fields.get(b"content-length", b"1").strip(b" \t0") != b""
