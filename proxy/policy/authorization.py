"""Whose an Authorization field is (RFC 9110 section 11.6.2): one value for every spelling of one credential.

The scheme does not count, since many services look at the word behind it alone; a word without one is another
credential. Where each request is signed anew (Digest, AWS, OAuth 1.0) it is the name of who signs. Of other
parameters too the one counts that names somebody: services pass over what a client adds. Claims are read,
not verified. Empty is absent, None is what services could read in two ways.
"""

from __future__ import annotations

import json
import re
from binascii import a2b_base64
from urllib.parse import unquote_to_bytes

from proxy.policy.spelling import is_base64, sole_member, web_token, word

TOKEN_BYTES = 8 * 1024  # of a JWT that is read; issuers stay below, since servers take 8 KiB of head
ALONE = b" "  # begins the value of a word without a scheme: no other value does

# A scheme and one word without commas, brackets or quotes: nearly all there are.
_USUAL = re.compile(rb"([A-Za-z][A-Za-z0-9-]*) ([A-Za-z0-9\-._~+/|:!$&*]+=*)")
_OF_TOKENS = frozenset((b"basic", b"bearer", b"jwt", b"token"))
_BEGINS_TOKEN = b"token="  # as Rails writes it: Token token="..."; behind Bearer it reads it too
_DIVIDES = re.compile(rb"[,;]")
_SCHEME = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_TO_BASE64 = bytes.maketrans(b"-_", b"+/")
_NAME = rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_QUOTED = rb'"(?:[^"\\]|\\.)*"'
# Without quotes a `;` is part of it (SignedHeaders=host;range), unless another parameter follows (EG1).
_BARE = rb"[^\s,;=\"][^\s,;\"]*(?:;(?![ \t]*%b=)[^\s,;\"]*)*" % _NAME
_PARAMETER = rb"(%b)=(%b|%b)" % (_NAME, _QUOTED, _BARE)
_PARAMETERS = re.compile(rb"%b(?:[ \t]*[,;][ \t]*%b)*" % (_PARAMETER, _PARAMETER))
_EACH = re.compile(_PARAMETER)
# Who signs: Digest, AWS Signature Version 4 and 3, Huawei, HTTP signatures, Hawk, Concealed, OAuth 1.0, EG1;
# and what is shown as it is. The first that is there counts.
_SIGNERS = tuple(
    b"username username* credential access awsaccesskeyid keyid id k oauth_token oauth_consumer_key "
    b"client_token access_token token auth key apikey api_key".split()
)
# Those that come together, and behind which scheme; of any others one could be a decoy.
_PAIRS = {
    frozenset((b"oauth_token", b"oauth_consumer_key")): b"oauth",
    frozenset((b"client_token", b"access_token")): b"eg1-hmac-sha256",
}
_OF_APPS = frozenset((b"mediabrowser", b"emby"))  # tell of the app too: before its login of nothing else
# `id:signature`: Amazon S3 and what is made like it.
_BY_COLON = frozenset(b"acs aws cos obs oss qbox qiniu sharedkey sharedkeylite".split())
_BEGINS_HMAC = b"hmac"
# Tokens of one connection or one request: there is nothing in them that stays.
_PASSING = frozenset((b"negotiate", b"ntlm"))


def credential_of(authorization: bytes) -> bytes | None:
    scheme, _, rest = authorization.partition(b" ")
    if rest.isalnum() and scheme.isalpha() and len(scheme) == len(b"bearer"):  # nearly all that are no JWT
        return rest
    usual = _USUAL.fullmatch(authorization)
    if usual is not None:
        return _behind(usual[1], usual[2])
    words = authorization.split()
    if len(words) < 2:
        lone = word(words[0]) if words else b""
        return ALONE + lone if lone else lone
    rest = authorization.split(None, 1)[1].strip()
    if not _SCHEME.fullmatch(words[0]):
        return None
    if _is_signed(words[0], rest):
        return _signer(words[0].lower(), rest)
    lone = _token(rest) if words[0].lower() in _OF_TOKENS else _lone_word(rest)
    return _behind(words[0], lone) if lone else lone


def _token(text: bytes) -> bytes | None:
    """The word alone or, as some services read it too, quoted, named `token`, and followed by a semicolon."""
    parts = {_bare(part) for part in _DIVIDES.split(text)} - {b""}
    if len(parts) != 1:
        return None if parts else b""
    token = parts.pop()
    return None if len(token.split()) > 1 or b'"' in token else token


