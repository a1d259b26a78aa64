"""What wrk printed, and what is made of it."""

import pytest

from benchmarks import load

PRINTED = """Running 3s test @ http://127.0.0.1:9200/
  4 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.23ms  345.00us  10.00ms   90.00%
    Req/Sec     6.50k   500.00     8.00k    75.00%
  Latency Distribution
     50%    1.10ms
     75%    1.40ms
     90%    1.80ms
     99%    1.80ms
  78000 requests in 3.00s, 40.00MB read
{extra}Requests/sec:  26000.12
Transfer/sec:     13.33MB
"""


def test_figures_are_read_with_their_units():
    done = load.parse(PRINTED.format(extra=""))

    assert (done.requests, done.per_second, done.p50_ms, done.p99_ms) == (78000, 26000.12, 1.1, 1.8)
    assert (done.refused, done.errors) == (0, 0)


def test_refusals_and_errors_are_counted():
    extra = "  Socket errors: connect 1, read 2, write 0, timeout 4\n  Non-2xx or 3xx responses: 77000\n"
    done = load.parse(PRINTED.format(extra=extra))

    assert (done.refused, done.errors) == (77000, 7)


def test_output_of_something_else_is_no_measurement():
    with pytest.raises(ValueError, match="did not print"):
        load.parse("unable to connect")
