"""The manifests: Kubernetes' own schemas, and the rules of docs/sidecar.md and docs/operations.md."""

from __future__ import annotations

import re
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml

from proxy import __version__
from proxy.config.loader import load
from tests.deploy.conftest import DOCKERFILE, ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
SHAPES = ("sidecar", "gateway")
VERSIONS = ("1.30", "1.35")  # the oldest with the sleep of a preStop, and a recent one


def documents(folder):
    """All resources of a folder and of the folders it builds on."""
    kustomization = yaml.safe_load((FOLDER / folder / "kustomization.yaml").read_text())
    found = []
    for name in kustomization["resources"]:
        if name.startswith("../"):
            found += documents(name.removeprefix("../"))
        else:
            found += list(yaml.safe_load_all((FOLDER / folder / name).read_text()))
    return found


def only(shape, kind, name):
    (found,) = [d for d in documents(shape) if d["kind"] == kind and d["metadata"]["name"] == name]
    return found


ALL = [
    pytest.param(shape, document, id=f"{shape}-{document['kind']}-{document['metadata']['name']}")
    for shape in SHAPES
    for document in documents(shape)
]
PODS = [param for param in ALL if param.values[1]["kind"] == "Deployment"]


def pod_of(shape):
    (found,) = [
        d["spec"]["template"]
        for d in documents(shape)
        if d["kind"] == "Deployment" and d["metadata"]["name"] != "weir-redis"
    ]
    return found


def weir_of(shape):
    spec = pod_of(shape)["spec"]
    (found,) = [c for c in [*spec["containers"], *spec.get("initContainers", [])] if c["name"] == "weir"]
    return found


def settings_of(shape):
    """As the container sees them."""
    values = {entry["name"]: entry.get("value", "from-a-secret") for entry in weir_of(shape)["env"]}
    return load(FOLDER / shape / "weir.yaml", values)


# --- what Kubernetes says ---


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("shape", "document"), ALL)
def test_schema_is_kept(shape, document, version):
    """Strictly: a field that Kubernetes does not know is a mistake. ServiceMonitor is the operator's."""
    if document["kind"] == "ServiceMonitor":
        assert document["apiVersion"] == "monitoring.coreos.com/v1"
        return

    kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_file_is_used(shape):
    """Nothing lies around that is never applied."""
    for folder in ("base", shape):
        kustomization = yaml.safe_load((FOLDER / folder / "kustomization.yaml").read_text())
        used = {name for name in kustomization["resources"] if not name.startswith("../")}
        used |= {name for each in kustomization.get("configMapGenerator", []) for name in each["files"]}

        assert used | {"kustomization.yaml"} == {path.name for path in (FOLDER / folder).iterdir()}


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
@pytest.mark.parametrize("shape", SHAPES)
def test_kustomize_builds(shape):
    """With the image's version and the config's name as they are."""
    done = subprocess.run(
        ["kubectl", "kustomize", FOLDER / shape], capture_output=True, text=True, timeout=60, check=False
    )
    if "dispatcher" in done.stderr and done.returncode:
        pytest.skip("kubectl does not work here")
    built = list(yaml.safe_load_all(done.stdout))

    assert done.returncode == 0, done.stderr
    assert f"image: weir:{__version__}" in done.stdout
    assert [d for d in built if d["kind"] == "ConfigMap"][0]["metadata"]["name"] == "weir"


# --- rules of our own ---


@pytest.mark.parametrize(("shape", "document"), PODS)
def test_containers_may_no_more_than_they_need(shape, document):
    """The restricted profile of the pod security standards, and a read-only root besides."""
    spec = document["spec"]["template"]["spec"]

    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
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
    settings, container = settings_of(shape), weir_of(shape)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    service = only(shape, "Service", "weir" if shape == "gateway" else "app")

    assert ports["http"] == settings.listen[0].port
    assert service["spec"]["ports"][0]["targetPort"] == "http"
    assert settings.store.url.kind == "redis"
    assert f"//{only(shape, 'Service', 'weir-redis')['metadata']['name']}:" in str(settings.store.url)


