"""Rule files are edited while the daemon runs: every way that people and tools edit files."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.local import SLEEPER, Local, local, until
from tests.fakes.target import target

GOOD = "check service app\n  if memory:rss > 90k then alert\n"
OTHER = "check service app\n  if memory:rss > 80k then alert\n"
BAD = "check service app\n  if memory:rss > 90k thn alert\n"


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Local]:
    with local(tmp_path) as made:
        made.keep(app=SLEEPER, web=SLEEPER)
        made.rule("app", GOOD)
        made.start()
        until(lambda: thresholds(made) == {"90k"}, 5, "the first rule")
        yield made


def thresholds(daemon: Local) -> set[str]:
    """The limits that are in force: every process is over them, so that each has an incident."""
    rules = " ".join(incident["rule"] for incident in daemon.api("status")["incidents"])
    return {limit for limit in ("90k", "80k", "70k") if limit in rules}


def loaded(daemon: Local) -> int:
    return int(daemon.api("status")["rules"]["loaded"])


def vim(path: Path, _: Path) -> None:
    subprocess.run(
        ["vim.tiny", "-es", "-u", "NONE", "-c", "%s/90k/80k/", "-c", "wq", str(path)], check=True
    )


def sed(path: Path, _: Path) -> None:
    subprocess.run(["sed", "-i", "s/90k/80k/", str(path)], check=True)


def rename_over(path: Path, _: Path) -> None:
    beside = path.with_name(".app.inq.new")
    beside.write_text(OTHER)
    beside.rename(path)


def truncate_and_write(path: Path, _: Path) -> None:
    with open(path, "w") as f:
        f.write(OTHER[:20])
        f.flush()
        f.write(OTHER[20:])


def link_in(path: Path, _: Path) -> None:
    beside = path.parent.parent / "elsewhere.inq"
    beside.write_text(OTHER)
    path.unlink()
    path.hardlink_to(beside)


def folder_replaced(path: Path, _: Path) -> None:
    new = path.parent.with_name("rules.new")
    new.mkdir()
    (new / path.name).write_text(OTHER)
    path.parent.rename(path.parent.with_name("rules.old"))
    new.rename(path.parent)


def git_checkout(path: Path, scratch: Path) -> None:
    run = ["git", "-C", str(path.parent), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["commit", "-qm", "good"],
        ["checkout", "-qb", "other"],
    ):
        subprocess.run([*run, *command], check=True)
    path.write_text(OTHER)
    subprocess.run([*run, "commit", "-qam", "other"], check=True)


EDITS = [vim, sed, rename_over, truncate_and_write, link_in, folder_replaced, git_checkout]


@pytest.mark.parametrize("edit", EDITS, ids=lambda f: f.__name__)
def test_an_edit_takes_effect_at_once(daemon: Local, tmp_path: Path, edit: object) -> None:
    edit(daemon.rules / "app.inq", tmp_path)  # type: ignore[operator]

    until(lambda: thresholds(daemon) == {"80k"}, 5, "the new rule")


def test_a_folder_swapped_by_a_symlink_as_a_config_map_is(tmp_path: Path) -> None:
    with local(tmp_path) as made:
        made.keep(app=SLEEPER)
        shutil.rmtree(made.rules)
        mount = tmp_path / "mount"
        for version, text in (("..v1", GOOD), ("..v2", OTHER)):
            (mount / version).mkdir(parents=True)
            (mount / version / "app.inq").write_text(text)
        (mount / "..data").symlink_to("..v1")
        (mount / "app.inq").symlink_to("..data/app.inq")
        made.rules.symlink_to(mount)
        made.start()
        until(lambda: thresholds(made) == {"90k"}, 5, "the first rule")
        (mount / "..tmp").symlink_to("..v2")
        (mount / "..tmp").rename(mount / "..data")

        until(lambda: thresholds(made) == {"80k"}, 5, "the swapped rule")


def test_a_bad_edit_changes_nothing_and_is_told_with_its_place(daemon: Local) -> None:
    web = daemon.rule("web", "check service web\n")
    until(lambda: loaded(daemon) == 3)
    (daemon.rules / "app.inq").write_text(BAD)
    until(lambda: daemon.metric("steadyd_config_last_reload_successful") == 0, 5)

    assert thresholds(daemon) == {"90k"}
    assert loaded(daemon) == 3
    assert "2:23" not in daemon.http("GET", "/")[1]  # lines of files are not for strangers
    told = json.loads(daemon.ask("status", "--json").stdout)["files"]
    (wrong,) = [file for file in told if not file["ok"]]
    assert "app.inq:2:23: error:" in wrong["error"]
    reload = daemon.ask("reload", "--wait")
    assert reload.returncode == 1
    assert "app.inq:2:23: error:" in reload.stdout + reload.stderr

    web.write_text("check service web\n  if memory:rss > 70k then alert\n")
    until(lambda: thresholds(daemon) == {"90k", "70k"}, 5, "a good file beside a bad one")
    (daemon.rules / "app.inq").write_text(OTHER)
    until(lambda: daemon.metric("steadyd_config_last_reload_successful") == 1, 5)
    until(lambda: thresholds(daemon) == {"80k", "70k"}, 5)


def test_the_default_route_hears_once_of_the_bad_text_and_once_of_the_good(daemon: Local) -> None:
    with target() as there:
        secret = daemon.folder / "hook"
        secret.write_text(there.url)
        secret.chmod(0o600)
        daemon.config('[routes]\ndefault = ["file:hook"]\n')
        assert daemon.ask("reload", "--wait").returncode == 0
        (daemon.rules / "app.inq").write_text(BAD)
        until(lambda: there.bodies, 10, "the message that a file is bad")
        (daemon.rules / "app.inq").write_text(BAD + "\n# still bad\n")
        assert daemon.ask("reload", "--wait").returncode == 1
        (daemon.rules / "app.inq").write_text(GOOD)
        until(lambda: len(there.bodies) > 1, 20, "the message that it is good again")

        assert "app.inq:2:23: error:" in there.bodies[0]
        assert "good again" in there.bodies[1]
        assert len(there.bodies) == 2


def test_the_last_good_text_survives_a_restart_of_the_daemon(daemon: Local) -> None:
    (daemon.rules / "app.inq").write_text(BAD)
    until(lambda: daemon.metric("steadyd_config_last_reload_successful") == 0, 5)
    assert daemon.stop() == 0
    daemon.start()

    assert thresholds(daemon) == {"90k"}
    assert daemon.metric("steadyd_config_last_reload_successful") == 0


@pytest.mark.parametrize("kind", ["fifo", "huge", "loop", "writable", "latin", "nul", "folder"])
def test_a_file_that_becomes_refused_keeps_its_last_good_text(daemon: Local, kind: str) -> None:
    path = daemon.rules / "app.inq"
    path.unlink()
    match kind:
        case "fifo":
            os.mkfifo(path)
        case "huge":
            with open(path, "w") as f:
                f.truncate(2**30)
        case "loop":
            path.symlink_to(path)
        case "writable":
            path.write_text(OTHER)
            path.chmod(0o666)
        case "latin":
            path.write_bytes("check service caf\xe9\n".encode("latin-1"))
        case "nul":
            path.write_bytes(b"check service a\0b\n")
        case _:
            path.mkdir()
    until(lambda: not daemon.api("status")["files"][0]["ok"], 5)

    assert thresholds(daemon) == {"90k"}
    assert daemon.is_ready()


def test_a_file_that_is_deleted_takes_its_rules_with_it(daemon: Local) -> None:
    (daemon.rules / "app.inq").unlink()
    until(lambda: loaded(daemon) == 0, 5)

    assert daemon.api("services")["services"] == []
    assert 'name="app"' not in daemon.http("GET", "/metrics")[1]


def test_hup_and_the_command_read_at_once(daemon: Local) -> None:
    assert daemon.ask("reload", "--wait").returncode == 0
    assert daemon.daemon is not None
    before = daemon.metric("steadyd_config_last_reload_success_timestamp_seconds")
    os.kill(daemon.daemon.pid, 1)
    until(lambda: daemon.metric("steadyd_config_last_reload_success_timestamp_seconds") > before, 5)


def test_routes_of_the_configuration_are_read_again(daemon: Local) -> None:
    daemon.config('[routes]\nops = ["json://127.0.0.1:9/"]\n')
    assert daemon.ask("reload", "--wait").returncode == 0
    daemon.rule("web", "check service web\n  if memory:rss > 70k then alert ops\n")
    assert daemon.ask("reload", "--wait").returncode == 0
    daemon.config("[routs]\n")
    wrong = daemon.ask("reload", "--wait")

    assert wrong.returncode == 1
    assert "did you mean routes" in wrong.stdout + wrong.stderr
    assert daemon.is_ready()
