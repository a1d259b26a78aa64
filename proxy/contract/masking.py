"""Secrets in a text that goes to the log, replaced by asterisks: rather once too often than once too seldom.

A rule is a pattern and its anchors, words in lower case; the pattern is tried right behind each anchor, so a
text without anchors costs some searches and nothing else. Quantifiers are possessive or bounded, what is
masked is not searched again but for its end, and what lies ahead of several anchors is looked for once
(`_Ahead`): the work grows with the text, not with what stands in it, and ends at ANCHORS_MAX. A group that
is repeated for good is atomic, `(?>(?:...)*)`, never `(?:...)*+`: before Python 3.11.5 the latter may end
one character short (CPython issue 106052). Knows nothing of where a text came from.
"""

from __future__ import annotations

import re
from typing import NamedTuple

MASK = "***"
NAME_CHARS = 64  # what ends with a name may be masked itself, and that name still has a value
ANCHORS_MAX = 1000  # a text with more is masked whole: 16 KiB with so many words of secrets tell little else


class Rule(NamedTuple):
    anchors: tuple[str, ...]
    pattern: re.Pattern[str]  # its group is masked; without one, everything from the anchor on
    without_odd: re.Pattern[str] | None  # tried where an odd value proves to be none
    reach: int  # characters; not 0: an "@" must come within, and nothing before it that ends a URL


def _rule(anchors: str | tuple[str, ...], pattern: str, flags: int = 0, reach: int = 0) -> Rule:
    words = tuple(anchors.split()) if isinstance(anchors, str) else anchors
    flags |= re.VERBOSE | re.IGNORECASE | re.ASCII
    rest = re.compile(pattern.replace(_ODD, ""), flags) if _ODD in pattern else None
    return Rule(words, re.compile(pattern, flags), rest, reach)


# What may stand between a name and its value, in JSON (also in a string), HTML, XML, Python, PHP, YAML, SQL.
_QUOTE = r"""(?: \\{0,3}+["'`]{1,2}+ | &quot; | &\#0?3[49]; | &\#x2[27]; )"""
_SPACE = r"(?:[\ \t]|&nbsp;?)"
_TAG = r"</?[a-z][^<>]{0,80}+>"
# Attributes of an element; the one that is called value holds what another one names.
_ATTRIBUTE = rf"""(?: \s{{1,8}}+ (?!value\b) [\w:.\-]{{1,40}}+ \s?+ = \s?+
      (?: {_QUOTE} [^"'`\\&<>]{{0,80}}+ {_QUOTE} | [^\s"'`\\&<>]{{1,40}}+ ) )"""
_VALUE_IS = r"\s{1,8}+ value \s?+ = \s?+"
_ASSIGNED = rf"""(?:
      (?: (?>{_QUOTE}?) \]?+ (?>{_SPACE}{{0,8}}) (?:=&gt;|==?>?|:=|[:>])
        | (?> {_ATTRIBUTE}{{1,6}} ) \s{{0,8}}+ > )
      (?> (?: {_SPACE} | \s | {_TAG} ){{0,8}} )
    | (?> {_QUOTE}? {_ATTRIBUTE}{{0,6}} ) {_VALUE_IS}
    | {_QUOTE} [\ \t]{{0,4}}+ , \s{{0,4}}+ (?=[bru]?["'])
    | (?> (?: \s{{0,8}}+ {_TAG} ){{1,6}} ) \s{{0,8}}+
    ) (?> (?: string\(\d{{1,9}}\)[\ ] | [bru]{{1,2}}(?=["']) )? )"""
_FOLLOWED = rf"""(?: {_ASSIGNED} | [\ \t]{{1,4}}+ (?=["']) )"""
# A value in quotes (doubled, plain or escaped), a list, or one word, which may be a call. The search
# sees whether what is no quotation goes on to a semicolon (connection strings).
_QUOTED = r"""
      "{2,3}+[^"\r\n]++ | '{2,3}+[^'\r\n]++ | "(?>(?:[^"\\\r\n]|\\.)*)"?+ | '(?>(?:[^'\\\r\n]|\\.)*)'?+
    | (?:\\{1,3}+["']|&quot;|&\#0?3[49];|&\#x2[27];)
      (?> (?: [^"'\\&\r\n] | &(?!quot;|\#0?3[49];|\#x2[27];) )+ )
    | [\[(][^\])]{0,2048}+"""
