"""Who has which plans, by the SHA-256 of credentials and addresses.

A look-up takes the same time for one key and for a hundred thousand; making the table of these takes 40 ms,
beside the loop, as part of reading the config. Knows nothing of requests.
"""

from __future__ import annotations

from hashlib import sha256
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.config.sections.plans import PlanSettings

DIGEST_BYTES = 32
KNOWN_BYTES = 16  # of them: nobody finds another value with the same ones


def key_hash(value: str) -> str:
    """What a plan names a key by; white space around it does not count, and an address has one spelling."""
    text = value.strip()
    data = (_address(text) or text).encode("utf-8", "surrogateescape")
    return f"sha256:{sha256(data).hexdigest()}"


def _address(text: str) -> str:
    try:
        address = ip_address(text)
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


class PlanKeys:
    """Plans are told as bits, one each."""

    __slots__ = ("_by_digest", "_named", "fingerprint")

    def __init__(self, plans: Sequence[PlanSettings] = ()) -> None:
        self._named = {plan.name: (1 << number, plan) for number, plan in enumerate(plans)}
        self._by_digest: dict[bytes, int] = {}
        for bit, plan in self._named.values():
            self._add(plan.digests, bit)
        self.fingerprint = self._fingerprint()  # equal where the same keys have the same plans

    def _add(self, digests: bytes, bit: int) -> None:
        by_digest = self._by_digest
        for at in range(0, len(digests), DIGEST_BYTES):
            digest = digests[at : at + KNOWN_BYTES]
            by_digest[digest] = by_digest.get(digest, 0) | bit

    def _fingerprint(self) -> bytes:
        """The same in whatever order the keys are named; empty where there are none."""
        if not self._named:
            return b""
        mixed = 0
        for digest, bits in self._by_digest.items():
            mixed ^= int.from_bytes(digest) * (2 * bits + 1)
        rates = [(name, str(plan.rate), plan.burst) for name, (_, plan) in self._named.items()]
        return sha256(f"{mixed} {rates}".encode()).digest()[:8]

    def named(self, name: str) -> tuple[int, PlanSettings]:
        """Its bit, and what it is."""
        return self._named[name]

    def bits_of(self, text: bytes) -> int:
        """The plans that name this value."""
        return self.bits_of_digest(sha256(text).digest())

    def bits_of_digest(self, digest: bytes) -> int:
        return self._by_digest.get(digest[:KNOWN_BYTES], 0)

    def bit_named(self, name: str) -> int:
        """The bit of a plan; 0 if there is none of this name."""
        return self._named[name][0] if name in self._named else 0

    def __len__(self) -> int:
        return len(self._by_digest)
