"""A certificate authority of our own, by openssl."""

import subprocess
from pathlib import Path


def _openssl(folder: Path, *args: str) -> None:
    subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True, timeout=60)


def _authority(folder: Path, name: str) -> None:
    _openssl(
        folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "30",
        "-subj", f"/CN={name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
    )  # fmt: skip


def _signed(folder: Path, name: str, names: str, by: str = "ca") -> None:
    _openssl(
        folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
        "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}",
    )  # fmt: skip
    (folder / f"{name}.ext").write_text(f"subjectAltName={names}\n")
    _openssl(
        folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{by}.pem", "-CAkey", f"{by}.key",
        "-CAcreateserial", "-days", "20", "-extfile", f"{name}.ext", "-out", f"{name}.pem",
    )  # fmt: skip


def make(folder: Path) -> None:
    """Make ca, server, other (another key for the server's name), client, and stranger."""
    _authority(folder, "ca")
    _authority(folder, "foreign")
    _signed(folder, "server", "DNS:localhost,IP:127.0.0.1")
    _signed(folder, "other", "DNS:localhost,IP:127.0.0.1")
    _signed(folder, "client", "DNS:prometheus.example")
    _signed(folder, "stranger", "DNS:prometheus.example", by="foreign")
