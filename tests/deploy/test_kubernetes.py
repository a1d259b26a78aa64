"""The manifests, as the real kustomize builds them: Kubernetes' schemas, and the rules of docs/sidecar.md."""

from __future__ import annotations

import os
import re
import subprocess
from functools import cache

import pytest
import redis
import yaml
from redis.backoff import NoBackoff
from redis.retry import Retry

from proxy import __version__
from proxy.config.loader import load
from tests.deploy.conftest import DOCKERFILE, ROOT
from tests.deploy.kubernetes_schemas import OPERATORS, judge
from tests.support.kubernetes_tools import run
from tests.support.patience import until_now
from tests.support.ports import free_port

FOLDER = ROOT / "deploy" / "kubernetes"
SHAPES = ("sidecar", "gateway")
COMPONENTS = {"sidecar": "pod-monitor", "gateway": "service-monitor"}
PROBES = ("startup", "readiness", "liveness")


def kustomized(folder):
    done = run("kubectl", "kustomize", folder)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@cache
def documents(shape):
    """All that `kubectl apply --kustomize` would send."""
    return kustomized(FOLDER / shape)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """The same with the operator's component, as an overlay of a user's own has it."""

    def build(shape):
        overlay = tmp_path_factory.mktemp(shape)
        base = os.path.relpath(FOLDER, overlay)
        made = {"resources": [f"{base}/{shape}"], "components": [f"{base}/components/{COMPONENTS[shape]}"]}
        (overlay / "kustomization.yaml").write_text(yaml.safe_dump(made))
        return kustomized(overlay)

    return cache(build)


def only(shape, kind, name):
    (found,) = [d for d in documents(shape) if d["kind"] == kind and d["metadata"]["name"] == name]
    return found


def containers(found):
    """Of all pods, sidecars included."""
    specs = [d["spec"]["template"]["spec"] for d in found if d["kind"] == "Deployment"]
    return [c for spec in specs for c in [*spec["containers"], *spec.get("initContainers", [])]]


def weir_among(found):
    (weir,) = [each for each in containers(found) if each["name"] == "weir"]
    return weir


def pod_of(shape):
    (found,) = [
        d["spec"]["template"]
        for d in documents(shape)
        if d["kind"] == "Deployment" and d["metadata"]["name"] != "weir-store"
    ]
    return found


def weir_of(shape):
    return weir_among(documents(shape))


def environment_of(shape):
    """As the container sees it, secrets made up."""
    values = {entry["name"]: entry.get("value", "from-a-secret") for entry in weir_of(shape)["env"]}
    return {name: re.sub(r"\$\((\w+)\)", lambda m: values[m[1]], value) for name, value in values.items()}


def settings_of(shape):
    return load(FOLDER / shape / "weir.yaml", environment_of(shape))


def ports_of(container):
    return {port["name"]: port["containerPort"] for port in container["ports"]}


# --- what Kubernetes says ---


@pytest.mark.parametrize("shape", SHAPES)
def test_schema_is_kept(shape):
    """By each document that is sent."""
    for document in documents(shape):
        judge(document)


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_needs_an_operator(shape):
    """Whoever has none could apply nothing at all."""
    assert not [d["kind"] for d in documents(shape) if d["kind"] in OPERATORS]


@pytest.mark.parametrize("shape", SHAPES)
def test_component_adds_what_scrapes(shape, watched):
    """With the token, on a port that the pod declares."""
    for document in watched(shape):
        judge(document)
    (monitor,) = [d for d in watched(shape) if d["kind"] in OPERATORS]
    (endpoint,) = monitor["spec"]["endpoints" if shape == "gateway" else "podMetricsEndpoints"]
    weir = weir_among(watched(shape))
    (token,) = [
        entry["valueFrom"]["secretKeyRef"] for entry in weir["env"] if entry["name"] == "WEIR_ADMIN__TOKEN"
    ]

    assert ports_of(weir)[endpoint["port"]] == 9901
    assert endpoint["authorization"]["credentials"] == token


def test_watched_sidecars_admin_plane_is_open_to_prometheus_alone(watched):
    policies = {d["metadata"]["name"]: d["spec"] for d in watched("sidecar") if d["kind"] == "NetworkPolicy"}
    (rule,) = policies["weir-sidecar-admin"]["ingress"]

    assert [port for rule in policies["weir-sidecar"]["ingress"] for port in rule["ports"]] == [
        {"port": 8080}
    ]
    assert rule["ports"] == [{"port": 9901}]
    assert rule["from"]


def test_every_file_is_used():
    """Nothing lies around that is never applied."""
    for path in FOLDER.rglob("kustomization.yaml"):
        made = yaml.safe_load(path.read_text())
        used = {name for name in made["resources"] if not name.startswith("../")}
        used |= {name for each in made.get("configMapGenerator", []) for name in each["files"]}
        used |= {each["path"] for each in made.get("patches", [])}

        assert used | {"kustomization.yaml"} == {each.name for each in path.parent.iterdir()}, path


