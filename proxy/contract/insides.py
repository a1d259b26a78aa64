"""What in a short text tells of the inside of a service: frames, files, statements, hosts, connections.

For what the config lets through where a body was replaced: members of an error object, header fields, hints.
Secrets are masking.py's, whole bodies are leaks.py's. Rather once too often than once too seldom; quantifiers
are bounded, and what begins a pattern is rare. Knows nothing of what is done about a text.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from proxy.contract.leaks import leak_in

TEXT_BYTES: Final = 4 * 1024  # a longer text is a payload of its own

_FRAMES = (
    rb"Traceback|[Ss]tack ?[Tt]race|\bFile \\?[\"'][^\"'\r\n]{1,200}[\"'], line \d"
    rb"|\bat [\w$.<>`\[\]]{1,100}\([^)\r\n]{0,100}\)|\w(?:Exception|Error): |\.\w{0,80}Exception\b"
)
_FILES = (
    rb"(?:^|[\s\"'(=])/(?:home|usr|var|opt|srv|app|etc|tmp|root|proc|mnt|data|workspace)/[\w./\-]{0,100}\.\w"
    rb"|[A-Za-z]:\\\w|\\\\\w|\.(?:py|php|rb|java|cs|go|js|ts):\d"
)
_STATEMENTS = (
    rb"\b(?:SELECT\b.{1,100}?\bFROM|INSERT\s+INTO|UPDATE\b.{1,60}?\bSET|DELETE\s+FROM|(?:DROP|ALTER|CREATE)\s+TABLE)\b"
    rb"|(?i:\bselect\s{1,8}(?:\*|count\(|[\w.\"`]{1,80}\s{0,8},)|\binsert\s{1,8}into\s{1,8}\w"
    rb"|\bupdate\s{1,8}[\w.\"`]{1,80}\s{1,8}set\s{1,8}\w|\bdelete\s{1,8}from\s{1,8}[\w.\"`]{1,80}\s{1,8}where\b)"
)
_ADDRESSES = (
    rb"(?<![\d.])(?:(?:10|127)\.\d{1,3}|192\.168|172\.(?:1[6-9]|2\d|3[01])|169\.254|100\.(?:6[4-9]|[7-9]\d|1[01]\d|12[0-7]))"
    rb"\.\d{1,3}\.\d{1,3}(?!\d)|(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}:\d"
    rb"|(?i:(?<![0-9a-f:])(?:f[cd][0-9a-f]{2}|fe[89ab][0-9a-f]):[0-9a-f:]|(?<![0-9a-f:])::1(?![0-9a-f:]))"
)
_HOSTS = (
    rb"(?i:\blocalhost\b|\.(?:internal|local|localdomain|lan|corp|intranet|intra|private|svc|consul)(?![\w\-])"
    rb"|\.(?:rds|cache|database|documents|servicebus)\.(?:amazonaws|windows|azure)\.)"
    rb"|:(?:1433|1521|2181|3306|5432|5672|6379|9092|9200|11211|27017)(?!\d)"
)
_CONNECTIONS = (
    rb"(?i:\bjdbc:\w|\b(?:postgres(?:ql)?|mysql|mariadb|mongodb|rediss?|amqps?|ldaps?|mssql|sqlserver|oracle|kafka|nats"
    rb"|memcached|clickhouse|cassandra|sqlite)(?:\+\w{1,20})?://|://[^/\s:@]{1,64}:[^/\s@]{1,64}@"
    rb"|\b(?:data source|initial catalog|integrated security|user id|accountkey|accountname|sharedaccesskey"
    rb"|endpointsprotocol|dbname|hostaddr)\s{0,4}="
    rb"|\b(?:server|host|database|address)\s?=\s?[^;=\s]{1,64}[;\s]\s?\w[\w ]{0,20}=)"
)
_TELLING: Final = re.compile(
    b"|".join((_FRAMES, _FILES, _STATEMENTS, _ADDRESSES, _HOSTS, _CONNECTIONS)), re.DOTALL
)


def tells(text: bytes) -> bool:
    """Whether it must not leave."""
    return len(text) > TEXT_BYTES or (_tells(text) if len(text) <= 1024 else _looked_at(text))


def _looked_at(text: bytes) -> bool:
    return _TELLING.search(text) is not None or bool(leak_in(text))


_tells = lru_cache(512)(_looked_at)  # the same short values come again and again
