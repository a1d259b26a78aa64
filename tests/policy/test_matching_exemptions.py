"""Whom a rule is for, in any reading of the request; whom it lets through, only if every reading fits."""

from __future__ import annotations

import pytest

from proxy.config.sections.limits import Exempt
from proxy.config.sections.limits import Match as MatchSettings
from proxy.policy.matching import Exemption, Matcher
from tests.policy.heads import head


def matcher(**settings):
    return Matcher(MatchSettings.model_validate(settings))


def exemption(**settings):
    return Exemption(Exempt.model_validate(settings))


@pytest.mark.parametrize(
    ("settings", "request_", "holds"),
    [
        ({"paths": ["/a/b"]}, head(target="/A/b/"), True),
        ({"paths": ["/a/b"]}, head(target="/x/../a/b"), True),
        ({"paths": ["/a/b"]}, head(target="/a%2Fb"), True),
        ({"paths": ["/a/b"]}, head(target="/a/c/..%2fd"), False),
        ({"paths": ["/a/b"], "exact": True}, head(target="/A/b"), False),
        ({"headers": {"X-Kind": "bot"}}, head(headers={"X-Kind": "cat, BOT"}), True),
        ({"headers": {"X-Kind": "bot"}, "exact": True}, head(headers={"X-Kind": "BOT"}), False),
        ({"headers": {"Host": "a.example"}}, head(headers={"Host": "A.example:8080"}), True),
        ({"headers": {"X-Kind": "bot"}}, head(), False),
    ],
)
def test_rule_is_for_all_that_may_be_meant(settings, request_, holds):
    assert matcher(**settings).holds(request_) is holds


@pytest.mark.parametrize(
    ("settings", "request_", "client", "holds"),
    [
        ({"cidrs": ["192.0.2.0/24"]}, head(), "192.0.2.7", True),
        ({"cidrs": ["192.0.2.0/24"]}, head(), "198.51.100.7", False),
        ({"paths": ["/open/**"]}, head(target="/open/a"), "", True),
        ({"paths": ["/open/**"]}, head(target="/open/../secret"), "", False),
        ({"paths": ["/open/**"]}, head(target="/open/%u002e%u002e/secret"), "", False),
        ({"paths": ["/open/**"]}, head(target="/open/..%u2215secret"), "", False),
        ({"paths": ["/open/**"]}, head(target="/open/%EF%BC%8E%EF%BC%8E/secret"), "", False),
        ({"paths": ["/open/**"]}, head(target="/open/%E2%80%A5/secret"), "", False),
        ({"paths": ["/open/**"]}, head(target="/open/%c0%ae%c0%ae/secret"), "", False),
        ({"paths": ["/open/*.png"]}, head(target="/open/secret%00.png"), "", False),
        ({"paths": ["/open/**"]}, head(target="/open/caf%C3%A9/%EF%BC%88a%EF%BC%89"), "", True),
        ({"headers": {"X-Probe": "yes"}}, head(headers={"X-Probe": "yes"}), "", True),
        ({"headers": {"X-Probe": "yes"}}, head(headers=[("X-Probe", "yes"), ("X-Probe", "no")]), "", False),
        ({"headers": {"X-Probe": "yes"}}, head(headers=[("X-Probe", "yes"), ("x-probe", "yes")]), "", True),
        ({"headers": {"X-Probe": "yes"}}, head(), "", False),
        ({}, head(), "192.0.2.7", False),
    ],
)
def test_exemption_is_for_what_is_meant_in_every_reading(settings, request_, client, holds):
    assert exemption(**settings).holds(request_, client) is holds
    assert exemption().is_never
