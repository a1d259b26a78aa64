"""The image that image.sh has built, run by crun as root: `make image`, which is no part of `make test`."""

from __future__ import annotations

import http.client
import json
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from proxy import __version__
from tests.deploy.conftest import ROOT
from tests.support.patience import until_now
from tests.support.ports import free_port
from tests.support.programs import program

FOLDER = ROOT / ".cache" / "image"
PLAIN_CGROUPS = "mount -t cgroup2 none /sys/fs/cgroup"  # crun knows no mixture of both versions
SIZE_BYTES_MAX = 150_000_000


@pytest.fixture(scope="module")
def image():
    """Its root folder and its settings; image.sh has made both."""
    return FOLDER / "root", json.loads((FOLDER / "config.json").read_text())["Docker"]["config"]


class Container:
    """The image's command in a bundle for crun: its user, no capability, a read-only root; on the host's network."""

    def __init__(self, folder, image, arguments, mounts):
        root, settings = image
        subprocess.run([program("crun"), "spec"], cwd=folder, check=True)
        spec = json.loads((folder / "config.json").read_text())
        user, _, group = settings["User"].partition(":")
        spec["root"] = {"path": str(root), "readonly": True}
        spec["process"] |= {
            "terminal": False,
            "user": {"uid": int(user), "gid": int(group)},
            "args": [*settings["Entrypoint"], *arguments],
            "env": settings["Env"],
            "cwd": settings["WorkingDir"],
            "capabilities": {},
            "noNewPrivileges": True,
        }
        spec["mounts"] = [mount for mount in spec["mounts"] if mount["type"] != "cgroup"]
        spec["mounts"] += [
            {"destination": inside, "source": str(outside), "type": "bind", "options": ["ro", "bind"]}
            for outside, inside in mounts.items()
        ]
        spec["linux"]["namespaces"] = [
            n for n in spec["linux"]["namespaces"] if n["type"] not in ("network", "cgroup")
        ]
        spec["linux"].pop("resources", None)
        (folder / "config.json").write_text(json.dumps(spec))
        self.name = f"weir-{free_port()}"
        self.folder = folder
        crun = [
            program("crun"),
            "--root",
            str(folder / "state"),
            "--cgroup-manager=disabled",
            "run",
            self.name,
        ]
        self._command = ["unshare", "--mount", "sh", "-c", f'{PLAIN_CGROUPS}; exec "$@"', "sh", *crun]

    def run(self):
        return subprocess.run(
            self._command,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self):
        self.log = (self.folder / "log").open("wb")
        self.process = subprocess.Popen(self._command, cwd=self.folder, stdout=self.log, stderr=self.log)

    def stop(self):
        self.process.terminate()  # crun passes it on
        code = self.process.wait(20)
        self.log.close()
        return code


@pytest.fixture
def container(tmp_path, image):
    def make(*arguments, mounts=None):
        folder = tmp_path / f"bundle-{time.monotonic_ns()}"
        folder.mkdir()
        return Container(folder, image, arguments, mounts or {})

    return make


def test_image_is_the_compiled_weir_of_this_version(container):
    assert container("--version").run().stdout == f"weir, version {__version__} (compiled)\n"


def test_image_gives_its_tour(container):
    """Its config, which a reader may edit, is the only file that it writes: --tmpfs /tmp."""
    weir = container("demo", "--once", "--port", "0")
    spec = json.loads((weir.folder / "config.json").read_text())
    spec["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
    (weir.folder / "config.json").write_text(json.dumps(spec))
    done = weir.run()

    assert done.returncode == 0, done.stdout + done.stderr
    assert "429" in done.stdout


def test_image_serves_and_drains(container, tmp_path):
    """As its user, on a read-only root, by its own command, with a config from a folder that is mounted."""
    port, admin, probes = free_port(), free_port(), free_port()
    config = tmp_path / "conf"
    config.mkdir()
    (config / "weir.yaml").write_text(
        f"listen: 127.0.0.1:{port}\nadmin: {{listen: '127.0.0.1:{admin}', probes: '127.0.0.1:{probes}'}}\n"
        "upstream: {servers: ['http://127.0.0.1:1']}\ndrain: {delay: 0s}\n"
    )
    weir = container("run", "--config", "/etc/weir/weir.yaml", mounts={config: "/etc/weir"})
    weir.start()
    until_now(lambda: status(probes, "/readyz") == 200, "weir is ready", within=20)
    answered, owner = status(port, "/"), owners(port)
    health = container("healthcheck", "--config", "/etc/weir/weir.yaml", mounts={config: "/etc/weir"}).run()
    code = weir.stop()

    assert answered == 502  # nobody is behind it; the answer is Weir's
    assert owner == {65532}
    assert (health.returncode, health.stderr) == (0, "")
    assert code == 0, (weir.folder / "log").read_text()


def test_nothing_can_be_written_and_nobody_is_root(container, image):
    """From within: no capability, no writable place but what is mounted for it."""
    root, settings = image
    code = (
        "import os; print(os.getuid(), open('/proc/self/status').read().split('CapEff:')[1].split()[0]);"
        "print([p for p in ('/', '/tmp', '/opt/weir', '/var/tmp', '/etc') if os.access(p, os.W_OK)])"
    )
    weir = container("-c", code)
    spec = json.loads((weir.folder / "config.json").read_text())
    spec["process"]["args"][0] = "python"
    (weir.folder / "config.json").write_text(json.dumps(spec))

    assert weir.run().stdout.splitlines() == ["65532 0000000000000000", "[]"]
    assert settings["User"] == "65532:65532"


def test_image_holds_no_tool_to_install_or_compile_with(image):
    root, _ = image
    names = {
        path.name
        for folder in ("bin", "sbin", "usr/bin", "usr/local/bin", "opt/weir/bin")
        for path in (root / folder).glob("*")
    }

    assert not {name for name in names if name.startswith(("apt", "dpkg", "pip", "gcc-", "perl"))}
    assert not list((root / "opt" / "weir").rglob("pip"))


def test_image_is_small(image):
    root, _ = image
    size = sum(path.lstat().st_size for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    packed = FOLDER / "image.tar.gz"
    with tarfile.open(packed, "w:gz", compresslevel=6) as archive:
        archive.add(root, "/")
    print(f"\nimage: {size / 1e6:.0f} MB, {packed.stat().st_size / 1e6:.0f} MB to pull")

    assert size < SIZE_BYTES_MAX


def test_labels_say_what_it_is(image):
    labels = {
        name.removeprefix("org.opencontainers.image."): value for name, value in image[1]["Labels"].items()
    }

    assert labels["title"] == "Weir"
    assert labels["version"] == "of-a-test"
    assert {"description", "documentation", "source", "licenses", "revision"} <= set(labels)


def status(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def owners(port):
    """User ids of who listens on a port."""
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return {
        int(fields[7])
        for line in lines
        if (fields := line.split())[1].endswith(f":{port:04X}") and fields[3] == "0A"
    }
