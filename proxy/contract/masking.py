"""Secrets in a text that goes to the log, replaced by asterisks: rather once too often than once too seldom.

A rule is a pattern and its anchors, words in lower case; the pattern is tried right behind each anchor, so a
text without anchors costs some searches and nothing else. Quantifiers are possessive or bounded, and what is
masked is not searched again: no text makes the work quadratic. A group that is repeated for good is atomic,
`(?>(?:...)*)`, never `(?:...)*+`: before Python 3.11.5 the latter may end one character short (CPython issue
106052). Knows nothing of where a text came from.
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
_QUOTE = r"""(?: \\{0,3}+["'`]{1,2}+ | &quot; | &\#0?3[49]; | &\#x2[27]; )"""
_SPACE = r"(?:[\ \t]|&nbsp;?)"
_TAG = r"</?[a-z][^<>]{0,80}+>"
_ASSIGNED = rf"""(?:
      (?: (?>{_QUOTE}?) \]?+ (?>{_SPACE}{{0,8}}) (?:=&gt;|==?>?|:=|[:>]) | \ [^<>]{{0,80}}+> )
      (?> (?: {_SPACE} | \s | {_TAG} ){{0,8}} )
    | {_QUOTE} [\ \t]{{0,4}}+ , \s{{0,4}}+ (?=[bru]?["'])
    | (?> (?: \s{{0,8}}+ {_TAG} ){{1,6}} ) \s{{0,8}}+
    ) (?> (?: string\(\d{{1,9}}\)[\ ] | [bru]{{1,2}}(?=["']) )? )"""
_FOLLOWED = rf"""(?: {_ASSIGNED} | [\ \t]{{1,4}}+ (?=["']) )"""
# A value in quotes (doubled, plain or escaped), a list, one that a semicolon ends (connection strings), one
# word, which may be a call.
_QUOTED = r"""
      "{2,3}+[^"\r\n]++ | '{2,3}+[^'\r\n]++ | "(?>(?:[^"\\\r\n]|\\.)*)"?+ | '(?>(?:[^'\\\r\n]|\\.)*)'?+
    | (?:\\{1,3}+["']|&quot;|&\#0?3[49];|&\#x2[27];)
      (?> (?: [^"'\\&\r\n] | &(?!quot;|\#0?3[49];|\#x2[27];) )+ )
    | [\[(][^\])]{0,2048}+"""
_VALUE = rf"""(?P<secret> {_QUOTED}
    | [^;<>"'\r\n]{{1,256}}+(?=;)
    | [^\s;,&<>"'`]++ (?> (?: (?<=\()[^)\r\n]{{0,512}}+ )? ) )"""
# The rest of the line, as in a dump of a request's header.
_LINE = rf"""(?P<secret> {_QUOTED} | [^\r\n<>]++ )"""
_REST = r"[\w.\-]{0,40}+"
_CHALLENGE = r"(?:realm|charset|error|scope|authorization_uri|resource|nonce|qop|stale|algorithm|domain)"

RULES: tuple[Rule, ...] = (
    # Values by their names.
    _rule("pwd secret token credential", rf"{_REST} {_FOLLOWED} {_VALUE}"),
    _rule("pass", rf"(?: (?:w(?:or)?d|phrase|code) {_REST} {_FOLLOWED} | {_ASSIGNED} ) {_VALUE}"),
    _rule("key otp", rf"s?{_ASSIGNED} {_VALUE}"),
    _rule("sig", rf"(?>(?:nature{_REST})?) {_ASSIGNED} {_VALUE}"),
    _rule("sess", rf"(?>(?:ion)?)[_\-.]?+id{_REST} {_ASSIGNED} {_VALUE}"),
    _rule("sid ?code &code", rf"{_ASSIGNED} {_VALUE}"),
    _rule("connection", rf"[_\-]?+string{_REST} {_ASSIGNED} {_VALUE}"),
    _rule("auth", rf"(?>(?: orization{_REST} )?) {_ASSIGNED} {_LINE}"),
    _rule("cookie", rf"{_REST} {_ASSIGNED} {_LINE}"),
    _rule("--", r"(?:pass|token|secret|api-key)[\w\-]{0,40}+[\ =]{1,4}+(?P<secret>[^\s\"']++)"),
    _rule("identified", rf"\ (?:by|with\ \w{{1,40}}+\ (?:as|by))\ (?>(?:password\ )?) {_VALUE}"),
    # Credentials behind the name of their scheme; neither challenges nor plain English.
    _rule(
        "bearer basic",
        rf"[\ +]{{1,4}}+(?!{_CHALLENGE}\w*=)(?!(?-i:[a-z]++)(?![\w.~+/=\-]))(?P<secret>[\w.~+/=\-]{{8,}}+)",
    ),
    # A password in a URL; a slash in it should have been escaped, but often is not.
    _rule(
        ("://", r":\/\/", r":\\/\\/", ":&#x2f;&#x2f;"),  # also in JSON, in JSON within JSON, in HTML
        r"""[^\s/?\#@:"'<>]{0,128}+:(?!\d{1,5}[/?\#])
        (?P<secret> [^\s"'<>/]{1,128} (?: /[^\s"'<>/]{1,64} ){0,2} )@""",
    ),
    # By its own shape: JWTs, keys of AWS, GitHub, GitLab, Slack, Stripe, Google, npm, PyPI ...
    _rule("eyj", r"[\w\-]{8,}+(?>(?:\.[\w\-]*+){0,4})"),
    _rule("akia asia", r"[A-Z0-9]{12,}+"),
    _rule("gh", r"[pousr]_[A-Z0-9]{16,}+"),
    _rule("pat", r"[_\-][\w\-]{16,}+"),
    _rule("xox", r"[abeoprs]-[\w\-]{8,}+"),
    _rule("_live_ _test_", r"[A-Z0-9]{16,}+"),
    _rule("sk- npm_ aiza ya29. pypi-", r"[\w.\-]{16,}+"),
    # ... hashes of passwords, private keys.
    _rule("$2 $argon2 pbkdf2", r"[\w.$/+=,:\-]{20,}+"),
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
