"""What seeing costs is measured by parts of Weir's own: when these change, the measurement must follow."""

from benchmarks import telemetry


def test_every_row_has_its_figure(monkeypatch):
    monkeypatch.setattr(telemetry, "ROUNDS", 1)
    monkeypatch.setattr(telemetry, "NUMBER", 200)

    rows = dict(telemetry.exchanges() + telemetry.scrapes())

    assert rows["admitted, far from its limit: all of it"] > rows["... metrics alone"] > 0
    assert rows["scrape of 500 limits and 4 workers"] > rows["... a worker's part, each second"] > 0
