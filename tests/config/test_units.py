"""Spans, sizes, rates and statuses: what is read, what is written back, and what is said of the rest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config import units
from proxy.config.units import Rate, StatusRange


@given(st.integers(0, units.SPAN_MAX_MS))
def test_span_survives_being_written_and_read(milliseconds):
    """Every whole number of milliseconds has a spelling that reads as itself."""
    seconds = milliseconds / 1000

    assert units.parse_span(units.format_span(seconds)) == seconds


@given(st.integers(0, 10_000))
def test_share_survives_being_written_and_read(parts):
    assert units.parse_share(units.format_share(parts / 10_000)) == pytest.approx(parts / 10_000)


@given(st.integers(1, units.SIZE_MAX_BYTES))
def test_size_survives_being_written_and_read(size):
    assert units.parse_size(units.format_size(size)) == size


@given(st.integers(1, units.RATE_COUNT_MAX), st.sampled_from("smhd"))
def test_rate_survives_being_written_and_read(count, unit):
    rate = units.parse_rate(f"{count}/{unit}")

    assert rate.count == count
    assert str(rate) == f"{count}/{unit}"
    assert units.parse_rate(str(rate)) == rate


@given(st.integers(100, 599), st.integers(100, 599))
def test_statuses_survive_being_written_and_read(one, other):
    statuses = StatusRange(min(one, other), max(one, other))

    assert units.parse_statuses(str(statuses)) == statuses


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.text(),
    st.lists(st.integers()),
    st.from_regex(r"[0-9.:/ ]{1,6}[a-zA-Z]{0,4}", fullmatch=True),
)


@given(ANYTHING)
@pytest.mark.parametrize(
    "parse",
    [
        units.parse_span,
        units.parse_timeout,
        units.parse_size,
        units.parse_rate,
        units.parse_statuses,
        units.parse_workers,
    ],
)
def test_parser_takes_a_value_or_says_why_not_in_one_line(parse, value):
    """No input makes a parser fail in any other way than by a ValueError of one printable line."""
    try:
        parse(value)
    except ValueError as error:
        assert str(error)
        assert "\n" not in str(error)
        assert len(str(error)) < 250


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("5s", 5.0), ("2m", 120.0), ("1h", 3600.0), ("0s", 0.0), ("168h", 604800.0)],
)
def test_span_is_in_seconds(text, seconds):
    assert units.parse_span(text) == seconds


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (5, "5 needs a unit: write 5ms, 5s, 5m or 5h"),
        ("1.5s", "write 1500ms, not '1.5s'"),
        ("5 s", "write 5s, not '5 s'"),
        ("5м", "must be a span such as 250ms, 5s, 2m or 1h, not '5м', which is '5\\u043c'"),
        ("5sec", "write 5s, not '5sec'"),
        ("2 minutes", "write 2m, not '2 minutes'"),
        ("1d", "write 24h, not '1d'"),
        ("10S", "write 10s, not '10S'"),
        ("500 milliseconds", "write 500ms, not '500 milliseconds'"),
        ("1:30", "a span has one unit: write 90s for minutes and seconds, not 1:30"),
        ("8d", "must be a span such as 250ms, 5s, 2m or 1h, not '8d'"),
        ("169h", "169h is more than the 168h that a span may last"),
        ("-5s", "must be a span such as 250ms, 5s, 2m or 1h, not '-5s'"),
        (-5, "must be a span such as 250ms, 5s, 2m or 1h, not -5"),
        ("٥s", "must be a span such as 250ms, 5s, 2m or 1h, not '٥s', which is '\\u0665s'"),
        ("1m30s", "a span has one unit: write 90s, not 1m30s"),
        ("1h 30m", "a span has one unit: write 90m, not 1h 30m"),
        ("2s500ms", "a span has one unit: write 2500ms, not 2s500ms"),
        ("167h59m60s", "a span has one unit: write 168h, not 167h59m60s"),
        ("168h1s", "must be a span such as 250ms, 5s, 2m or 1h, not '168h1s'"),
        ("1m30", "must be a span such as 250ms, 5s, 2m or 1h, not '1m30'"),
        ("", "must be a span such as 250ms, 5s, 2m or 1h, not ''"),
        (True, "must be a span such as 250ms, 5s, 2m or 1h, not true"),
        (None, "must be a span such as 250ms, 5s, 2m or 1h, not null"),
        (["5s"], "must be a span such as 250ms, 5s, 2m or 1h, not a list"),
    ],
)
def test_span_that_is_none_says_what_to_write(value, said):
    with pytest.raises(ValueError) as caught:
        units.parse_span(value)

    assert str(caught.value) == said


def test_timeout_of_nothing_is_refused():
    """A timeout of 0 would end everything at once; who means no bound writes a long one."""
    with pytest.raises(ValueError, match="^must be at least 1ms$"):
        units.parse_timeout("0s")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (8192, "8192 needs a unit: write 8KiB"),
        (1000, "1000 needs a unit: write 1000B"),
        (0, "0 needs a unit: write 1B or more"),
        ("8k", "write 8KiB, not '8k'"),
        ("8KB", "write 8KiB, not '8KB'"),
        ("8 KiB", "write 8KiB, not '8 KiB'"),
        ("1.5MiB", "write 1536KiB, not '1.5MiB'"),
        ("10M", "write 10MiB, not '10M'"),
        ("0B", "must be at least 1B"),
        ("99999GiB", "99999GiB is more than the 1024GiB that a size may be"),
        ("-1B", "must be a size such as 512B, 8KiB or 1MiB, not '-1B'"),
        ("0.3 bytes", "must be a size such as 512B, 8KiB or 1MiB, not '0.3 bytes'"),
        ("0.3B", "must be a size such as 512B, 8KiB or 1MiB, not '0.3B'"),
        ("many", "must be a size such as 512B, 8KiB or 1MiB, not 'many'"),
        (True, "must be a size such as 512B, 8KiB or 1MiB, not true"),
    ],
)
def test_size_that_is_none_says_what_to_write(value, said):
    with pytest.raises(ValueError) as caught:
        units.parse_size(value)

    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("15/s", Rate(15, 1_000_000)),
        ("90/m", Rate(90, 60_000_000)),
        ("1000/h", Rate(1000, 3_600_000_000)),
        ("5000/d", Rate(5000, 86_400_000_000)),
    ],
)
def test_rate_is_a_count_in_microseconds(text, rate):
    assert units.parse_rate(text) == rate


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (15, "15 needs a period: write 15/s, 15/m, 15/h or 15/d"),
        ("0/s", "0/s would refuse every request; a rate is at least 1, such as 1/h"),
        ("00/m", "00/m would refuse every request; a rate is at least 1, such as 1/h"),
        ("15/sec", "write 15/s, not '15/sec'"),
        ("15 / s", "write 15/s, not '15 / s'"),
        ("15r/s", "write 15/s, not '15r/s'"),
        ("15/S", "write 15/s, not '15/S'"),
        ("15 per second", "write 15/s, not '15 per second'"),
        ("100 requests per minute", "write 100/m, not '100 requests per minute'"),
        ("15/1s", "write 15/s, not '15/1s'"),
        ("0.5/s", "a rate is a whole number: write 30/m, not 0.5/s"),
        (".25/m", "a rate is a whole number: write 15/h, not .25/m"),
        ("0.3333/s", "must be a rate such as 15/s, 90/m, 1000/h or 5000/d, not '0.3333/s'"),
        ("15/ms", "must be a rate such as 15/s, 90/m, 1000/h or 5000/d, not '15/ms'"),
        ("15/w", "must be a rate such as 15/s, 90/m, 1000/h or 5000/d, not '15/w'"),
        ("-1/s", "must be a rate such as 15/s, 90/m, 1000/h or 5000/d, not '-1/s'"),
        (0, "must be a rate such as 15/s, 90/m, 1000/h or 5000/d, not 0"),
        ("2000000000/s", "2000000000/s is more than the 1000000000/s that can be counted"),
        (None, "must be a rate such as 15/s, 90/m, 1000/h or 5000/d, not null"),
    ],
)
def test_rate_that_is_none_says_what_to_write(value, said):
    with pytest.raises(ValueError) as caught:
        units.parse_rate(value)

    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("5xx", "write 500-599, not '5xx'"),
        ("600", "a status lies between 100 and 599, 600 does not"),
        ("500-600", "a status lies between 100 and 599, 500-600 does not"),
        (99, 'must be a status or a range such as "500" or "500-599", not 99'),
        ("599-500", "the range is upside down: write 500-599"),
        ("all", 'must be a status or a range such as "500" or "500-599", not \'all\''),
    ],
)
def test_statuses_that_are_none_say_what_to_write(value, said):
    with pytest.raises(ValueError) as caught:
        units.parse_statuses(value)

    assert str(caught.value) == said


@pytest.mark.parametrize(("value", "workers"), [(1, 1), (256, 256), ("auto", "auto")])
def test_workers_are_a_number_or_auto(value, workers):
    assert units.parse_workers(value) == workers


@pytest.mark.parametrize("value", [0, -1, 257, "4", "all", True, None, 1.5])
def test_workers_are_nothing_else(value):
    with pytest.raises(ValueError, match="auto"):
        units.parse_workers(value)


@pytest.mark.parametrize(
    ("parse", "value"),
    [
        (units.parse_span, 2.5),
        (units.parse_timeout, 2.5),
        (units.parse_share, 0.25),
        (units.parse_rate, Rate(15, 1_000_000)),
        (units.parse_statuses, StatusRange(500, 599)),
    ],
)
def test_what_was_read_already_is_taken_as_it_is(parse, value):
    """A default is not text."""
    assert parse(value) == value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (10, "10 needs a percent sign: write 10%"),
        ("101%", "must be a share such as 100%, 1% or 0.5%, not '101%'"),
        (1.5, "must be a share such as 100%, 1% or 0.5%, not 1.5"),
    ],
)
def test_share_that_is_none_says_what_to_write(value, said):
    with pytest.raises(ValueError) as caught:
        units.parse_share(value)

    assert str(caught.value) == said


def test_rate_of_another_period_says_it_in_microseconds():
    """A file cannot say one; the note of a grant, which comes from Redis, can."""
    assert str(Rate(3, 20)) == "3/20us"


@pytest.mark.parametrize(
    ("statuses", "text"), [(StatusRange(502, 502), "502"), (StatusRange(500, 599), "500-599")]
)
def test_statuses_are_written_as_they_are_read(statuses, text):
    assert str(statuses) == text


def test_single_status_is_a_range_of_one():
    assert units.parse_statuses(502) == units.parse_statuses("502-502") == StatusRange(502, 502)


def test_version_of_tls_without_quotes_is_text():
    """YAML takes 1.3 for a number."""
    assert [units.parse_tls_version(value) for value in (1.3, "1.2")] == ["1.3", "1.2"]
