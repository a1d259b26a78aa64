"""Certificates are read again when their files change, so that nobody restarts Weir for them.

New connections are made with the new ones, old ones stay as they are. What cannot be used changes nothing, is
logged once, counted, and shown in /status. Each worker reads for itself.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from proxy.telemetry.log import event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from proxy.net.credentials import Credentials
    from proxy.telemetry.metrics import Metrics

CHECK_SECONDS = 3.0  # between two looks, each a system call for each file, in a thread

_log = logging.getLogger("weir.tls")


class Renewals:
    def __init__(self, credentials: Callable[[], Iterable[Credentials[Any]]], metrics: Metrics) -> None:
        """`credentials` are those in use now."""
        self._credentials = credentials
        self._metrics = metrics
        self._is_asked = asyncio.Event()
        metrics.provide_certificates(self._ends)

    async def run(self) -> None:
        while True:
            for each in self._credentials():
                self._metrics.certificate_failures.setdefault(each.setting, 0)
                if await asyncio.to_thread(each.reread):
                    self._tell(each)
            with suppress(TimeoutError):
                async with asyncio.timeout(CHECK_SECONDS):
                    await self._is_asked.wait()
            self._is_asked.clear()

    def look_now(self) -> None:
        self._is_asked.set()

    def _tell(self, credentials: Credentials[Any]) -> None:
        setting, problem = credentials.setting, credentials.problem
        if problem is None:
            ends = [_text(shown.certificate.expires) for shown in credentials.now.shown]
            event(_log, logging.INFO, "certificates_renewed", setting=setting, expires=ends)
        else:
            self._metrics.certificate_failures[setting] += 1
            event(_log, logging.ERROR, "certificates_refused", setting=setting, reason=f"{setting}.{problem}")

    def _ends(self) -> dict[str, float]:
        """When each certificate in use expires, by its setting, in Unix time."""
        return {
            shown.setting: shown.certificate.expires.timestamp()
            for each in self._credentials()
            for shown in each.now.shown
        }

    def status(self) -> list[dict[str, object]]:
        return [
            {
                "setting": each.setting,
                "problem": each.problem,
                "certificates": [
                    {
                        "setting": shown.setting,
                        "names": list(shown.certificate.names),
                        "expires": _text(shown.certificate.expires),
                    }
                    for shown in each.now.shown
                ],
            }
            for each in self._credentials()
        ]


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
