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
from proxy.rules.heads import Facts
from proxy.rules.request_ids import new_request_id

if TYPE_CHECKING:
    from proxy.config.sections.front import Listen
    from proxy.http1.head import RequestHead
    from proxy.net.downstream import DownstreamConnection
    from proxy.net.server_address import ServerAddress
    from proxy.rules.pages import Frame
    from proxy.shared import Shared


class Front:
    """Which proxies ask on a listener, and how they are answered."""

    __slots__ = ("is_open", "kind", "refuse_from", "refuse_with")

    def __init__(self, listen: Listen) -> None:
        self.kind: str = listen.front
        self.refuse_with = self.refuse_from = 0
        if listen.refuse_with == 403:
            self.refuse_with, self.refuse_from = 403, 400
        elif listen.front == "envoy":  # takes a 5xx for a Weir that is away, and may let pass
            self.refuse_with, self.refuse_from = 403, 500
        self.is_open = listen.on_bad_front == "allow"


class Question(Exchange):
    __slots__ = ("asked_by", "front", "is_of_client")

    def __init__(
        self, shared: Shared, front: Front, downstream: DownstreamConnection, head: RequestHead
    ) -> None:
        super().__init__(shared, downstream, head)
        self.front = front
        self.asked_by = head
        self.is_of_client = False  # what is refused, so that the front must understand it

    def begin(self) -> None:
        rules, head = self.rules, self.head
        connections = rules.connections
        if not connections.is_trusted(self.downstream.peer):
            self._turn_away(faults.STRANGE_FRONT)
            return
        about = question.asked(head, connections.line_bytes, connections.methods, front=self.front.kind)
        self.is_of_client = about not in faults.OF_THE_FRONT
        if not isinstance(about, Fault):
            self._study(about)
            super().begin()
        elif about is faults.BAD_FRONT and self.front.is_open:
            self.phase = NEXT[self.phase][ASK]
            self._study(head)
            self.request_id = self.facts.request_id or new_request_id()
            self.fault = about  # told and counted all the same
            self._let_pass()
        else:
            self._turn_away(about)

    def refuse_head(self, fault: Fault, line: tuple[bytes, bytes], *, has_body: bool = True) -> None:
        """A trusted proxy's client chose these bytes; how many connections it opens is its own doing."""
        is_trusted = self.rules.connections.is_trusted(self.downstream.peer)
        self.is_of_client = is_trusted and fault not in faults.OF_THE_FRONT
        # Those of heads that cannot be read are for other listeners too.
        self.facts = Facts(self.rules.heads, "")
        super().refuse_head(fault, line, has_body=has_body)

    def _study(self, about: RequestHead) -> None:
        """From here on it is about this request; only how it is answered is the question's own."""
        self.head = about
        self.method, self.target = about.method, about.target
        self.facts = self.rules.heads.judged(about, self.downstream.peer)

    def new_frame(self) -> Frame:
        frame = self.rules.pages.frame(self.asked_by, self.request_id)
        if not self.is_of_client:
            return frame
        return frame._replace(refuse_with=self.front.refuse_with, refuse_from=self.front.refuse_from)

    def _turn_away(self, fault: Fault) -> None:
        """What is wrong is not the client's request, or makes it one that nobody would serve."""
        self.phase = NEXT[self.phase][ASK]
        self._study(self.head)
        self.request_id = self.facts.request_id or new_request_id()
        refuse(self, fault)

    def forward(self, why: int, avoid: ServerAddress | None = None, *, fresh: bool = False) -> None:  # noqa: ARG002 - nothing is forwarded from here
        self._let_pass()

    def _let_pass(self) -> None:
        keep = self.may_keep()
        self.status = 200
        ending = self.shared.date_line + connection_line(self.head.minor, keep=keep)
        self.downstream.write(self.rules.pages.passage(self.decision, self.request_id, ending))
        self.finish(SERVED, keep=keep)
