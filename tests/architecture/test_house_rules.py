"""What ships is held to what is said of it."""

import ast
import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from steadyd import inits
from steadyd.cli import COMMANDS
from steadyd.cli.check import judge
from steadyd.model.metric import Subject
from steadyd.probes.catalogue import CATALOGUE
from steadyd.rulefiles.judging import Known

ROOT = Path(__file__).resolve().parents[2]


def test_every_init_system_has_its_file_and_is_listed() -> None:
    files = (ROOT / "src/steadyd/inits").glob("*.py")
    adapters = {path.stem for path in files if "\n    name = NAME\n" in path.read_text()}

    assert set(inits.INIT_SYSTEMS) == adapters


def test_every_command_has_its_module() -> None:
    modules = {path.stem for path in (ROOT / "src/steadyd/cli").glob("*.py")}

    files = {name.replace("-", "_") for name in COMMANDS} - {"import"} | {"import_"}
    assert files <= modules


@pytest.mark.parametrize("path", sorted((ROOT / "rules").glob("*.inq")), ids=lambda p: p.name)
def test_every_shipped_rule_file_compiles_without_a_word(path: Path) -> None:
    (entry,) = judge([str(path)], Known(CATALOGUE))

    assert entry.diagnostics == ()
    assert entry.compiled is not None


def test_the_commands_of_the_readme_exist() -> None:
    text = (ROOT / "README.md").read_text()
    named = set(re.findall(r"`steadyd ([a-z-]+)", text))

    assert named <= COMMANDS.keys()
    assert COMMANDS.keys() - named <= {"demo"}


def test_the_unit_file_starts_a_command_that_exists() -> None:
    unit = (ROOT / "systemd/steadyd.service").read_text()
    for key in ("ExecStart", "ExecReload"):
        (line,) = re.findall(rf"^{key}=(.*)$", unit, re.MULTILINE)
        program, command, *options = shlex.split(line)

        assert program == "/usr/bin/steadyd"
        assert command in COMMANDS
        assert set(options) <= {"$ARGS", "--wait"}


def test_every_metric_that_is_probed_can_be_looked_up_by_its_name() -> None:
    for metric in CATALOGUE.metrics:
        assert metric.help
        if metric.probed and not metric.id.name.endswith("*"):
            assert CATALOGUE.lookup(metric.subject, metric.id) is metric
    assert CATALOGUE.lookup(Subject.HOST, CATALOGUE.metrics[0].id) is not CATALOGUE.metrics[0]


def test_no_path_of_a_machine_and_no_registry_is_named() -> None:
    bad = re.compile(r"(?<![\w.])/(work|root)/|pypi\.org|pythonhosted|registry\.npmjs|deb\.debian")
    found = [
        path
        for folder in ("src", "tests", "package", "contrib", "systemd", "upstart", "rules", ".ci")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in (".pyc", ".json") and path != Path(__file__)
        if bad.search(path.read_text(errors="replace"))
    ]

    assert found == []


def test_what_inspeqtor_had_is_here_with_a_test_or_named_as_left_out() -> None:
    for row in json.loads((ROOT / "docs/inspeqtor.json").read_text("utf-8")):
        if row["steadyd"] is None:
            assert row["inspeqtor"] in ("expose memstats web page", "launchd")
            continue
        _stands(row["test"])


def test_each_sentence_of_the_language_has_a_test() -> None:
    rows = json.loads((ROOT / "docs/language.json").read_text("utf-8"))
    assert len({row["language"] for row in rows}) == len(rows) > 0
    for row in rows:
        _stands(row["test"])


def _stands(test: str) -> None:
    path, _, name = test.partition("::")
    text = (ROOT / path).read_text("utf-8")
    assert f"def {name}(" in text if name else "def test_" in text, test


def test_who_says_that_it_is_pure_is_held_to_it() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (pure,) = (each for each in contracts["contracts"] if each["name"].startswith("The core is"))
    held = tuple(pure["source_modules"])
    for path in sorted((ROOT / "src/steadyd").rglob("*.py")):
        said = ast.get_docstring(ast.parse(path.read_text())) or ""
        if not re.search(r"^PURE\b|\bPure\.", said):
            continue
        module = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
        module = module.removesuffix(".__init__")

        assert any(module == name or module.startswith(f"{name}.") for name in held), module
