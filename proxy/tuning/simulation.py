"""From logs to what the limits would have done: reads, charges, orders and replays, in pieces.

One pass over the logs serves all configs that are compared. Memory is that of a few pieces and of the keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.rules.rules import Rules
from proxy.tuning.charging import HASHED, Charging
from proxy.tuning.formats import CsvFormat, JsonFormat, WeirFormat, recognised
from proxy.tuning.moments import US
from proxy.tuning.order import Ordered, merged
from proxy.tuning.replay import Replay
from proxy.tuning.told_heads import carriers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from proxy.config.loader import Config
    from proxy.config.sections.limits import LimitSettings
    from proxy.config.settings import Settings
    from proxy.tuning.formats import Format, TimedRequest
    from proxy.tuning.logs import Log
    from proxy.tuning.order import Timed

LOOKS = 100
KEYS_MAX = 1_000_000  # buckets of one limit where Redis would hold them: 200 MB


class ReadLog:
    """One log with what became of its lines."""

    def __init__(self, log: Log, key_field: str | None) -> None:
        self.log = log
        self.requests = 0
        self.late = 0
        self._key_field = key_field
        self._format: Format | None = None
        self.has_whole_seconds = True
        self.tells_keys = False
        self.tells_statuses = False
        self.tells_hashes = False  # in place of credentials
        self.tells_429s = False  # of the service
        self.tells_options = False  # requests by the method of preflights
        self.is_sampled = False  # it has a share of what went well
        self._blank = 0  # lines that say nothing, and are no fault: empty ones, and the header of a CSV

    def items(self) -> Iterator[list[TimedRequest]]:
        """Raises LogError and FieldError."""
        for piece in self.log.pieces():
            if self._format is None:
                self._recognise(piece)
            items = self._format.read(piece) if self._format is not None else []
            if len(items) < piece.count(b"\n"):
                self._blank += sum(1 for line in piece.split(b"\n")[:-1] if not line.strip())
            self.requests += len(items)
            if items:
                self._look_at(items)
            yield items

    def _look_at(self, items: list[TimedRequest]) -> None:
        """A few of each piece show what the log tells."""
        some = items[:: len(items) // LOOKS or 1]
        self.has_whole_seconds = self.has_whole_seconds and not any(at % US for at, _ in some)
        self.tells_keys = self.tells_keys or any(
            logged.credential or bytes(logged.keys) for _, logged in some
        )
        self.tells_statuses = self.tells_statuses or any(logged.status for _, logged in some)
        self.tells_hashes = self.tells_hashes or any(
            logged.credential.startswith(HASHED) for _, logged in some
        )
        self.is_sampled = self.is_sampled or any(logged.sample < 1 for _, logged in some)
        self.tells_429s = self.tells_429s or any(
            logged.status == 429 and logged.source == "upstream" for _, logged in items
        )
        self.tells_options = self.tells_options or any(logged.method == "OPTIONS" for _, logged in items)

    def _recognise(self, piece: bytes) -> None:
        """Goes by the first line that has any; lines of Weir's own log may stand among those of its access
        log.
        """
        lines = [line for line in piece.split(b"\n") if line.strip()]
        found = next(filter(None, (recognised(line, self._key_field) for line in lines)), None)
        own = WeirFormat()
        if isinstance(found, JsonFormat) and self._key_field is None and any(map(own.read, lines[:LOOKS])):
            found = own
        self._format = found
        self._blank += isinstance(found, CsvFormat)

    @property
    def format(self) -> str | None:
        return self._format.name if self._format is not None else None

    @property
    def unreadable(self) -> int:
        """Lines that are not of the log's format."""
        return self.log.lines - self.log.dropped - self._blank - self.requests

    @property
    def skipped(self) -> int:
        return self.unreadable + self.log.dropped + self.late


class Simulation:
    def __init__(self, configs: Sequence[Config], logs: Sequence[Log], key_field: str | None = None) -> None:
        """The first config is taken for that which wrote the logs, if it was Weir that did."""
        self.configs = configs
        self.logs = [ReadLog(log, key_field) for log in logs]
        self.replays = []
        self._chargings = []
        for settings in (_of_rates(reading.settings) for reading in configs):
            rules = Rules(settings)
            self.replays.append(Replay(rules.limits, _max_keys(settings)))
            self._chargings.append(Charging(settings, rules, configs[0].settings.limits))

    def run(self, progress: Callable[[], None]) -> None:
        """Calls `progress` after each piece. Raises LogError and FieldError."""
        ordered = [Ordered(self._charged(log, progress)) for log in self.logs]
        for piece in merged(ordered):
            if len(self.replays) == 1:
                self.replays[0].play(piece)
                continue
            for number, replay in enumerate(self.replays):
                replay.play([(at, due[number]) for at, due in piece])
        for log, order in zip(self.logs, ordered, strict=True):
            log.late = order.late
        for replay in self.replays:
            replay.end()

    def _charged(self, log: ReadLog, progress: Callable[[], None]) -> Iterator[list[Timed]]:
        chargings = self._chargings
        for items in log.items():
            progress()
            if len(chargings) == 1:
                yield chargings[0].charged(items)
            else:
                yield [(at, [each.charge(logged) for each in chargings]) for at, logged in items]

    def close(self) -> None:
        for replay in self.replays:
            for tally in replay.tallies.values():
                tally.arrivals.close()

    @property
    def skipped(self) -> int:
        return sum(log.skipped for log in self.logs)

    @property
    def notes(self) -> list[str]:
        """What the figures cannot know."""
        limits = {limit.name: limit for reading in self.configs for limit in reading.settings.limits}
        logs = [log for log in self.logs if log.requests]
        return [
            *_about_slots(self.configs),
            *_about_times(logs),
            *_about_samples(logs),
            *_about_keys(logs, [*limits.values()]),
            *_about_newcomers(logs, [*limits.values()]),
            *_about_plans(logs, [*limits.values()]),
            *_about_costs(logs, [*limits.values()]),
            *_about_drains(logs, [*limits.values()]),
            *_about_preflights(logs, self.configs),
        ]


