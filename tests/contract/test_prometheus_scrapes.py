import asyncio
import json
import shutil
import socket
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.fakes.exposition import HOSTILE, FakeDaemon
from tests.fakes.http import htpasswd, port_of, serving

CONFIG = """
global: {{scrape_interval: 1s}}
scrape_configs:
- job_name: steadyd
  scheme: https
  tls_config:
    ca_file: {folder}/ca.pem
    cert_file: {folder}/client.pem
    key_file: {folder}/client.key
  basic_auth: {{username: ada, password: pw}}
  static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""
WEB = """
tls_server_config:
  cert_file: server.pem
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
basic_auth_users: {{ada: "{hash}"}}
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("prometheus"), reason="prometheus is not installed")
async def test_a_real_prometheus_takes_every_series_over_tls_with_a_password(pki: Path) -> None:
    (pki / "web.yml").write_text(WEB.format(hash=htpasswd("pw")))
    listen = f"127.0.0.1:{_free_port()}"

    def query(text: str) -> list[dict[str, dict[str, str]]]:
        url = f"http://{listen}/api/v1/query?query={quote(text)}"
        with urllib.request.urlopen(url, timeout=5) as answer:
            found: list[dict[str, dict[str, str]]] = json.load(answer)["data"]["result"]
            return found

    async with serving(FakeDaemon(), config_file=str(pki / "web.yml")) as web:
        (pki / "prometheus.yml").write_text(CONFIG.format(folder=pki, port=port_of(web)))
        prometheus = await asyncio.create_subprocess_exec(
            "prometheus", f"--config.file={pki}/prometheus.yml", f"--storage.tsdb.path={pki}/tsdb",
            f"--web.listen-address={listen}", "--log.level=error",
        )  # fmt: skip
        try:
            async with asyncio.timeout(40):
                while True:
                    try:
                        found = await asyncio.to_thread(query, "steadyd_service_state == 1")
                    except OSError:
                        found = []
                    if found:
                        break
                    await asyncio.sleep(0.2)
            up = await asyncio.to_thread(query, "up")
        finally:
            prometheus.terminate()
            await prometheus.wait()
    states = {each["metric"]["name"]: each["metric"]["state"] for each in found}
    assert states == {"puma": "active", HOSTILE: "failed", "ghost": "unknown"}
    assert up[0]["value"][1] == "1"  # type: ignore[index]
    assert not any(name.startswith("exported_") for each in found for name in each["metric"])
