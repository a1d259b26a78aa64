"""Moments of logs, however they are written."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.tuning.moments import MOMENT_LETTERS, MOMENTS_KNOWN, Moments, moment_us

DAY = 1_769_903_999_000_000  # 2026-01-31T23:59:59Z


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-01-31T23:59:59.123Z", DAY + 123_000),
        ("2026-01-31T23:59:59.123456+00:00", DAY + 123_456),
        ("2026-01-31T23:59:59", DAY),
        ("2026-01-31 23:59:59", DAY),
        ("2026-02-01T00:59:59+01:00", DAY),
        ("31/Jan/2026:23:59:59 +0000", DAY),
        ("31/Jan/2026:18:59:59 -0500", DAY),
        ("1769903999", DAY),
        ("1769903999.5", DAY + 500_000),
        ("1769903999.1234567", DAY + 123_456),
        ("1769903999123", DAY + 123_000),
        ("1769903999123.5", DAY + 123_500),
        ("1769903999123456", DAY + 123_456),
        ("1769903999123456789", DAY + 123_456),
        ("0", 0),
    ],
)
def test_moment_is_read(text, at):
    assert moment_us(text) == at


@pytest.mark.parametrize(
    "text",
    ["", "-", "x", "2026-13-01", "31/Xxx/2026:00:00:00 +0000", "31/Jan/2026:23:59:59", "99999999999999999999", "1e9", "-1", "\u0661"],
)  # fmt: skip
def test_what_is_no_moment_is_none(text):
    assert moment_us(text) is None
    assert Moments().of(text) is None
    assert Moments().of_own(text) is None


@given(st.lists(st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1)), max_size=5), st.booleans())
def test_memory_changes_nothing(moments, is_own):
    """Seconds that come again, or come back, are what they are alone."""
    reader = Moments()
    for moment in [*moments, *moments]:
        text = moment.replace(tzinfo=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

        assert (reader.of_own(text) if is_own else reader.of(text)) == moment_us(text)


def test_text_that_is_too_long_for_a_moment_is_none():
    """It is not even looked at: a line may hold a mebibyte of digits."""
    assert Moments().of("1" + "0" * MOMENT_LETTERS) is None


def test_own_moment_of_no_day_is_none():
    assert Moments().of_own("2026-13-31T23:59:59.123Z") is None


def test_what_is_remembered_of_moments_is_bounded():
    """And a moment that was forgotten is read again."""
    moments = Moments()
    texts = [str(1_769_903_999 + number) for number in range(2 * MOMENTS_KNOWN)]

    assert [moments.of(text) for text in texts] == [moment_us(text) for text in texts]
    assert moments.of(texts[0]) == DAY
