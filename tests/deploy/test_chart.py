"""The chart, by the real helm: linted, rendered in many variants, judged by Kubernetes' schemas and by Weir itself."""

from __future__ import annotations

import base64
import re
import tarfile
from functools import cache
from typing import Any

import pytest
import yaml

from proxy import __version__
from proxy.config.loader import loads
from tests.deploy.conftest import ROOT
from tests.deploy.kubernetes_schemas import OPERATORS, judge
from tests.support.kubernetes_tools import run

CHART = ROOT / "deploy" / "helm" / "weir"
DIGEST = "sha256:" + "0" * 64

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "sidecar": {"mode": "sidecar"},
    "sidecar-watched": {
        "mode": "sidecar",
        "podMonitor": {"enabled": True},
        "sidecar": {"podLabels": {"app": "shop"}},
    },
    "sidecar-in-memory": {"mode": "sidecar", "store": {"kind": "memory"}},
    "external-store": {"store": {"kind": "external", "url": "rediss://cache.example:6380/0"}},
    "external-sentinel": {"store": {"kind": "external", "url": "redis+sentinel://a:26379,b:26379/weir"}},
    "store-from-a-secret": {
        "store": {"kind": "external", "urlFromSecret": True},
        "admin": {"existingSecret": "mine", "secretKeys": {"token": "t", "password": "p", "url": "u"}},
    },
    "own-secret": {"admin": {"existingSecret": "mine"}},
    "given-secrets": {"admin": {"token": "s3cret"}, "store": {"password": "abc123"}},
    "memory": {"store": {"kind": "memory"}, "replicas": 1},
    "scaled": {"autoscaling": {"enabled": True, "minReplicas": 3, "maxReplicas": 30}},
    "watched": {
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "podMonitor": {"enabled": True, "interval": "30s"},
        "prometheusRule": {"enabled": True, "labels": {"role": "alerts"}},
        "dashboard": {"enabled": True},
    },
    "ingress": {
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "hosts": ["api.example.com"],
            "tls": [{"hosts": ["api.example.com"], "secretName": "api"}],
            "annotations": {"a": "b"},
        },
        "service": {"type": "LoadBalancer", "port": 8000, "annotations": {"c": "d"}, "labels": {"e": "f"}},
    },
    "closed": {
        "networkPolicy": {
            "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "shop"}}}]}],
            "monitoring": {"team": "watch"},
        }
    },
    "open": {"networkPolicy": {"enabled": False}, "podDisruptionBudget": {"enabled": False}},
    "placed": {
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "edge", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"podAntiAffinity": {}},
        "priorityClassName": "high",
        "podAnnotations": {"a": "1"},
        "podLabels": {"b": "2"},
        "imagePullSecrets": [{"name": "registry"}],
        "image": {"repository": "registry.example/weir", "digest": DIGEST, "pullPolicy": "Always"},
        "serviceAccount": {"create": False, "name": "mine"},
    },
    "tls": {
        "config": {
            "listen": [{"address": "0.0.0.0:8443", "tls": {"cert": "/tls/tls.crt", "key": "/tls/tls.key"}}]
        },
        "ports": {"http": 8443},
        "volumes": [{"name": "tls", "secret": {"secretName": "api-tls"}}],
        "volumeMounts": [{"name": "tls", "mountPath": "/tls", "readOnly": True}],
        "env": [{"name": "WEIR_LOG__LEVEL", "value": "warning"}],
    },
    "own-config": {"existingConfigMap": "mine", "resources": {}},
    "more": {
        "extraObjects": [
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"a": "b"}},
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}-two'}\ndata: {a: b}\n",
        ]
    },
}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory):
    """The resources of a variant."""

    def render(name, release="weir"):
        values = tmp_path_factory.mktemp("values") / "values.yaml"
        values.write_text(yaml.safe_dump(VARIANTS[name]))
        done = run("helm", "template", release, CHART, "--values", values)
        assert done.returncode == 0, done.stderr
        return [document for document in yaml.safe_load_all(done.stdout) if document]

    return cache(render)


def only(found, kind, name):
    (document,) = [d for d in found if d["kind"] == kind and d["metadata"]["name"] == name]
    return document


def pods(found):
    """Every pod's spec."""
    made = [d["spec"]["template"]["spec"] for d in found if d["kind"] == "Deployment"]
    return made + [d["spec"] for d in found if d["kind"] == "Pod"]


def weir_of(found):
    """Its container, in the Deployment or in the patch; and the pod's volumes."""
    if patches := [d for d in found if "patch.yaml" in d.get("data", {})]:
        spec = yaml.safe_load(patches[0]["data"]["patch.yaml"])["spec"]["template"]["spec"]
        return spec["initContainers"][0], spec["volumes"]
    spec = only(found, "Deployment", "weir")["spec"]["template"]["spec"]
    return spec["containers"][0], spec["volumes"]


