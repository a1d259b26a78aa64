"""Compiles the modules that every request runs through, if asked to: a build hook of hatchling.

    HATCH_BUILD_HOOKS_ENABLE=1 pip install .

The source is the same (docs/decisions/0008-compiled-ahead-of-time.md) and goes into the wheel as well: it is
what tracebacks show. Nothing is written beside it, and an editable install stays what it is.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "proxy"
GROUP = "proxy.compiled"  # names the library that all compiled modules share
SETUP = """\
import sys
from mypyc.build import mypycify
from setuptools import setup

options = ["--config-file=", "--ignore-missing-imports", *sys.argv[1:]]
modules = mypycify(options, opt_level="3", debug_level="0", group_name=GROUP)
setup(name="weir-proxy", packages=[], ext_modules=modules, script_args=["build_ext", "--inplace"])
"""


class CompileHook(BuildHookInterface[Any]):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version == "editable":
            return
        compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")[0]
        for needed in (compiler, f"{sysconfig.get_path('include')}/Python.h"):
            if shutil.which(needed) is None and not Path(needed).exists():
                sys.exit(
                    f"weir cannot be compiled without {needed} (Debian: apt-get install gcc python3-dev)"
                )
        self._folder = TemporaryDirectory(prefix="weir-build-")  # until the wheel is packed: `finalize`
        folder = Path(self._folder.name)
        shutil.copytree(
            Path(self.root, PACKAGE), folder / PACKAGE, ignore=shutil.ignore_patterns("*.so", "__pycache__")
        )
        modules = self._modules(folder)
        self.app.display_info(f"compiling {len(modules)} modules, about a minute")
        done = subprocess.run(  # noqa: S603 - our own words
            [sys.executable, "-c", f"GROUP = {GROUP!r}\n{SETUP}", *modules],
            cwd=folder,
            env=os.environ | {"MYPYPATH": "", "PYTHONHASHSEED": "0"},  # two builds, one hash
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"weir cannot be compiled:\n{done.stdout[-8000:]}")
        for library in (folder / PACKAGE).rglob("*.so"):
            build_data["force_include"][str(library)] = str(library.relative_to(folder))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, *_: object) -> None:
        if hasattr(self, "_folder"):
            self._folder.cleanup()

    def _modules(self, folder: Path) -> list[str]:
        """Those of the setting, which names files and folders, without its exceptions."""
        left_out = {folder / PACKAGE / name for name in self.config["interpreted"]}
        found: list[Path] = []
        for name in self.config["compiled"]:
            path = folder / PACKAGE / name
            found += [path] if path.is_file() else sorted(path.glob("*.py"))
        kept = [path for path in found if path not in left_out and path.name != "__init__.py"]
        return [str(path.relative_to(folder)) for path in kept]
