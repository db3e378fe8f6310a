"""Manual pages and completions, by the programs that read them."""

import gzip
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from steadyd.cli import COMMANDS, whole
from steadyd.settings import Settings, load
from tests.hosts.inithost import Host, deb_layer
from tests.packages.kit import ROOT, dist, one

BASH = """
source "$1"
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
[[ $(complete -p steadyd) =~ -F\\ ([^ ]+) ]]
"${BASH_REMATCH[1]}" steadyd "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
OURS = ("path", "over", "borrowed", "confs")  # of Settings, not of the file


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the Debian package."""
    folder = tmp_path_factory.mktemp("deb")
    subprocess.run(["dpkg-deb", "--extract", one(dist(), "*.deb"), folder], check=True)
    return folder


@pytest.mark.parametrize("page", ["man1/steadyd.1", "man5/steadyd.toml.5", "man5/steadyd-rules.5"])
def test_a_page_of_the_manual_is_without_a_fault(tree: Path, page: str) -> None:
    path = tree / f"usr/share/man/{page}.gz"
    command = ["man", "--warnings=all", "--encoding=UTF-8", "--local-file", str(path)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={"MANWIDTH": "90"}
    )

    assert done.stderr == ""
    assert not re.search("@[A-Z]", gzip.decompress(path.read_bytes()).decode())
    for heading in ("NAME", "SYNOPSIS", "SEE ALSO"):
        assert heading in done.stdout


def text(tree: Path, page: str) -> str:
    command = ["man", "--encoding=UTF-8", "--local-file", str(tree / f"usr/share/man/{page}.gz")]
    environment = {"MANWIDTH": "200"}
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment
    ).stdout


def test_the_manual_tells_every_command_and_every_option(tree: Path) -> None:
    page = text(tree, "man1/steadyd.1")

    for command in COMMANDS:
        assert f"steadyd {command}\n" in page
    assert "steadyd silence add" in page
    assert "--web.listen-address ADDR" in page
    assert untold() == []


def untold() -> list[str]:
    """Return the options that do not say what they are."""
    from package.completions import actions

    return [
        str(each)
        for each in actions(whole())
        if not each.help and each.dest != "command" and each.dest != "verb"
    ]


def test_the_manual_of_the_configuration_tells_every_key(tree: Path) -> None:
    page = text(tree, "man5/steadyd.toml.5")

    for field in msgspec.structs.fields(Settings):
        if field.name in OURS:
            continue
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            for inner in msgspec.structs.fields(field.type):
                assert f"[{field.name}" in page
                assert inner.name in page
        else:
            assert field.name in page


def test_what_the_shipped_configuration_holds_commented_out_is_the_default(tmp_path: Path) -> None:
    lines = (ROOT / "package/deb/steadyd.toml").read_text("utf-8").splitlines()
    values = [line.removeprefix("#") for line in lines if not line.startswith("# ")]
    file = tmp_path / "steadyd.toml"
    file.write_text("\n".join(values))
    shipped, default = load(str(file)), Settings()

    assert (shipped.cycle, shipped.dry_run) == (default.cycle, default.dry_run)
    assert (shipped.actions, shipped.web.listen) == (default.actions, default.web.listen)
    assert shipped.routes.keys() == {"default", "ops"}


# -- completions


def bash(tree: Path, *words: str) -> list[str]:
    script = tree / "usr/share/bash-completion/completions/steadyd"
    command = ["bash", "--norc", "-c", BASH, "bash", str(script), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_options_choices_and_files(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "puma.inq").touch()

    assert bash(tree, "steadyd", "st") == ["status"]
    assert bash(tree, "steadyd", "reload", "--w") == ["--wait"]
    assert bash(tree, "steadyd", "grants", "po") == ["polkit"]
    assert bash(tree, "steadyd", "silence", "ex") == ["expire"]
    assert bash(tree, "steadyd", "check", f"{tmp_path}/pu") == [f"{tmp_path}/puma.inq"]
    assert bash(tree, "steadyd", "run", "--config", f"{tmp_path}/pu") == [f"{tmp_path}/puma.inq"]


@pytest.fixture(scope="module")
def shells(tree: Path) -> Iterator[Host]:
    """A host with shells that are unpacked for it, and the completions where they look."""
    packages = ("zsh", "zsh-common", "fish", "fish-common", "libpcre2-32-0")
    files = {
        f"/{path}": (tree / path).read_text("utf-8")
        for path in (
            "usr/share/zsh/vendor-completions/_steadyd",
            "usr/share/fish/vendor_completions.d/steadyd.fish",
        )
    }
    with Host(layers=[deb_layer(*packages)], files=files) as made:
        yield made


@pytest.mark.host
def test_fish_completes(shells: Host) -> None:
    asked = (
        "for line in 'steadyd st' 'steadyd grants po' 'steadyd reload --w'; complete -C $line; end"
    )
    done = shells.run(["fish", "--no-config", "-c", f"source /{FISH}; {asked}"])

    assert done.stderr == ""
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [
        "status",
        "polkit",
        "--wait",
    ]


FISH = "usr/share/fish/vendor_completions.d/steadyd.fish"
ZSH = """
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "fpath=(/usr/share/zsh/vendor-completions /usr/share/zsh/functions/**/(N))"
zpty -w shell "autoload -Uz compinit; compinit -u -D"
zpty -w shell "print -r -- \\"for \\$_comps[steadyd]\\""
zpty -r -m shell seen "*for _steadyd*"
zpty -w -n shell $'steadyd grants pol\\t'
zpty -r -m shell seen "*grants polkit*"
print -r -- completed
"""


@pytest.mark.host
def test_zsh_completes(shells: Host) -> None:
    shells.run(["zsh", "-n", "/usr/share/zsh/vendor-completions/_steadyd"])
    done = shells.run(["timeout", "20", "zsh", "-f", "-c", ZSH])

    assert done.stdout.strip() == "completed"