def settings_of(found):
    """As Weir reads them, secrets made up."""
    weir, _ = weir_of(found)
    values = {entry["name"]: entry.get("value", "rediss://secret:1/0") for entry in weir.get("env", [])}
    values = {name: value.replace("$(STORE_PASSWORD)", "secret") for name, value in values.items()}
    return loads(only(found, "ConfigMap", "weir")["data"]["weir.yaml"], "weir.yaml", values)


@pytest.mark.parametrize("name", VARIANTS)
def test_lint_finds_nothing(name, tmp_path):
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(VARIANTS[name]))
    done = run("helm", "lint", "--strict", CHART, "--values", tmp_path / "values.yaml")

    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize("name", VARIANTS)
def test_schemas_are_kept(name, rendered):
    found = rendered(name)
    for document in found:
        judge(document)
    names = [(document["kind"], document["metadata"]["name"]) for document in found]

    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "own-config"])
def test_config_is_good_and_agrees_with_the_container(name, rendered):
    weir, _ = weir_of(rendered(name))
    settings = settings_of(rendered(name))
    ports = {port["name"]: port["containerPort"] for port in weir["ports"]}
    asked = {weir[f"{probe}Probe"]["httpGet"]["port"] for probe in ("startup", "readiness", "liveness")}

    assert (ports["http"], ports["admin"]) == (settings.listen[0].port, settings.admin.listen.port)
    assert (asked, ports["probes"]) == ({"probes"}, settings.admin.probes.port)


@pytest.mark.parametrize("name", VARIANTS)
def test_pods_may_no_more_than_they_need(name, rendered):
    """The restricted profile, and a read-only root besides."""
    sidecars = [weir_of(rendered(name))[0]]
    for pod in pods(rendered(name)):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        sidecars += pod["containers"]
    for container in sidecars:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("name", VARIANTS)
def test_secrets_and_configs_that_are_named_are_made_or_the_users(name, rendered):
    """With the keys that are asked for."""
    found = rendered(name)
    weir, volumes = weir_of(found)
    made = {
        (d["kind"], d["metadata"]["name"]): set(d["data"])
        for d in found
        if d["kind"] in ("Secret", "ConfigMap")
    }
    containers = [weir, *(c for pod in pods(found) for c in pod["containers"])]
    asked = [e["valueFrom"]["secretKeyRef"] for c in containers for e in c.get("env", []) if "valueFrom" in e]
    configs = [volume["configMap"]["name"] for volume in volumes if "configMap" in volume]

    assert all(each["name"] == "mine" or each["key"] in made["Secret", each["name"]] for each in asked)
    assert all(each == "mine" or "weir.yaml" in made["ConfigMap", each] for each in configs)


@pytest.mark.parametrize("name", VARIANTS)
def test_selectors_meet_pods(name, rendered):
    """Of one kind of pod each: the store's are not Weir's, nor are those of the test."""
    found = rendered(name)
    labels = {
        d["metadata"]["name"]: d["spec"]["template"]["metadata"]["labels"]
        for d in found
        if d["kind"] == "Deployment"
    }
    labels |= {d["metadata"]["name"]: d["metadata"]["labels"] for d in found if d["kind"] == "Pod"}
    for document in found:
        spec = document.get("spec", {})
        selector = spec.get("podSelector") or spec.get("selector")
        if document["kind"] in (
            "Service",
            "NetworkPolicy",
            "PodDisruptionBudget",
            "PodMonitor",
            "Deployment",
        ):
            wanted = selector.get("matchLabels", selector)
            met = [pod for pod, has in labels.items() if wanted.items() <= has.items()]
            is_outside = VARIANTS[name].get("mode") == "sidecar" and not document["metadata"][
                "name"
            ].endswith("store")
            assert len(met) == (0 if is_outside else 1), document["metadata"]["name"]


def test_sidecars_patch_makes_a_pod_that_kubernetes_takes(rendered):
    """A native sidecar, told to end after the service, on whose loopback it listens."""
    found = rendered("sidecar")
    patch = yaml.safe_load(only(found, "ConfigMap", "weir-sidecar")["data"]["patch.yaml"])
    deployment = yaml.safe_load(
        (ROOT / "deploy" / "kubernetes" / "sidecar" / "deployment.yaml").read_text().split("---")[0]
    )
    template = deployment["spec"]["template"]
    template["spec"]["initContainers"] = patch["spec"]["template"]["spec"]["initContainers"]
    template["spec"]["volumes"] = patch["spec"]["template"]["spec"]["volumes"]
    judge(deployment)
    weir, settings = template["spec"]["initContainers"][0], settings_of(found)

    assert weir["restartPolicy"] == "Always"
    assert settings.upstream.servers[0].url.host == "127.0.0.1"
    assert settings.drain.delay == 0
    assert settings.admin.listen.host == "127.0.0.1"
    assert not [d for d in found if d["kind"] == "Deployment" and d["metadata"]["name"] == "weir"]


