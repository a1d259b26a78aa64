"""The life of an exchange: the table has no dead end, no unnamed row and no way round the end."""

import pytest

from proxy import phases as life

NAMED_PHASES = [
    life.IDLE,
    life.DECIDING,
    life.QUEUED,
    life.CONNECTING,
    life.AWAITING,
    life.HOLDING,
    life.ANSWERING,
]
NAMED_PHASES += [life.REDACTING, life.TUNNELLING, life.OVER]
NAMED_EVENTS = [
    life.ASK,
    life.QUEUE,
    life.ADMIT,
    life.CONNECT,
    life.RETRY,
    life.HOLD,
    life.ANSWER,
    life.REDACT,
]
NAMED_EVENTS += [life.SWITCH, life.FINISH, life.CLOSE]


def walk(*events, phase=life.IDLE):
    for event in events:
        phase = life.NEXT[phase][event]
    return phase


def test_phases_and_events_are_numbered_as_they_are_named():
    """`PHASES[phase]` is the phase's own name."""
    assert [life.PHASES[phase].upper() for phase in NAMED_PHASES] == [
        name for name in vars(life) if name.isupper() and name.lower() in life.PHASES
    ]
    assert [life.EVENTS[event].upper() for event in NAMED_EVENTS] == [
        name for name in vars(life) if name.isupper() and name.lower() in life.EVENTS
    ]
    assert NAMED_PHASES == list(range(len(life.NEXT)))
    assert NAMED_EVENTS == list(range(len(life.EVENTS)))


def test_rows_lead_to_phases_by_events():
    for row in life.NEXT:
        assert set(row) <= set(NAMED_EVENTS)
        assert set(row.values()) <= set(NAMED_PHASES)


@pytest.mark.parametrize("phase", NAMED_PHASES, ids=life.PHASES)
def test_connection_may_close_in_any_phase(phase):
    assert life.NEXT[phase][life.CLOSE] == life.OVER


def test_what_is_over_stays_over():
    assert life.NEXT[life.OVER] == {life.CLOSE: life.OVER}


def test_every_phase_can_be_reached_and_every_event_happens():
    reached, new = set(), {life.IDLE}
    while new:
        reached |= new
        new = {to for phase in reached for to in life.NEXT[phase].values()} - reached

    assert reached == set(NAMED_PHASES)
    assert {event for row in life.NEXT for event in row} == set(NAMED_EVENTS)


@pytest.mark.parametrize(
    "events",
    [
        (life.ASK, life.ADMIT, life.CONNECT, life.ANSWER, life.FINISH),
        (life.ASK, life.ADMIT, life.CONNECT, life.REDACT, life.FINISH),
        (life.ASK, life.ADMIT, life.CONNECT, life.HOLD, life.ANSWER, life.FINISH),
        (life.ASK, life.ADMIT, life.CONNECT, life.HOLD, life.REDACT, life.FINISH),
        (life.ASK, life.ADMIT, life.CONNECT, life.RETRY, life.CONNECT, life.ANSWER, life.FINISH),
        (life.ASK, life.FINISH),
        (life.ASK, life.ADMIT, life.FINISH),
        (life.ASK, life.ADMIT, life.CONNECT, life.FINISH),
        (life.ASK, life.QUEUE, life.ADMIT, life.CONNECT, life.ANSWER, life.FINISH),
        (life.ASK, life.QUEUE, life.FINISH),
    ],
    ids=[
        "served",
        "redacted",
        "examined",
        "leak",
        "retried",
        "refused",
        "unreachable",
        "failed",
        "queued",
        "stopped",
    ],
)
def test_finished_exchange_leaves_the_connection_idle(events):
    """Ready for the next request: served or refused, and by way of retries."""
    assert walk(*events) == life.IDLE


@pytest.mark.parametrize(
    ("events", "event"),
    [
        ((), life.ADMIT),
        ((), life.FINISH),
        ((life.ASK,), life.ASK),
        ((life.ASK,), life.CONNECT),
        ((life.ASK, life.ADMIT), life.ANSWER),
        ((life.ASK, life.ADMIT, life.CONNECT, life.ANSWER), life.ANSWER),
        ((life.ASK, life.ADMIT, life.CONNECT, life.ANSWER), life.RETRY),
        ((life.ASK, life.ADMIT, life.CONNECT, life.ANSWER), life.REDACT),
        ((life.ASK, life.ADMIT, life.CONNECT, life.REDACT), life.ANSWER),
        ((life.ASK, life.ADMIT, life.CONNECT, life.SWITCH), life.FINISH),
        ((life.ASK, life.CLOSE), life.ASK),
        ((life.ASK, life.CLOSE), life.FINISH),
    ],
)
def test_event_out_of_turn_is_a_bug(events, event):
    """Nothing is answered twice, retried after an answer began, or connected before it was admitted."""
    phase = walk(*events)

    with pytest.raises(KeyError):
        walk(event, phase=phase)
