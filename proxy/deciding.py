"""A question of another proxy, whether a request may pass (docs/decide.md).

The request that it asks about takes the way of any other as far as the decision (gateway.py), and no further:
the proxy is answered 200 or the refusal, and forwards it itself. Only trusted proxies are answered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy import faults
from proxy.faults import Fault
from proxy.gateway import Exchange
from proxy.http1 import question
from proxy.http1.serialise import connection_line
from proxy.own_answers import refuse
from proxy.phases import ASK, NEXT
from proxy.record import SERVED
from proxy.rules.request_ids import new_request_id

if TYPE_CHECKING:
    from proxy.config.sections.front import Listen
    from proxy.http1.head import RequestHead
    from proxy.net.downstream import DownstreamConnection
    from proxy.net.server_address import ServerAddress
    from proxy.shared import Shared


class Front:
    """Which proxies ask on a listener, and how they are answered."""

    __slots__ = ("is_open", "kind", "refuse_with")

    def __init__(self, listen: Listen) -> None:
        self.kind: str = listen.front
        self.refuse_with = 403 if listen.refuse_with == 403 else 0
        self.is_open = listen.on_bad_front == "allow"


class Question(Exchange):
    __slots__ = ("front",)

    def __init__(
        self, shared: Shared, front: Front, downstream: DownstreamConnection, head: RequestHead
    ) -> None:
        super().__init__(shared, downstream, head)
        self.front = front

    def begin(self) -> None:
        rules, head = self.rules, self.head
        connections = rules.connections
        if not connections.is_trusted(self.downstream.peer):
            self._turn_away(faults.STRANGE_FRONT)
            return
        about = question.asked(head, connections.line_bytes, front=self.front.kind)
        if not isinstance(about, Fault):
            self._study(about, self.front.refuse_with)
            super().begin()
        elif about is faults.BAD_FRONT and self.front.is_open:
            self.phase = NEXT[self.phase][ASK]
            self._study(head, 0)
            self.request_id = self.facts.request_id or new_request_id()
            self.fault = about  # told and counted all the same
            self._let_pass()
        else:
            self._turn_away(about)

    def _study(self, about: RequestHead, refuse_with: int) -> None:
        """From here on it is about this request; only the form of answers is the question's own."""
        own, self.head = self.head, about
        self.method, self.target = about.method, about.target
        facts = self.facts = self.rules.heads.facts(about, self.downstream.peer, self.downstream.scheme)
        if facts.frame is None:
            frame = self.rules.pages.frame(own, facts.request_id or new_request_id())
            facts.frame = frame._replace(refuse_with=refuse_with)

    def _turn_away(self, fault: Fault) -> None:
        """What is wrong is not the client's request, or makes it one that nobody would serve."""
        self.phase = NEXT[self.phase][ASK]
        self._study(self.head, 0)
        self.request_id = self.facts.request_id or new_request_id()
        refuse(self, fault)

    def _forward(self, why: int, avoid: ServerAddress | None = None, *, fresh: bool = False) -> None:  # noqa: ARG002 - nothing is forwarded from here
        self._let_pass()

    def _let_pass(self) -> None:
        keep = self.may_keep()
        self.status = 200
        ending = self.shared.date_line + connection_line(self.head.minor, keep=keep)
        self.downstream.write(self.rules.pages.passage(self.decision, self.request_id, ending))
        self.finish(SERVED, keep=keep)
