"""Certificates for tests, made by openssl: an authority of one's own and what it vouches for. PEM files."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.support.programs import program

if TYPE_CHECKING:
    from pathlib import Path

EC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Papers:
    """A certificate authority, whose certificate is `ca`."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ca = folder / "ca.pem"
        self._openssl(
            "req", "-x509", *EC, "-days", "2", "-subj", f"/CN={name}", "-keyout", "ca.key", "-out", "ca.pem"
        )

    def issue(self, *names: str, days: int = 2) -> tuple[Path, Path]:
        """Certificate and key; names as in subjectAltName, such as IP:127.0.0.1. Another one each time."""
        stem = f"{len(list(self.folder.glob('*.csr')))}"
        (self.folder / f"{stem}.ext").write_text(f"subjectAltName={','.join(names)}\n")
        self._openssl("req", *EC, "-subj", "/CN=server", "-keyout", f"{stem}.key", "-out", f"{stem}.csr")
        self._openssl("x509", "-req", "-in", f"{stem}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                      "-days", str(days), "-extfile", f"{stem}.ext", "-out", f"{stem}.pem")  # fmt: skip
        return self.folder / f"{stem}.pem", self.folder / f"{stem}.key"

    def _openssl(self, *words: str) -> None:
        subprocess.run([program("openssl"), *words], cwd=self.folder, check=True, capture_output=True)