def test_watched_sidecar_opens_its_admin_plane_with_a_token(rendered):
    settings = settings_of(rendered("sidecar-watched"))

    assert settings.admin.listen.host == "0.0.0.0"
    assert settings.admin.token is not None


def test_operators_resources_come_only_when_asked_for(rendered):
    kinds = {name: {d["kind"] for d in rendered(name)} & OPERATORS for name in VARIANTS}

    assert kinds.pop("watched") == OPERATORS
    assert kinds.pop("sidecar-watched") == {"PodMonitor"}
    assert set().union(*kinds.values()) == set()


def test_board_and_alerts_are_those_of_deploy(rendered):
    found = rendered("watched")
    rules = yaml.safe_load((ROOT / "deploy" / "prometheus" / "weir.rules.yml").read_text())
    board = (ROOT / "deploy" / "grafana" / "weir.json").read_text()

    assert only(found, "PrometheusRule", "weir")["spec"] == rules
    assert only(found, "ConfigMap", "weir-dashboard")["data"]["weir.json"].strip() == board.strip()


def test_given_secrets_are_taken(rendered):
    data = only(rendered("given-secrets"), "Secret", "weir")["data"]

    assert {key: base64.b64decode(value) for key, value in data.items()} == {
        "admin-token": b"s3cret",
        "store-password": b"abc123",
    }


def test_secrets_that_are_made_up_fit_into_a_url(rendered):
    for value in only(rendered("default"), "Secret", "weir")["data"].values():
        assert re.fullmatch(rb"[0-9a-f]{32}", base64.b64decode(value))


def test_replicas_are_the_autoscalers_where_there_is_one(rendered):
    assert "replicas" not in only(rendered("scaled"), "Deployment", "weir")["spec"]
    assert only(rendered("default"), "Deployment", "weir")["spec"]["replicas"] == 2


def test_pod_lives_longer_than_the_drain(rendered):
    drain = settings_of(rendered("default")).drain
    pod = only(rendered("default"), "Deployment", "weir")["spec"]["template"]["spec"]

    assert pod["terminationGracePeriodSeconds"] > drain.delay + drain.timeout


def test_two_releases_share_nothing(rendered):
    names = [
        {(d["kind"], d["metadata"]["name"]) for d in rendered("default", release)}
        for release in ("shop", "hub")
    ]

    assert not names[0] & names[1]


WRONG = {
    "replica: 3": "replica",
    "mode: side": "mode",
    "config: {store: {url: 'redis://a'}}": "config",
    "image: {digest: latest}": "digest",
    "store: {kind: external}": "store.url is required",
    "store: {kind: external, url: 'http://a'}": "url",
    "store: {password: 'a b'}": "password",
    "store: {kind: external, urlFromSecret: true}": "admin.existingSecret",
    "ports: {http: '8080'}": "http",
    "ingress: {enabled: true}": "hosts",
    "serviceMonitor: {enabled: 'yes'}": "enabled",
    "networkPolicy: {egres: []}": "egres",
}


@pytest.mark.parametrize(("values", "named"), WRONG.items())
def test_wrong_values_are_refused_by_name(values, named, tmp_path):
    (tmp_path / "values.yaml").write_text(values)
    done = run("helm", "template", "weir", CHART, "--values", tmp_path / "values.yaml")

    assert done.returncode != 0
    assert named in done.stderr


def test_cluster_that_is_too_old_is_refused():
    done = run("helm", "template", "weir", CHART, "--kube-version", "1.29.0")

    assert done.returncode != 0
    assert ">=1.30.0-0" in done.stderr


def test_every_value_is_in_the_schema():
    """And the other way round."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    known = set(schema["properties"]) - {"global"}

    assert set(values) == known
    for name, value in values.items():
        part = schema["properties"][name]
        if isinstance(value, dict) and "properties" in part and name != "config":
            assert set(value) == set(part["properties"]), name


def test_package_holds_its_files_and_the_version(tmp_path):
    """A link would lead nowhere."""
    done = run("helm", "package", CHART, "--destination", tmp_path)
    assert done.returncode == 0, done.stderr
    with tarfile.open(tmp_path / f"weir-{__version__}.tgz") as archive:
        members = {member.name: member for member in archive.getmembers()}

    assert {"weir/files/weir.json", "weir/files/weir.rules.yml", "weir/values.schema.json"} <= set(members)
    assert all(member.isfile() for member in members.values())


def test_version_is_that_of_the_code():
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


@pytest.mark.parametrize("mode", ["gateway", "sidecar"])
def test_notes_say_what_to_do_next(mode):
    done = run("helm", "install", "weir", CHART, "--dry-run=client", "--set", f"mode={mode}")
    notes = done.stdout.partition("NOTES:")[2]

    assert done.returncode == 0, done.stderr
    assert ("helm test" in notes) is (mode == "gateway")
    assert ("kubectl --namespace default patch deployment app" in notes) is (mode == "sidecar")
