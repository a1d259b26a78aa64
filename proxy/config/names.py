"""Names that travel in requests: methods, headers, paths, networks, media types.

Every parser takes what YAML gave and returns the parsed value, or raises a ValueError that says what to write
instead.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING

from proxy.config.addresses import parse_origin
from proxy.config.wording import nearest, shown

if TYPE_CHECKING:
    from pydantic import SecretStr

# RFC 9110 section 5.6.2
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
TOKEN_MAX = 256
UNIX = "unix:"  # peers on Unix sockets
# What proxies say of the way that a request has come: of what a stranger says the service sees nothing.
CLAIMS = frozenset(("forwarded", "x-real-ip"))
CLAIM_PREFIX = "x-forwarded-"
# Names by which single proxies and networks tell the client's address; from whom, Weir does not ask.
ADDRESS_CLAIMS = frozenset(
    "cf-connecting-ip cf-connecting-ipv6 cf-pseudo-ipv4 client-ip do-connecting-ip fastly-client-ip"  # noqa: SIM905 - a list would take a page
    " fly-client-ip proxy-client-ip true-client-ip wl-proxy-client-ip x-appengine-user-ip x-azure-clientip"
    " x-azure-socketip x-client-ip x-cluster-client-ip x-envoy-external-address x-nf-client-connection-ip"
    " x-original-forwarded-for x-originating-ip x-remote-addr x-remote-ip x-source-ip"
    " x-vercel-forwarded-for".split()
)
# What stands for an answer that must not leave has these of its own, whatever came.
REPLACED = frozenset(
    [
        "cache-control",
        "content-digest",
        "content-encoding",
        "content-length",
        "content-md5",
        "content-range",
        "content-type",
        "date",
        "digest",
        "repr-digest",
    ]
)
WIDE_GLOBS_MAX = 8  # each may double the work of compiling the path
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_NEVER_FORWARDED = ("CONNECT", "TRACE")
_LIMIT_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_KEY_HASH = re.compile(r"sha256:[0-9a-fA-F]{64}")
_MEDIA_TYPE = re.compile(
    r"([!#$%&'*+\-.^_`|~0-9A-Za-z]+)/([!#$%&'*+\-.^_`|~0-9A-Za-z]+)((?:\s*;[\x20-\x7e]*)?)"
)


def parse_token(text: str, what: str = "the name of a header") -> str:
    """A token of RFC 9110 section 5.6.2."""
    if not _TOKEN.fullmatch(text) or len(text) > TOKEN_MAX:
        raise ValueError(f"{what} holds letters, digits and !#$%&'*+-.^_`|~ only, not {shown(text)}")
    return text


def is_claim(name: str) -> bool:
    return name.lower() in CLAIMS or name.lower().startswith(CLAIM_PREFIX)


# The words that such names are made of, for those that nobody has listed.
_ADDRESS_WORDS = re.compile(
    r"(client|real|remote|connecting|source|user|viewer)-?(ip|addr|address)$|^forwarded-for$"
)


def is_address_claim(name: str) -> bool:
    """Somebody tells an address by it; of what Weir writes itself, is_claim knows."""
    lowered = name.lower()
    return not is_claim(lowered) and (lowered in ADDRESS_CLAIMS or _ADDRESS_WORDS.search(lowered) is not None)


def distinct_headers(headers: dict[str, str]) -> dict[str, str]:
    """Names of headers are compared without regard to case (RFC 9110 section 5.1)."""
    if len({name.lower() for name in headers}) < len(headers):
        raise ValueError("names a header twice: case makes no difference")
    return headers


def parse_method(text: str) -> str:
    """Methods are case-sensitive (RFC 9110 section 9.1)."""
    parse_token(text, "a method")
    if text.upper() in _NEVER_FORWARDED:
        raise ValueError(f"{text.upper()} is never forwarded: leave it out")
    if text not in _METHODS and (meant := nearest(text, _METHODS)):
        raise ValueError(f"{shown(text)} is not a method; did you mean {meant}?")
    return text


def parse_target(text: str) -> str:
    """A path to ask for, with or without a query, as it is sent (RFC 9112 section 3.2.1)."""
    if not re.fullmatch(r"/[!-\"$-~]*", text):
        raise ValueError(f"must be a path such as /healthz in ASCII, not {shown(text)}")
    return text


def parse_path(text: str) -> str:
    """A glob over normalised paths: percent-decoded, dots resolved, slashes collapsed, no query."""
    if not text.startswith("/"):
        raise ValueError(f"a path begins with /: write {shown('/' + text)}")
    if "://" in text or "#" in text:
        raise ValueError(f"must be a path such as /api/*, not {shown(text)}")
    if "//" in text or re.search(r"/\.\.?(/|$)", text):
        raise ValueError(
            f"{shown(text)} never matches: paths are compared with dots resolved and slashes collapsed"
        )
    if re.search("%[0-9A-Fa-f]{2}", text):
        raise ValueError(
            f"{shown(text)} never matches: paths are compared decoded, write the character itself"
        )
    if "?" in text:
        raise ValueError(
            f"{shown(text)} never matches: queries are not compared, and only * and ** are wildcards"
        )
    if text.count("**") > WIDE_GLOBS_MAX:
        raise ValueError(f"at most {WIDE_GLOBS_MAX} times ** in one path")
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError(f"a path has no control characters, {shown(text)} does")
    return text


def parse_network(value: object) -> IPv4Network | IPv6Network:
    """`10.0.0.0/8`, `2001:db8::/32` or one address."""
    if isinstance(value, IPv4Network | IPv6Network):
        return value
    text = value if isinstance(value, str) else ""
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"must be a network such as 10.0.0.0/8 or 2001:db8::/32, not {shown(value)}"
        ) from None
    raise ValueError(
        f"{text} is an address within a network: write {meant}, or {text.partition('/')[0]} for it alone"
    )


def parse_trusted(value: object) -> IPv4Network | IPv6Network | str:
    """The same, or `unix:` for whoever connects by a Unix socket."""
    if value == UNIX:
        return UNIX
    if isinstance(value, str) and value.startswith(UNIX):
        raise ValueError(
            f"write {UNIX} for all peers on Unix sockets: they have no address that tells them apart"
        )
    return parse_network(value)


def parse_cors_origin(text: str) -> str:
    """An origin as browsers send it, or `*`."""
    if text == "*":
        return text
    if text == "null":
        raise ValueError(
            "null is what pages without an origin send, whoever made them: it cannot be told apart"
        )
    return parse_origin(text)


def parse_limit_name(text: str) -> str:
    if not _LIMIT_NAME.fullmatch(text):
        raise ValueError(f"a limit's name has 1 to 64 letters, digits, _ . or -, not {shown(text)}")
    return text


def parse_prefix(text: str) -> str:
    if not _LIMIT_NAME.fullmatch(text):
        raise ValueError(f"has 1 to 64 letters, digits, _ . or -, such as orders-api, not {shown(text)}")
    return text


def parse_plan_name(text: str) -> str:
    if not _LIMIT_NAME.fullmatch(text):
        raise ValueError(f"a plan's name has 1 to 64 letters, digits, _ . or -, not {shown(text)}")
    return text


def parse_key_hash(text: str) -> str:
    """What `weir hash` prints. The message does not show it: it may be the credential itself."""
    if not _KEY_HASH.fullmatch(text):
        raise ValueError("must be sha256: and 64 hex digits, as `weir hash` prints them for a credential")
    return text.lower()


def parse_secret(secret: SecretStr) -> SecretStr:
    """What can travel in a header field. The message never shows it."""
    text = secret.get_secret_value()
    if not text:
        raise ValueError("is empty; null leaves it out")
    if not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ValueError("has a space, a control or a non-ASCII character")
    return secret


def parse_media_type(text: str) -> str:
    if not _MEDIA_TYPE.fullmatch(text):
        raise ValueError(f"must be a media type such as application/json, not {shown(text)}")
    return text


def parse_media_glob(text: str) -> str:
    """`application/json`, `text/*` or `application/*+json`: without parameters, in any case."""
    if ";" in text and _MEDIA_TYPE.fullmatch(text):
        raise ValueError(f"parameters are not compared: write {text.partition(';')[0].strip()}")
    parse_media_type(text)
    if any(part.count("*") > 1 for part in text.split("/")):
        raise ValueError(f"at most one * on each side of the slash, not {shown(text)}")
    return text


def is_json(media_type: str) -> bool:
    """RFC 6839 section 3.1: application/json and every +json."""
    essence = media_type.partition(";")[0].strip().lower()
    return essence.endswith("+json") or essence == "application/json"
