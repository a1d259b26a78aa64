from __future__ import annotations

import logging

from proxy.demo.journal import ORIGINALS_MAX, Journal

LOG = logging.getLogger("weir.gateway")


def redacted(request_id: str) -> None:
    LOG.warning("redacted", extra={"fields": {"request_id": request_id, "body": "x", "status": 500}})


def test_originals_are_found_by_request_id():
    """As the tour looks for them; an unknown id has none."""
    with Journal(lambda _: None) as journal:
        redacted("a1")

    assert journal.original("a1") == {"request_id": "a1", "body": "x", "status": 500}
    assert journal.original("b2") is None


def test_nothing_is_printed_but_errors(capsys):
    """The tour's output is not spoilt; what goes wrong is told."""
    told: list[str] = []
    with Journal(told.append):
        LOG.info("serving")
        redacted("a1")
        LOG.warning("slow")
        LOG.error("cannot %s", "do", extra={"fields": {"why": "x"}})

    assert told == ["cannot do {'why': 'x'}"]
    assert capsys.readouterr() == ("", "")


def test_originals_are_bounded():
    """A demo may run for days."""
    with Journal(lambda _: None) as journal:
        for number in range(ORIGINALS_MAX + 1):
            redacted(f"r{number}")

    assert journal.original("r0") is None
    assert journal.original("r1") is not None


def test_afterwards_the_log_is_as_before():
    """No handler stays."""
    logger = logging.getLogger("weir")
    before = (list(logger.handlers), logger.propagate)
    with Journal(lambda _: None):
        pass

    assert (list(logger.handlers), logger.propagate) == before
