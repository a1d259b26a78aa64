"""Resources judged by Kubernetes' own schemas, strictly; those of the Prometheus operator by the parts that Weir uses."""

from __future__ import annotations

from typing import Any

VERSIONS = ("1.30", "1.35")  # the oldest with the sleep of a preStop, and a recent one
OPERATORS = {"ServiceMonitor", "PodMonitor", "PrometheusRule"}
_ENDPOINT = {"port", "path", "interval", "authorization", "scheme", "relabelings"}


def judge(document: dict[str, Any]) -> None:
    """A field that Kubernetes does not know is a mistake."""
    if document["kind"] in OPERATORS:
        _judge_operators(document)
        return
    import kubernetes_validate  # takes more than a second, which whoever only collects the tests need not wait

    for version in VERSIONS:
        kubernetes_validate.validate(document, version, strict=True)


def _judge_operators(document: dict[str, Any]) -> None:
    assert document["apiVersion"] == "monitoring.coreos.com/v1"
    assert document["metadata"]["name"]
    spec = document["spec"]
    if document["kind"] == "PrometheusRule":
        assert [group["name"] for group in spec["groups"]]
        assert all(
            set(rule) <= {"alert", "record", "expr", "for", "keep_firing_for", "labels", "annotations"}
            for group in spec["groups"]
            for rule in group["rules"]
        )
        return
    endpoints = spec["endpoints" if document["kind"] == "ServiceMonitor" else "podMetricsEndpoints"]
    assert endpoints
    assert spec["selector"]["matchLabels"]
    for endpoint in endpoints:
        assert set(endpoint) <= _ENDPOINT
        assert isinstance(endpoint["port"], str)
        assert set(endpoint["authorization"]["credentials"]) == {"name", "key"}
