"""Request heads and limits for tests, as the gateway and the config would make them."""

from __future__ import annotations

from proxy.config.sections.limits import LimitSettings
from proxy.http1.head import HeaderSection, RequestHead
from proxy.policy.decision import Charge, Verdict
from proxy.policy.limits import Limit, compile_limits


def head(method="GET", target="/api/entities/10657", headers=()):
    pairs = headers.items() if isinstance(headers, dict) else headers
    lines = [
        b"%b: %b\r\n" % (name.encode(), value if isinstance(value, bytes) else value.encode())
        for name, value in pairs
    ]
    data = b"".join(lines) + b"\r\n"
    section = HeaderSection(data)
    section.read(1, 100)
    return RequestHead(method.encode(), target.encode(), 1, section)


def limit(name="per-user", rate="15/s", secret=b"", **settings):
    return Limit(LimitSettings(name=name, rate=rate, **settings), secret)


def slot_limit(name="at-once", concurrency=3, **settings):
    """One on requests under way at once."""
    return Limit(LimitSettings(name=name, concurrency=concurrency, **settings))


def limits(*settings, secret=b""):
    """Each given as the arguments of a limit."""
    return compile_limits(
        [LimitSettings(**({"name": f"limit-{n}", "rate": "15/s"} | each)) for n, each in enumerate(settings)],
        secret,
    )


def verdict_of(limit, is_admitted, debt):
    """Of some bucket of the limit."""
    return Verdict(Charge(limit.terms, b"k" * 16), is_admitted, debt)