@pytest.mark.parametrize("shape", SHAPES)
def test_config_is_mounted_as_a_folder(shape):
    """subPath is never updated, so that a reload would never come; nor would a name with a hash."""
    container, pod = weir_of(shape), pod_of(shape)["spec"]
    kustomization = yaml.safe_load((FOLDER / shape / "kustomization.yaml").read_text())

    assert container["volumeMounts"] == [{"name": "config", "mountPath": "/etc/weir", "readOnly": True}]
    assert pod["volumes"] == [{"name": "config", "configMap": {"name": "weir"}}]
    assert kustomization["generatorOptions"] == {"disableNameSuffixHash": True}
    assert kustomization["configMapGenerator"] == [{"name": "weir", "files": ["weir.yaml"]}]


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
def test_label_opens_the_way_to_redis(shape):
    policy = only(shape, "NetworkPolicy", "weir-redis")
    (label,) = policy["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"].items()

    assert label in pod_of(shape)["metadata"]["labels"].items()


@pytest.mark.parametrize("shape", SHAPES)
def test_image_has_the_version_of_the_code(shape):
    kustomization = yaml.safe_load((FOLDER / shape / "kustomization.yaml").read_text())

    assert kustomization["images"] == [{"name": "weir", "newTag": __version__}]


def test_sidecar_is_a_native_one():
    """It starts before and ends after the service; a preStop would run while the service still works."""
    container = weir_of("sidecar")

    assert container in pod_of("sidecar")["spec"]["initContainers"]
    assert container["restartPolicy"] == "Always"
    assert "lifecycle" not in container


def test_sidecar_is_probed_where_its_admin_plane_is():
    """On loopback the kubelet reaches nothing: commands of the image do."""
    container = weir_of("sidecar")
    probes = {
        name: container[f"{name}Probe"]["exec"]["command"] for name in ("startup", "readiness", "liveness")
    }

    assert settings_of("sidecar").admin.listen.host == "127.0.0.1"
    assert ["--ready" in probes[name] for name in ("startup", "readiness", "liveness")] == [True, True, False]
    assert all(probe[:2] == ["weir", "healthcheck"] for probe in probes.values())


def test_sidecars_files_drain_alike():
    """It is told to end after the service: nobody is left to look away."""
    drain = settings_of("sidecar").drain

    assert load(ROOT / "config" / "sidecar.yaml", {}).drain == drain
    assert drain.delay == 0


def test_sidecars_service_listens_on_loopback():
    """Nobody passes Weir by."""
    assert {server.url.host for server in settings_of("sidecar").upstream.servers} == {"127.0.0.1"}


def test_gateway_is_probed_on_its_admin_plane():
    """Readiness takes a draining pod out; liveness asks for the loop alone."""
    container = weir_of("gateway")
    probes = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")}
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}

    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/readyz",
        "readiness": "/readyz",
        "liveness": "/healthz",
    }
    assert {probe["port"] for probe in probes.values()} == {"admin"}
    assert ports["admin"] == settings_of("gateway").admin.listen.port


def test_gateway_serves_until_endpoints_are_taken_out():
    """Some seconds after SIGTERM there are still new connections."""
    probe = weir_of("gateway")["readinessProbe"]

    assert settings_of("gateway").drain.delay > probe["periodSeconds"] * probe["failureThreshold"]


def test_gateways_selectors_meet_their_pods():
    labels = pod_of("gateway")["metadata"]["labels"]
    selectors = [
        only("gateway", "Service", "weir")["spec"]["selector"],
        only("gateway", "Service", "weir-admin")["spec"]["selector"],
        only("gateway", "PodDisruptionBudget", "weir")["spec"]["selector"]["matchLabels"],
        only("gateway", "NetworkPolicy", "weir")["spec"]["podSelector"]["matchLabels"],
        only("gateway", "Deployment", "weir")["spec"]["selector"]["matchLabels"],
    ]
    monitor = only("gateway", "ServiceMonitor", "weir")["spec"]["selector"]["matchLabels"]

    assert all(selector.items() <= labels.items() for selector in selectors)
    assert monitor.items() <= only("gateway", "Service", "weir-admin")["metadata"]["labels"].items()


def test_gateways_replicas_are_the_autoscalers():
    """A number in the Deployment would undo its work at every apply."""
    assert "replicas" not in only("gateway", "Deployment", "weir")["spec"]
    assert only("gateway", "HorizontalPodAutoscaler", "weir")["spec"]["minReplicas"] >= 2


def test_token_comes_from_a_secret():
    (entry,) = [e for e in weir_of("gateway")["env"] if e["name"] == "WEIR_ADMIN__TOKEN"]
    secret = entry["valueFrom"]["secretKeyRef"]
    (endpoint,) = only("gateway", "ServiceMonitor", "weir")["spec"]["endpoints"]

    assert endpoint["authorization"]["credentials"] == secret
