"""What one config says of an answer by its head: whether it passes as it comes, what it breaks of the
contract, and what it must go through before the client has it.

Knows the settings and the pure floors; knows nothing of sockets, connections or stores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.contract.etags import Tag, is_taggable
from proxy.contract.filters import HoldFilter, ReplaceFilter, WatchFilter
from proxy.contract.leaks import is_examined
from proxy.contract.promises import Contract
from proxy.contract.redaction import Redaction

if TYPE_CHECKING:
    from proxy.config.settings import Settings
    from proxy.contract.etags import Budget
    from proxy.contract.filters import BodyFilter
    from proxy.http1.head import RequestHead, ResponseHead
    from proxy.policy.limits import Limits


class Judgement:
    """How answers are judged."""

    def __init__(self, settings: Settings, limits: Limits) -> None:
        errors = settings.errors
        self._redaction = Redaction.from_settings(errors)
        self._guards_leaks = errors.leak_guard != "off"
        self._redacts_leaks = errors.leak_guard == "redact"
        self._makes_etags = settings.contract.edge_etags
        self._contract = Contract(settings.contract.rules)
        examined = self._examined(limits)
        covers, checks = self._redaction.covers, self._contract.checks
        # Whether answers of a status need no judgement.
        self.passes = frozenset(
            status
            for status in range(200, 600)
            if not (status in examined or status in checks or covers(status))
        ).__contains__
        self._promised = {
            status: names
            for status, names in self._contract.headers_alone.items()
            if not (status in examined or covers(status))
        }

    def _examined(self, limits: Limits) -> set[int]:
        """Statuses that are looked at for more than what they promise, and are not replaced."""
        examined = set()
        if self._guards_leaks:
            examined |= set(range(200, 500))
        if self._makes_etags:
            examined.add(200)
        if limits.gives_back:
            examined.add(304)
        if limits.empties:
            examined.add(429)
        return examined

    def keeps_promise(self, head: ResponseHead) -> bool:
        """Whether it has the fields that its status promises, and nothing else is to be judged."""
        names = self._promised.get(head.status)
        return names is not None and all(map(head.lowered.get, names))

    def violations(self, head: ResponseHead) -> tuple[str, ...]:
        """The rules of the contract that the answer breaks; what is replaced is beyond them."""
        if head.status not in self._contract.checks or self._redaction.covers(head.status):
            return ()
        return self._contract.violations(head.status, head.lowered)

    def interim_lines(self, head: ResponseHead) -> bytes:
        """The header lines of an interim answer as it goes on."""
        return self._redaction.interim_lines(head)

    def body_filter(self, request: RequestHead, head: ResponseHead, budget: Budget) -> BodyFilter | None:
        """What stands between the answer and the client; None where it passes as it comes."""
        if self._redaction.covers(head.status):
            return ReplaceFilter(self._redaction.original(head))
        examines = self._guards_leaks and is_examined(head)
        tag = None
        if self._makes_etags and is_taggable(request, head):
            tag = Tag(request.fields.get(b"if-none-match"), budget)
        if tag is not None or (examines and self._redacts_leaks):
            original = self._redaction.original(head)
            return HoldFilter(original, tag, examines=examines, redacts=self._redacts_leaks)
        return WatchFilter(self._redaction.original(head)) if examines else None
