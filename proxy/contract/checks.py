"""What the service promises for a status, and whether a response's head keeps it (the table of the contract).

A violation is a word for a metric's label and for the log; it never changes the response. Knows nothing of
bodies.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Fields = Mapping[bytes, bytes]  # by lower-case name


class Check(NamedTuple):
    rule: str  # the word for a violation, unique for its status
    promise: str  # one sentence, for people
    is_kept: Callable[[Fields], bool]


def _has(name: bytes) -> Check:
    spelled = name.decode().title().replace("Www-", "WWW-")
    rule = f"missing_{name.decode().removeprefix('x-').replace('-', '_')}"
    return Check(rule, f"has {spelled}", lambda fields: bool(fields.get(name)))


def _has_no_body(fields: Fields) -> bool:
    return b"transfer-encoding" not in fields and fields.get(b"content-length", b"0").strip() == b"0"


def _has_no_coding(fields: Fields) -> bool:
    return b"transfer-encoding" not in fields


CHECKS: dict[int, tuple[Check, ...]] = {
    201: (_has(b"location"), _has(b"x-global-identifier")),
    204: (Check("unexpected_body", "has no body", _has_no_body),),
    # RFC 9110 section 15.4.5: a 304 may say the Content-Length that the 200 would have.
    304: (Check("unexpected_body", "has no body", _has_no_coding),),
    401: (_has(b"www-authenticate"),),
    405: (_has(b"allow"),),
    429: (_has(b"retry-after"),),
}


def violations(status: int, fields: Fields) -> tuple[str, ...]:
    """The rules that the response's head breaks; nothing for a status without rules."""
    checks = CHECKS.get(status)
    if checks is None:
        return ()
    return tuple([check.rule for check in checks if not check.is_kept(fields)])
