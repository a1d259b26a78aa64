"""Secrets in a text that goes to the log, replaced by asterisks: rather once too often than once too seldom.

A rule is a pattern and its anchors, words in lower case; the pattern is tried right behind each anchor, so a
text without anchors costs some searches and nothing else. Quantifiers are possessive or bounded, and what is
masked is not searched again: no text makes the work quadratic. Knows nothing of where a text came from.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MASK = "***"


class Rule(NamedTuple):
    anchors: tuple[str, ...]
    pattern: re.Pattern[str]  # group "secret" is masked; without it, everything from the anchor on


def _rule(anchors: str | tuple[str, ...], pattern: str, flags: int = 0) -> Rule:
    words = tuple(anchors.split()) if isinstance(anchors, str) else anchors
    return Rule(words, re.compile(pattern, re.VERBOSE | re.IGNORECASE | re.ASCII | flags))


# What may stand between a name and its value, in JSON (also in a string), HTML, XML, Python, PHP, YAML, SQL.
_QUOTE = r"""(?: \\{0,3}+["'`] | &quot; | &\#0?3[49]; | &\#x2[27]; )"""
_TAG = r"</?[a-z][^<>]{0,80}+>"
_BETWEEN = rf"""
    (?: {_QUOTE}?+ \]?+ [\ \t]{{0,8}}+ (?: ==?>? | := | : ) (?: \s | {_TAG} ){{0,8}}+
      | (?: \s{{0,8}}+ {_TAG} ){{1,6}}+ \s{{0,8}}+
      | [\ \t]{{1,4}}+ (?=["'])
    )
    (?: string\(\d{{1,9}}\)[\ ] )?+ [\[(]?+"""
# A value in quotes, one that a semicolon ends (connection strings), one word.
_VALUE = r"""(?P<secret>
      "(?:[^"\\\r\n]|\\.)*+"?+ | '(?:[^'\\\r\n]|\\.)*+'?+
    | (?:\\{1,3}+["']|&quot;|&\#0?3[49];|&\#x2[27];) (?: [^"'\\&\r\n] | &(?!quot;|\#0?3[49];|\#x2[27];) )++
    | [^;&<>"'\r\n]{1,256}+(?=;)
    | [^\s;,&<>"'`]++ )"""
# To the end of the line, as in a dump of a request's header.
_LINE = r"""(?P<secret> "(?:[^"\\\r\n]|\\.)*+"?+ | '(?:[^'\\\r\n]|\\.)*+'?+ | [^\r\n"'<>]++ )"""
_REST_OF_NAME = r"[\w.\-]{0,40}+"
_CHALLENGE = (
    r"(?:realm|charset|error|scope|authorization_uri|resource|nonce|qop|stale|algorithm|domain|client_id)"
)

RULES: tuple[Rule, ...] = (
    _rule(
        "password passwd passphrase passcode pwd secret token credential signature api_key apikey"
        " api-key api.key access_key accesskey access-key account_key accountkey private_key"
        " privatekey private-key shared_key sharedkey encryption_key signing_key machinekey sessionid"
        " session_id session-id sessid connectionstring connection_string _auth",
        rf"{_REST_OF_NAME} {_BETWEEN} {_VALUE}",
    ),
    _rule("pass otp sid sig key ?code &code", rf"(?=[\"'\]\\=\ ]) {_BETWEEN} {_VALUE}"),
    _rule("authorization cookie", rf"{_REST_OF_NAME} {_BETWEEN} {_LINE}"),
    _rule(
        "--password --passwd --token --secret --api-key --pass",
        r"[\w\-]{0,40}+[\ =]{1,4}+(?P<secret>[^\s\"']++)",
    ),
    _rule(("identified by", "identified with", "with password"), rf"[^'\"\r\n]{{0,40}}+ {_VALUE}"),
    # A URL with a user and a password in it.
    _rule("://", r"[^\s/?\#@:\"'<>]{0,128}+:(?P<secret>[^\s\"'<>]{1,256})@"),
    # Words of an authentication scheme; not a challenge, nor plain English.
    _rule(
        ("bearer", "basic", "negotiate", "ntlm", "apikey", "digest"),
        rf"[\ +]{{1,4}}+(?!{_CHALLENGE}\w*=)(?!(?-i:[a-z]++)(?![\w.~+/=\-]))(?P<secret>[\w.~+/=\-]{{8,}}+)",
    ),
    # What can be told by its own shape.
    _rule("eyj", r"[\w\-]{8,}+(?:\.[\w\-]*+){0,4}+"),
    _rule("akia asia abia acca", r"[A-Z0-9]{12,}+"),
    _rule("ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- npm_ pypi- hf_ dop_v1_ shpat_", r"[\w\-]{16,}+"),
    _rule("xoxa- xoxb- xoxe- xoxp- xoxr- xoxs- xapp-", r"[\w\-]{8,}+"),
    _rule("sk_live_ sk_test_ rk_live_ rk_test_ whsec_ sk-", r"[\w\-]{16,}+"),
    _rule("aiza ya29.", r"[\w.\-]{16,}+"),
    _rule("$2a$ $2b$ $2y$ $argon2 pbkdf2_ scrypt:", r"[\w.$/+=,:\-]{20,}+"),
    _rule(
        "-----begin",
        r"[A-Z0-9\ ]{0,32}?PRIVATE\ KEY(?:\ BLOCK)?----- .*? (?: -----END[A-Z0-9\ ]{0,40}+----- | \Z )",
        re.DOTALL,
    ),
)


def masked(text: str) -> str:
    """The text without what looks like a secret."""
    spans = _spans(text, _lowered(text))
    if not spans:
        return text
    spans.sort()
    pieces: list[str] = []
    done = 0
    for start, end in spans:
        if start >= done:
            pieces += (text[done:start], MASK)
        done = max(done, end)
    pieces.append(text[done:])
    return "".join(pieces)


def _spans(text: str, lowered: str) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for anchors, pattern in RULES:
        has_name = "secret" in pattern.groupindex
        for anchor in anchors:
            at = lowered.find(anchor)
            while at >= 0:
                behind = at + len(anchor)
                match = pattern.match(text, behind)
                if match is not None:
                    spans.append(match.span("secret") if has_name else (at, match.end()))
                    behind = match.end()
                at = lowered.find(anchor, behind)
    return spans


def _lowered(text: str) -> str:
    """In lower case as far as ASCII goes: every character stays at its place."""
    if text.isascii():
        return text.lower()
    return text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")