_ODD = r"""| (?P<odd> (?=[^;<>"'\r\n]) )"""  # a value only if a semicolon ends it
_VALUE = rf"""(?: (?P<secret> {_QUOTED} )
    | (?P<word> [^\s;,&<>"'`]++ (?> (?: (?<=\()[^)\r\n]{{0,512}}+ )? ) )
    {_ODD} )"""
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
    # ... where the name comes behind it, in one element.
    _rule(
        " value",
        rf"\s?+=\s?+ (?P<secret> {_QUOTED} ) (?= [^<>]{{0,120}}? (?:passw|pwd|secret|token|credential) )",
    ),
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
        reach=128 + 1 + 128 + 2 * 65,
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


_ENDS_VALUE = re.compile("[;<>\"'\r\n]")  # ... or goes on behind it, if it is a semicolon
_ENDS_URL = re.compile("[@\\s\"'<>]", re.ASCII)
SEMICOLON_CHARS = 256  # that a value has before its semicolon


class _Ahead:
    """Where the next of some characters stands, looked for once for all places before it."""

    __slots__ = ("_begin", "_end", "_pattern", "_text")

    def __init__(self, pattern: re.Pattern[str], text: str) -> None:
        self._pattern = pattern
        self._text = text
        self._begin = self._end = -1

    def after(self, at: int) -> int:
        """The length of the text if there is none."""
        if not self._begin <= at <= self._end:
            found = self._pattern.search(self._text, at)
            self._begin, self._end = at, found.start() if found is not None else len(self._text)
        return self._end

    def ends_with(self, mark: str, at: int, reach: int) -> bool:
        """Whether it is `mark`, and not farther away than `reach`."""
        end = self.after(at)
        return end - at <= reach and self._text.startswith(mark, end)


def masked(text: str) -> str:
    """The text without what looks like a secret."""
    spans = _SecretSearch(text).spans()
    if spans is None:
        return MASK
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


class _SecretSearch:
    __slots__ = ("_lowered", "_text", "_url_end", "_value_end")

    def __init__(self, text: str) -> None:
        self._text = text
        self._lowered = _lowered(text)
        self._value_end = _Ahead(_ENDS_VALUE, text)
        self._url_end = _Ahead(_ENDS_URL, text)

    def spans(self) -> list[tuple[int, int]] | None:
        """None if there are too many anchors."""
        found: list[tuple[int, int]] = []
        left = ANCHORS_MAX
        find = self._lowered.find
        for rule in RULES:
            for anchor in rule.anchors:
                at = find(anchor)
                while at >= 0:
                    left -= 1
                    if not left:
                        return None
                    behind = at + len(anchor)
                    span = self._span(rule, at, behind)
                    at = find(anchor, behind)
                    if span is not None:
                        found.append(span)
                        if at >= span[0]:
                            at = find(anchor, max(behind, span[1] - NAME_CHARS))
        return found

    def _span(self, rule: Rule, at: int, behind: int) -> tuple[int, int] | None:
        """What is to be masked of the anchor at `at`, which ends at `behind`."""
        if rule.reach and not self._url_end.ends_with("@", behind, rule.reach):
            return None
        match = rule.pattern.match(self._text, behind)
        if match is not None and match.lastgroup == "odd":
            begin = match.end()
            if self._value_end.ends_with(";", begin, SEMICOLON_CHARS):
                return begin, self._value_end.after(begin)
            match = rule.without_odd.match(self._text, behind) if rule.without_odd is not None else None
        if match is None:
            return None
        kind = match.lastgroup
        if kind is None:
            return at, match.end()
        begin, end = match.span(kind)
        if kind == "word" and self._value_end.ends_with(";", begin, SEMICOLON_CHARS):
            end = self._value_end.after(begin)
        return begin, end


def _lowered(text: str) -> str:
    """Is in lower case as far as ASCII goes: every character stays at its place."""
    if text.isascii():
        return text.lower()
    return text.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")