def _bare(part: bytes) -> bytes:
    return part.strip().removeprefix(_BEGINS_TOKEN).strip().removeprefix(b'"').removesuffix(b'"')


def _is_signed(scheme: bytes, rest: bytes) -> bool:
    """Behind the scheme stand parameters (RFC 9110 section 11.4), not a token."""
    return scheme.lower() not in _OF_TOKENS and _PARAMETERS.fullmatch(rest) is not None


def _lone_word(text: bytes) -> bytes | None:
    """The only one: of several, some services take the first and some the last."""
    member = sole_member(text) if b"," in text else text.strip()
    return None if member is None or len(member.split()) > 1 else member


def _behind(scheme: bytes, text: bytes) -> bytes | None:
    if scheme == b"Bearer":  # nearly always
        return word(text)
    kind = scheme.lower()
    if kind == b"basic":
        return _canonical(text)
    if kind in _PASSING:
        return b""
    if kind in _BY_COLON or kind.startswith(_BEGINS_HMAC):
        return word(text.partition(b":")[0])
    return word(text)


def _canonical(text: bytes) -> bytes | None:
    """The one spelling of user and password (RFC 7617), without padding: lenient decoders skip what is not
    Base64.
    """
    stem = text.rstrip(b"=")
    return stem if is_base64(stem, b"+/") else None


def _signer(scheme: bytes, text: bytes) -> bytes | None:
    named = [(name.lower(), _unquoted(value)) for name, value in _EACH.findall(text)]
    parameters = dict(named)
    if len(parameters) < len(set(named)):
        return None
    found = [name for name in _SIGNERS if parameters.get(name)]
    if not found:
        return _nobody(scheme, parameters)
    if len(found) > 1 and _PAIRS.get(frozenset(found)) != scheme:
        return None
    name = found[0]
    return word(_NAMES[name](parameters[name]) if name in _NAMES else parameters[name])


def _nobody(scheme: bytes, parameters: dict[bytes, bytes]) -> bytes | None:
    """None of its parameters is known to name somebody: the only one must, and of several any could."""
    if scheme in _OF_APPS or not any(parameters.values()):
        return b""
    if len(parameters) > 1:
        return None
    return b", ".join(b"%b=%b" % each for each in parameters.items())


def _access_key(credential: bytes) -> bytes:
    """`AKID/20261123/eu/service/aws4_request`: what follows the key id changes by the day."""
    return credential.partition(b"/")[0]


def _extended(value: bytes) -> bytes:
    """`UTF-8''name`, escaped (RFC 8187)."""
    return unquote_to_bytes(value.rpartition(b"'")[2])


_NAMES = {b"credential": _access_key, b"username*": _extended}


def _unquoted(value: bytes) -> bytes:
    return re.sub(rb"\\(.)", rb"\1", value[1:-1]) if value.startswith(b'"') else value


# --- claims ---


def claim_of(authorization: bytes, claim: str) -> bytes | None:
    """A claim of a token (RFC 7519) as text; empty if missing, of another type, or malformed."""
    words = authorization.split(None, 1)
    if not words or (len(words) == 2 and _is_signed(words[0], words[1].strip())):
        return b""
    token = _token(words[-1])
    if token is None:
        return None
    parts = token.split(b".")
    if len(parts) != 3:
        return b""
    return None if web_token(token) is None else _claim(parts[1], claim) if len(token) <= TOKEN_BYTES else b""


def _claim(text: bytes, claim: str) -> bytes | None:
    try:
        return _claim_in(a2b_base64(text.translate(_TO_BASE64) + b"=" * (-len(text) % 4)), claim)
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        return b""


def _claim_in(payload: bytes, claim: str) -> bytes | None:
    if payload.lower().count(b'"%b"' % claim.lower().encode()) > 1 or b"\\" in payload:
        return _sole(json.loads(payload, object_pairs_hook=tuple), claim)
    claims = json.loads(payload)
    return _text(claims.get(claim)) if isinstance(claims, dict) else b""


def _sole(members: object, claim: str) -> bytes | None:
    """Its only one: of two some readers take the first, some the last, some in any case."""
    if not isinstance(members, tuple):  # the pairs of an object
        return b""
    found = {name: _text(value) for name, value in members if name.casefold() == claim.casefold()}
    values = {_text(value) for name, value in members if name.casefold() == claim.casefold()}
    if claim in found and len(values) > 1:
        return None
    return found.get(claim, b"")


def _text(value: object) -> bytes:
    """Numbers that are equal have one text."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return b""
    return str(value).encode("utf-8", "surrogatepass")