@pytest.mark.parametrize("shape", SHAPES)
def test_image_and_config_have_names_that_stay(shape):
    """The version of the code; a config whose change is a reload, not a rollout."""
    assert weir_of(shape)["image"] == f"ghcr.io/weir-proxy/weir:{__version__}"
    assert [d["metadata"]["name"] for d in documents(shape) if d["kind"] == "ConfigMap"] == ["weir"]


# --- rules of our own ---


@pytest.mark.parametrize("shape", SHAPES)
def test_containers_may_no_more_than_they_need(shape):
    """The restricted profile of the pod security standards, and a read-only root besides."""
    specs = [d["spec"]["template"]["spec"] for d in documents(shape) if d["kind"] == "Deployment"]

    assert specs
    for spec in specs:
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
    for container in containers(documents(shape)):
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert "cpu" not in container["resources"]["limits"]  # a throttled loop is slow for all


@pytest.mark.parametrize("shape", SHAPES)
def test_container_is_that_of_the_dockerfile(shape):
    """Its user, its command, its config's place."""
    user = re.search(r"^USER (\d+)", DOCKERFILE, re.MULTILINE)[1]
    container, pod = weir_of(shape), pod_of(shape)["spec"]
    context = pod["securityContext"] | container["securityContext"]

    assert str(context["runAsUser"]) == user
    assert container["args"] == ["run", "--config", "/etc/weir/weir.yaml"]


@pytest.mark.parametrize("shape", SHAPES)
def test_config_is_good_and_its_ports_are_the_containers(shape):
    """The Service leads to Weir, and to nobody else."""
    settings, ports = settings_of(shape), ports_of(weir_of(shape))
    service = only(shape, "Service", "weir" if shape == "gateway" else "app")

    assert ports["http"] == settings.listen[0].port
    assert service["spec"]["ports"][0]["targetPort"] == "http"


@pytest.mark.parametrize("shape", SHAPES)
def test_weir_counts_in_the_store(shape):
    """By its Service's name, with its password; the store's policy lets the pod in."""
    url = environment_of(shape)["WEIR_STORE__URL"]
    service = only(shape, "Service", "weir-store")
    policy = only(shape, "NetworkPolicy", "weir-store")
    (label,) = policy["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"].items()

    assert (
        url == f"redis://:from-a-secret@{service['metadata']['name']}:{service['spec']['ports'][0]['port']}/0"
    )
    assert label in pod_of(shape)["metadata"]["labels"].items()


@pytest.mark.parametrize("shape", SHAPES)
def test_config_is_mounted_as_a_folder(shape):
    """subPath is never updated, so that a reload would never come."""
    assert weir_of(shape)["volumeMounts"] == [{"name": "config", "mountPath": "/etc/weir", "readOnly": True}]
    assert pod_of(shape)["spec"]["volumes"] == [{"name": "config", "configMap": {"name": "weir"}}]
    assert set(only(shape, "ConfigMap", "weir")["data"]) == {"weir.yaml"}


@pytest.mark.parametrize("shape", SHAPES)
def test_pod_lives_longer_than_the_drain(shape):
    """And than what the service's preStop takes before it."""
    pod, drain = pod_of(shape)["spec"], settings_of(shape).drain
    before = sum(
        c.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        for c in pod["containers"]
    )

    assert pod["terminationGracePeriodSeconds"] > before + drain.delay + drain.timeout


@pytest.mark.parametrize("shape", SHAPES)
def test_weir_is_asked_on_its_probes(shape):
    """Readiness takes a draining pod out; liveness asks for the loop alone; no command is run for either."""
    weir = weir_of(shape)
    asked = {name: weir[f"{name}Probe"]["httpGet"] for name in PROBES}
    address = settings_of(shape).admin.probes

    assert [asked[name]["path"] for name in PROBES] == ["/readyz", "/readyz", "/healthz"]
    assert {probe["port"] for probe in asked.values()} == {"probes"}
    assert (address.host, address.port) == ("0.0.0.0", ports_of(weir)["probes"])


@pytest.mark.parametrize("shape", SHAPES)
def test_nobody_is_trusted_by_whole_private_nets(shape):
    """Any pod could say whom it speaks for."""
    assert all(net.num_addresses <= 256 for net in settings_of(shape).forwarded.trust)


@pytest.mark.parametrize("shape", SHAPES)
def test_secrets_are_those_that_the_first_lines_make(shape, watched):
    made = set(re.findall(r"--from-literal=([\w-]+)=", (FOLDER / shape / "kustomization.yaml").read_text()))
    named = {
        (entry["valueFrom"]["secretKeyRef"]["name"], entry["valueFrom"]["secretKeyRef"]["key"])
        for each in [*containers(documents(shape)), *containers(watched(shape))]
        for entry in each.get("env", [])
        if "valueFrom" in entry
    }

    assert named == {("weir", key) for key in made}