def _of_rates(settings: Settings) -> Settings:
    """Leaves out limits on concurrency: what is under way at once, a log does not tell."""
    rates = tuple(limit for limit in settings.limits if limit.concurrency is None)
    return settings if len(rates) == len(settings.limits) else settings.model_copy(update={"limits": rates})


def _about_slots(configs: Sequence[Config]) -> Iterator[str]:
    named = dict.fromkeys(
        limit.name
        for reading in configs
        for limit in reading.settings.limits
        if limit.concurrency is not None
    )
    for name in named:
        yield f"{name} is passed over: how many requests were under way at once, logs do not tell"


def _about_times(logs: Sequence[ReadLog]) -> Iterator[str]:
    for log in logs:
        if log.has_whole_seconds:
            yield (
                f"{log.log.name} has times in whole seconds: what came within a second counts as at once,"
                " so that bursts look larger than they were"
            )


def _about_samples(logs: Sequence[ReadLog]) -> Iterator[str]:
    for log in logs:
        if log.is_sampled:
            yield (
                f"{log.log.name} is a sample (`log.sample`): there were more requests than it tells, and"
                " limits that would be enough for these are too small"
            )


def _about_keys(logs: Sequence[ReadLog], limits: Sequence[LimitSettings]) -> Iterator[str]:
    """What a log does not tell of the limits."""
    others = _names([log for log in logs if not log.tells_keys])
    foreign = _names([log for log in logs if log.format != "Weir"])
    hashed = _names([log for log in logs if log.tells_hashes])
    for limit in limits:
        if others and carriers(limit):
            yield (
                f"{limit.name}: {others} tells no credentials, so that requests count as if they"
                " had none; name their field by --key-field"
            )
        if foreign and (limit.match.headers or limit.exempt.headers):
            yield f"{limit.name}: {foreign} does not tell the headers that it looks at"
        if hashed and 0 < limit.enforce < 1:
            yield (
                f"{limit.name}: {hashed} has credentials by their hashes: `enforce` takes other keys of them"
            )


def _about_newcomers(logs: Sequence[ReadLog], limits: Sequence[LimitSettings]) -> Iterator[str]:
    """Which credentials the service knows, a log tells by its answers alone."""
    silent = _names([log for log in logs if not log.tells_statuses])
    for limit in limits:
        if limit.unproven is not None and silent:
            yield f"{limit.name}: {silent} tells no status, so that every credential stays unproven"
        elif limit.unproven is not None and logs:
            yield f"{limit.name}: each credential is unproven until the first answer to it in the log"


def _about_plans(logs: Sequence[ReadLog], limits: Sequence[LimitSettings]) -> Iterator[str]:
    """Weir's own log has no credentials by which plans name them."""
    own = _names([log for log in logs if log.format == "Weir"])
    planned = [limit for limit in limits if limit.plans]
    if own and planned:
        names = ", ".join(limit.name for limit in planned)
        yield f"{names}: who has which plan is taken from {own}, which tells one for each request"


def _about_costs(logs: Sequence[ReadLog], limits: Sequence[LimitSettings]) -> Iterator[str]:
    for limit in limits:
        costs = limit.cost if isinstance(limit.cost, tuple) else ()
        if logs and any(cost.match.headers or cost.match.absent for cost in costs):
            yield f"{limit.name}: {_names(logs)} does not tell the headers that its costs go by"


def _about_drains(logs: Sequence[ReadLog], limits: Sequence[LimitSettings]) -> Iterator[str]:
    tells = _names([log for log in logs if log.tells_429s])
    for limit in limits:
        if tells and limit.on_upstream_429 == "drain":
            yield (
                f"{limit.name}: for how long a 429 of the service closes a bucket, {tells} does not tell;"
                " here it is one period of the rate"
            )


def _about_preflights(logs: Sequence[ReadLog], configs: Sequence[Config]) -> Iterator[str]:
    foreign = _names([log for log in logs if log.format != "Weir" and log.tells_options])
    if foreign and any(reading.settings.cors.origins for reading in configs):
        yield f"cors.origins: {foreign} does not tell which requests are preflights: all are charged"


def _names(logs: Sequence[ReadLog]) -> str:
    return ", ".join(log.log.name for log in logs)


def _max_keys(settings: Settings) -> int:
    """Redis holds more than memory does."""
    return settings.store.max_keys if settings.store.url.kind == "memory" else KEYS_MAX
