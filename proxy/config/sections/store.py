"""Where is counted who sends how much."""

from __future__ import annotations

from proxy.config import checks
from proxy.config.kinds import Count, Flag, Prefix, Secret, StoreValue, Text, Timeout
from proxy.config.sections.section import Section, setting


class StoreTls(Section):
    fits = (checks.cert_with_key,)

    ca: Text | None = setting(
        "Path of the authorities that Redis's certificate must come from, PEM; null takes the system's.", None
    )
    cert: Text | None = setting("Path of a client certificate, PEM, where Redis asks for one.", None)
    key: Text | None = setting("Path of its private key, PEM.", None)


class SentinelSettings(Section):
    fits = (checks.sentinel_login,)

    username: Text | None = setting("User at the sentinels, where it is another than at Redis.", None)
    password: Secret | None = setting(
        "Password at the sentinels; null asks them with none, then with what store.url has.", None
    )


class StoreSettings(Section):
    url: StoreValue = setting(
        "memory, or redis://, redis+unix:///path, redis+sentinel://h:p,h:p/service, redis+cluster://h:p,h:p;"
        " with TLS rediss:// and so on.",
        "memory",
    )
    prefix: Prefix = setting(
        "First word of every key in Redis: services with the same one share buckets and replica counts.",
        "weir",
        restart=True,
    )
    tls: StoreTls = setting("Certificates for rediss:// and its kin.", {})
    sentinel: SentinelSettings = setting("Who Weir is to sentinels.", {})
    timeout: Timeout = setting("For an answer of Redis; after it the limit's on_store_error decides.", "50ms")
    key_secret: Secret | None = setting(
        "Keys the hashes of partition keys, the same in all replicas; null takes a built-in one.",
        None,
        restart=True,
    )
    max_keys: Count = setting(
        "Most buckets of one limit held in memory; beyond it those not asked for the longest are forgotten.",
        100000,
    )
    denial_cache: Flag = setting(
        "Refuse whom Redis has refused without asking again, until a token can be back.",
        default=True,
    )
