"""Named rates that some clients have in place of a limit's own."""

from __future__ import annotations

from pydantic import PrivateAttr

from proxy.config import checks, limit_checks
from proxy.config.kinds import Count, KeyHash, PlanName, Rated, Text
from proxy.config.sections.section import Section, count_of_rate, setting


class PlanSettings(Section):
    fits = (checks.of("keys", limit_checks.plan_keys),)

    name: PlanName = setting("Its name in logs and in `limits[].plans`; unique.")
    rate: Rated = setting("Requests in a second, minute, hour or day: 30/s, 90/m, 1000/h, 5000/d.")
    burst: Count = setting("Most requests at once.", count_of_rate, says="the count of `rate`")
    keys: tuple[KeyHash, ...] = setting(
        "Who has it, as `weir hash` prints it: sha256: and 64 hex digits of a credential or an address.", []
    )
    keys_file: Text | None = setting(
        "Path of a file with more of them, one a line, # comments; watched as the config is.", None
    )
    _of_file: bytes = PrivateAttr(b"")

    @property
    def digests(self) -> bytes:
        """Digests of all its keys, 32 bytes each, once those of the file are read (`PlanFiles`)."""
        return self._of_file + b"".join(bytes.fromhex(key.removeprefix("sha256:")) for key in self.keys)

    def adopt(self, digests: bytes) -> None:
        """Those of the file."""
        self._of_file = digests
