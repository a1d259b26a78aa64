"""What all exchanges of a worker share. Knows nothing of what they do with it."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from proxy.contract.etags import Budget
from proxy.limiter.queues import WaitingRoom
from proxy.policy.retries import RetryBudget
from proxy.telemetry.evidence import Evidence

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.limiter.store import Store
    from proxy.net.pool import Pool
    from proxy.rules.rules import Rules
    from proxy.telemetry.access_log import AccessLog
    from proxy.telemetry.metrics import Metrics
    from proxy.telemetry.traces import Traces


class Shared:
    """`rules` and `pool` are swapped whole at a reload."""

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a worker
        self,
        rules: Rules,
        pool: Pool,
        store: Store,
        metrics: Metrics,
        access_log: AccessLog,
        clock: Callable[[], float] = monotonic,
        traces: Traces | None = None,
    ) -> None:
        self.rules = rules
        self.pool = pool
        self.store = store
        self.metrics = metrics
        self.access_log = access_log
        self.clock = clock  # seconds, monotonic
        self.traces = traces  # None: no spans are recorded, and nothing is done for them
        self.evidence = Evidence(metrics)
        self.room = WaitingRoom(clock)
        self.retries = RetryBudget()
        self.budget = Budget()
        self.date_line = b""  # for answers of our own, renewed by the sweep
        self.is_draining = False  # every answer is the last one of its connection
        self.answered = 0  # requests that a server has answered, for the budget of retries
