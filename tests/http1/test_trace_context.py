from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http1 import trace_context
from proxy.http1.trace_context import Parent

TRACE, SPAN, OTHER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", "00f067aa0ba902b8"


@pytest.mark.parametrize("version", ["00", "01", "cc"])
@pytest.mark.parametrize(("flags", "is_sampled"), [("00", False), ("01", True), ("03", True), ("02", False)])
def test_parent_is_read(version, flags, is_sampled):
    """Later versions are read as this one (section 4.3)."""
    found = trace_context.parent(f"{version}-{TRACE}-{SPAN}-{flags}".encode())

    assert found == Parent(TRACE, SPAN, int(flags, 16))
    assert found.is_sampled is is_sampled


@pytest.mark.parametrize(
    "value",
    ["", "nonsense", f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01"]
    + [
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}",
        f" 00-{TRACE}-{SPAN}-01",
    ],
)
def test_what_means_nothing_is_none(value):
    assert trace_context.parent(value.encode()) is None
    assert not trace_context.is_valid(value.encode())


@given(st.binary(max_size=80))
def test_anything_may_come(value):
    assert (trace_context.parent(value) is not None) is trace_context.is_valid(value)


def head(*lines, target="/"):
    return "\r\n".join([f"GET {target} HTTP/1.1", *lines, "", ""]).encode()


@pytest.mark.parametrize("name", ["traceparent", "Traceparent", "TRACEPARENT"])
def test_service_is_a_child_of_the_call(name):
    """The one field is rewritten, whatever its case, and nothing that looks like it elsewhere."""
    given = f"00-{TRACE}-{SPAN}-01"
    data = head(f"X-Copy: {given}", f"{name}:  {given}", f"B: {given}", target=f"/?traceparent:{given}")
    found = trace_context.carried(data, TRACE, OTHER).decode()

    assert found.count(given) == 3
    assert f"\r\n{name}:  00-{TRACE}-{OTHER}-01\r\n" in found


def test_root_adds_its_field():
    found = trace_context.carried(head("Host: a"), TRACE, OTHER)

    assert found == head("Host: a", f"traceparent: 00-{TRACE}-{OTHER}-01")
