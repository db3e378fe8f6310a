"""Every block of the documentation is what it says it is."""

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import msgspec
import pytest
import yaml

from steadyd.cli import main
from steadyd.settings import DEFAULT_FILE, load
from tests.docs.blocks import PAGES, ROOT, Block, blocks

KNOWN = {"inq", "inq-bad", "console", "sh", "toml", "yaml", "promql", "ini", "ruby", "text"}
SHIPPED = ("systemd", "upstart", "contrib")
ROUTES = "default = []\nops = []\noncall = []\n"
INTERNAL = ("path", "over", "borrowed", "confs")  # fields of Settings that no file has
# text that stands in a shipped file as it is
COPIES = {"/etc/init/puma.conf", "/etc/sudoers.d/steadyd"}


def test_every_block_says_what_it_is() -> None:
    ours = tuple(page for page in PAGES if page.name != "install.md")
    assert [str(each) for each in blocks(pages=ours) if each.language not in KNOWN] == []


@pytest.mark.parametrize("block", blocks("inq"), ids=str)
def test_rules_are_judged_without_a_word(
    block: Block, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, (file,) = judged(block, tmp_path, capsys)

    assert (code, file["diagnostics"]) == (0, [])


@pytest.mark.parametrize("block", blocks("inq-bad"), ids=str)
def test_rules_that_are_bad_are_bad_as_it_is_told(
    block: Block, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, (file,) = judged(block, tmp_path, capsys)

    assert code == 1
    told = block.page.read_text("utf-8")
    for each in file["diagnostics"]:
        assert f":{each['line']}:{each['column']}: error: {each['message']}" in told
        assert each["help"] in told


def judged(
    block: Block, folder: Path, capsys: pytest.CaptureFixture[str]
) -> tuple[int, list[dict[str, list[dict[str, str]]]]]:
    """Have `steadyd check` judge a block; a lone rule is one of a service."""
    config, file = folder / "steadyd.toml", folder / "block.inq"
    config.write_text(f'[routes]\n{ROUTES}[exec]\nallow = ["/usr/local/bin/page"]\n')
    head = "check service app\n" if block.text.startswith("if ") else ""
    file.write_text(head + block.text)
    code = main(["check", "--config", str(config), "--format", "json", str(file)])
    return code, json.loads(capsys.readouterr().out)["files"]


@pytest.mark.parametrize("block", blocks("toml"), ids=str)
def test_configurations_load(block: Block, tmp_path: Path) -> None:
    file = tmp_path / "steadyd.toml"
    file.write_text(block.text)

    assert load(str(file)).path == str(file)


def test_the_configuration_at_its_defaults_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/steadyd")  # as the unit has it
    page = ROOT / "docs/configuration.md"
    (block,) = (b for b in blocks("toml", pages=(page,)) if b.title == DEFAULT_FILE)
    written = tomllib.loads(block.text)

    assert written == told(load(None, {}))


def told(settings: object) -> dict[str, object]:
    """Return what can be written into a file, with its value, in the form of the file."""
    found: dict[str, object] = json.loads(msgspec.json.encode(settings))
    return {key: value for key, value in found.items() if key not in INTERNAL}


@pytest.mark.parametrize("block", blocks("yaml"), ids=str)
def test_yaml_is_what_prometheus_takes(block: Block, tmp_path: Path) -> None:
    told = yaml.safe_load(block.text)
    file = tmp_path / "block.yml"
    file.write_text(yaml.safe_dump(told | {"rule_files": []} if "rule_files" in told else told))
    match block.title:
        case "prometheus.yml":
            promtool("check", "config", str(file))
        case "/etc/steadyd/web.yml":
            for name in ("cert_file", "key_file"):
                told["tls_server_config"][name] = str(tmp_path / "made.pem")
            certificate(tmp_path / "made.pem")
            file.write_text(yaml.safe_dump(told))
            promtool("check", "web-config", str(file))
        case "alertmanager.yml":
            (receiver,) = told["receivers"]
            assert receiver["name"] == told["route"]["receiver"]
            (hook,) = receiver["webhook_configs"]
            assert hook["url"].endswith("/api/v1/alertmanager")
        case title:
            pytest.fail(f"nobody judges {title or 'this'}")


@pytest.mark.parametrize("block", blocks("promql"), ids=str)
def test_expressions_are_prometheus_own_and_of_metrics_that_there_are(
    block: Block, tmp_path: Path
) -> None:
    file = tmp_path / "rules.yml"
    rules = [{"record": "level:metric:ops", "expr": block.text}]
    file.write_text(yaml.safe_dump({"groups": [{"name": "docs", "rules": rules}]}))

    promtool("check", "rules", str(file))
    golden = (ROOT / "tests/golden/metrics.prom").read_text("utf-8")
    for name in re.findall(r"\bsteadyd_\w+", block.text):
        assert f"# HELP {name} " in golden


def test_every_unit_and_job_stands_in_a_file_that_ships() -> None:
    files = [p for folder in SHIPPED for p in (ROOT / folder).rglob("*") if p.is_file()]
    shipped = [path.read_text("utf-8", "replace") for path in files]
    copies = [b for b in blocks("ini", "text") if b.language == "ini" or b.title in COPIES]

    assert {block.title for block in copies} >= COPIES
    for block in copies:
        assert any(_within(block.text, text) for text in shipped), str(block)


def _within(block: str, text: str) -> bool:
    """Tell whether all lines of a block stand in a text, in their order."""
    lines = iter(text.splitlines())
    return all(line in lines for line in block.splitlines() if line)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what apprise imports
def test_the_urls_of_targets_are_known_to_apprise() -> None:
    import apprise

    page = (ROOT / "docs/alerts.md").read_text("utf-8")
    urls = re.findall(r"^\| [^|]* \| `(\w+://[^`]*)`", page, re.MULTILINE)

    assert len(urls) > 8
    assert [url for url in urls if apprise.Apprise.instantiate(url) is None] == []


def test_every_file_of_the_project_that_is_named_is_there() -> None:
    folders = "systemd|upstart|contrib|dashboards|rules|docs"
    path = re.compile(rf"(?<![\w/.-])((?:{folders})/[\w./-]*\w/?)")
    for page in PAGES:
        named = set(path.findall(page.read_text("utf-8")))
        assert [name for name in sorted(named) if not (ROOT / name).exists()] == [], page.name


def promtool(*arguments: str) -> None:
    done = subprocess.run(
        ["promtool", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "LC_ALL": "C"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def certificate(path: Path) -> None:
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    argv = [*command.split(), "-keyout", str(path) + ".key", "-out", str(path)]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    with open(path, "a") as file:
        file.write(Path(str(path) + ".key").read_text())