def test_version_of_kubernetes_is_said_once():
    """Where whoever deploys looks for it."""
    others = [*FOLDER.rglob("*.yaml"), ROOT / "docs" / "sidecar.md", ROOT / "README.md"]
    operations = (ROOT / "docs" / "operations.md").read_text()

    assert not [path for path in others if re.search(r"Kubernetes 1\.\d", path.read_text())]
    assert re.findall(r"Kubernetes 1\.\d+", operations) == ["Kubernetes 1.30"]


# --- the sidecar ---


def test_sidecar_is_a_native_one():
    """It starts before and ends after the service; a preStop would run while the service still works."""
    container = weir_of("sidecar")

    assert container in pod_of("sidecar")["spec"]["initContainers"]
    assert container["restartPolicy"] == "Always"
    assert "lifecycle" not in container


def test_sidecars_admin_plane_is_on_loopback():
    assert settings_of("sidecar").admin.listen.host == "127.0.0.1"


def test_service_behind_a_sidecar_is_asked_through_weir():
    """It listens on loopback; no limit may count the kubelet, or a busy service would be restarted."""
    (app,) = pod_of("sidecar")["spec"]["containers"]
    asked = [app[f"{name}Probe"]["httpGet"] for name in PROBES]
    settings = settings_of("sidecar")

    assert {probe["port"] for probe in asked} == {settings.listen[0].port}
    for limit in settings.limits:
        assert {probe["path"] for probe in asked} <= set(map(str, limit.exempt.paths))


def test_sidecars_files_drain_alike():
    """It is told to end after the service: nobody is left to look away."""
    drain = settings_of("sidecar").drain

    assert load(ROOT / "config" / "sidecar.yaml", {}).drain == drain
    assert drain.delay == 0


def test_sidecars_service_listens_on_loopback():
    """Nobody passes Weir by."""
    assert {server.url.host for server in settings_of("sidecar").upstream.servers} == {"127.0.0.1"}


# --- the gateway ---


def test_gateway_serves_until_endpoints_are_taken_out():
    """Some seconds after SIGTERM there are still new connections."""
    probe = weir_of("gateway")["readinessProbe"]

    assert settings_of("gateway").drain.delay > probe["periodSeconds"] * probe["failureThreshold"]


def test_gateways_selectors_meet_their_pods(watched):
    labels = pod_of("gateway")["metadata"]["labels"]
    selectors = [
        only("gateway", "Service", "weir")["spec"]["selector"],
        only("gateway", "Service", "weir-admin")["spec"]["selector"],
        only("gateway", "PodDisruptionBudget", "weir")["spec"]["selector"]["matchLabels"],
        only("gateway", "NetworkPolicy", "weir")["spec"]["podSelector"]["matchLabels"],
        only("gateway", "Deployment", "weir")["spec"]["selector"]["matchLabels"],
    ]
    (monitor,) = [
        d["spec"]["selector"]["matchLabels"] for d in watched("gateway") if d["kind"] == "ServiceMonitor"
    ]

    assert all(selector.items() <= labels.items() for selector in selectors)
    assert monitor.items() <= only("gateway", "Service", "weir-admin")["metadata"]["labels"].items()


def test_gateways_replicas_are_the_autoscalers():
    """A number in the Deployment would undo its work at every apply."""
    assert "replicas" not in only("gateway", "Deployment", "weir")["spec"]
    assert only("gateway", "HorizontalPodAutoscaler", "weir")["spec"]["minReplicas"] >= 2


# --- the store ---


def test_store_asks_for_its_password(tmp_path):
    """Its command, carried out with the server that is here; it is the process itself that is told to end."""
    (store,) = only("gateway", "Deployment", "weir-store")["spec"]["template"]["spec"]["containers"]
    port = free_port()
    shell, flags, script = store["command"]
    script = script.replace("valkey-server -", f"redis-server - --port {port} --bind 127.0.0.1")
    variables = {"PATH": os.environ["PATH"], "STORE_PASSWORD": "abc123"}
    process = subprocess.Popen([shell, flags, script], cwd=tmp_path, env=variables, stdout=subprocess.DEVNULL)
    try:
        until_now(lambda: said(port) != "refused", "the store answers")

        assert said(port) == "NOAUTH"
        assert said(port, password="abc123") == "PONG"
    finally:
        process.terminate()
        assert process.wait(10) == 0


def said(port, **options):
    with redis.Redis(port=port, retry=Retry(NoBackoff(), 0), **options) as client:
        try:
            return "PONG" if client.ping() else "nothing"
        except redis.AuthenticationError:
            return "NOAUTH"
        except redis.ConnectionError:
            return "refused"
