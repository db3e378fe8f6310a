"""Folders of rule files: each file judged alone, a refused or bad one keeps its last good text."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from steadyd.cli.check import judge
from steadyd.probes.catalogue import CATALOGUE
from steadyd.rulefiles.folder import Judged, RuleFiles, World
from steadyd.rulefiles.judging import Known
from steadyd.store import Store

NOBODY = 65534
SOURCE = Path(__file__).parents[2] / "src"
root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become others")


def rule(limit: int, service: str = "app") -> str:
    return f"check service {service} with watch no\n  if cpu:user > {limit} then alert\n"


BAD = "check service app\n  if cpu:user > 5 thn alert\n"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder that every user can look into."""
    with tempfile.TemporaryDirectory(prefix="rules-", ignore_cleanup_errors=True) as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path)
    yield opened
    opened.close()


def open_store(folder: Path) -> Store:
    return Store(folder / "state", machine_id="m", boot_id="b")


def read(*folders: Path | str) -> World:
    return RuleFiles([str(folder) for folder in folders], CATALOGUE).read(None)


def limits(world: World) -> dict[str, list[str]]:
    """Return the limits in force of each service."""
    return {
        check.service: [str(rule.condition).rpartition(" ")[2] for rule in check.rules]
        for check in world.rules.checks
    }


def judged(world: World, name: str) -> Judged:
    [found] = [file for file in world.files if file.path.endswith(name)]
    return found


def why(world: World, name: str) -> str:
    """Return the one error of a file."""
    [error] = judged(world, name).errors
    return error.message


# -- what is read


def test_rule_files_are_read_in_the_order_of_their_names(folder: Path) -> None:
    for name in ("b.inq", "a.inq", "c.inq"):
        (folder / name).write_text(rule(1, name[0]))

    world = read(folder)

    assert list(limits(world)) == ["a", "b", "c"]
    assert [view.ok for view in world.views] == [True] * 3
    assert world.errors == ()


def test_hidden_files_those_of_editors_and_other_endings_are_not_read(folder: Path) -> None:
    for name in (
        ".a.inq",
        ".a.inq.swp",
        "a.inq~",
        "#a.inq#",
        "#a.inq",
        "a.inq.bak",
        "a.txt",
        "4913",
    ):
        (folder / name).write_text(BAD)
    (folder / "sub").mkdir()
    (folder / "sub" / "a.inq").write_text(BAD)
    (folder / "good.inq").write_text(rule(1))

    world = read(folder)

    assert [file.path for file in world.files] == [str(folder / "good.inq")]


def test_an_inspeqtor_folder_is_read_as_it_is(folder: Path) -> None:
    (folder / "services.d").mkdir()
    (folder / "jobs.d").mkdir()
    (folder / "inspeqtor.conf").write_text("set cycle_time 15\n")
    (folder / "host.inq").write_text("check host\n  if load:1 > 5 then alert\n")
    (folder / "services.d" / "app.inq").write_text(rule(7))
    (folder / "jobs.d" / "cron.inq").write_text("check jobs\n  a happens every hour\n")

    world = read(folder)

    assert limits(world) == {"host": ["5"], "app": ["7"]}
    assert world.errors == ()
    assert [(job.name, job.every) for job in world.rules.jobs] == [("a", 3600.0)]


def test_several_folders_count_in_their_order_and_a_file_once(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / name).mkdir()
        (folder / name / "x.inq").write_text(rule(1, name))

    world = read(folder / "two", f"{folder}/one/", folder / "two", f"{folder}//one")

    assert list(limits(world)) == ["two", "one"]
    assert len(world.files) == 2


def test_a_byte_order_mark_is_skipped(folder: Path) -> None:
    (folder / "a.inq").write_bytes(b"\xef\xbb\xbf" + rule(3).encode())
    assert limits(read(folder)) == {"app": ["3"]}


def test_a_link_to_a_good_file_and_a_linked_folder_are_read(folder: Path) -> None:
    (folder / "real").mkdir()
    (folder / "real" / "a.txt").write_text(rule(3))
    (folder / "rules").mkdir()
    (folder / "rules" / "a.inq").symlink_to("../real/a.txt")
    (folder / "link").symlink_to("rules")

    assert limits(read(folder / "link")) == {"app": ["3"]}


# -- what is refused: that file alone


def fifo(path: Path) -> None:
    os.mkfifo(path)


def gibibyte(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(2**30)


def loop(path: Path) -> None:
    path.symlink_to(path)


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def directory(path: Path) -> None:
    path.mkdir()


def everybody(path: Path) -> None:
    path.write_text(rule(9))
    path.chmod(0o646)


def latin(path: Path) -> None:
    path.write_bytes(b"# good\n# caf\xe9\n" + rule(9).encode())


def big(path: Path) -> None:
    path.write_text("#" * 2**20 + "\n")


REFUSED = {
    fifo: "this is no regular file",
    gibibyte: "the file is larger than 1 MiB",
    big: "the file is larger than 1 MiB",
    loop: "the file cannot be read: Too many levels of symbolic links",
    dangling: "the file cannot be read: No such file or directory",
    device: "this is no regular file",
    directory: "this is no regular file",
    everybody: "may be written by everybody; chmod o-w",
    latin: "the file is not UTF-8 (line 2); save it as UTF-8",
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_a_file_that_cannot_be_trusted_or_read_is_refused_alone(folder: Path, make: object) -> None:
    make(folder / "bad.inq")  # type: ignore[operator]
    (folder / "good.inq").write_text(rule(1))

    world = read(folder)

    assert REFUSED[make] in why(world, "bad.inq")  # type: ignore[index]
    assert limits(world) == {"app": ["1"]}
    assert [view.ok for view in world.views] == [False, True]
    assert world.errors[0].startswith(f"{folder}/bad.inq:1:1: error: ")


def test_one_mebibyte_is_read(folder: Path) -> None:
    (folder / "a.inq").write_text(rule(1) + "#" * (2**20 - len(rule(1)) - 1) + "\n")
    assert limits(read(folder)) == {"app": ["1"]}


def test_a_nul_is_an_error_at_its_place(folder: Path) -> None:
    (folder / "bad.inq").write_text("check service app\n  if cpu\0:user > 5 then alert\n")
    (folder / "good.inq").write_text(rule(1))

    world = read(folder)

    [error] = judged(world, "bad.inq").errors
    assert (error.line, error.column) == (2, 9)
    assert "U+0000" in error.message
    assert limits(world) == {"app": ["1"]}


@pytest.mark.parametrize("name", [b"caf\xe9.inq", b"a\nb.inq", b"\x1b[2J.inq"])
def test_a_file_whose_name_cannot_be_shown_is_not_read(
    folder: Path, store: Store, name: bytes
) -> None:
    with open(os.path.join(os.fsencode(folder), name), "w") as file:
        file.write(rule(9))
    (folder / "good.inq").write_text(rule(1))

    world = RuleFiles([str(folder)], CATALOGUE, store).read(None)

    assert limits(world) == {"app": ["1"]}
    assert "rename it" in world.errors[0]
    assert world.errors[0].isprintable()
    assert store.trouble == ""


def test_of_more_than_ten_thousand_files_the_rest_is_not_read(folder: Path) -> None:
    for number in range(10_003):
        (folder / f"{number:05}.inq").touch()
    (folder / "00000.inq").write_text(rule(1))
    (folder / "10002.inq").write_text(rule(2))

    world = read(folder)

    assert limits(world) == {"app": ["1"]}
    assert world.errors == (
        f"{folder}:1:1: error: more than 10000 rule files: the rest is not read",
    )


def test_a_folder_on_the_way_that_everybody_may_write_is_refused(folder: Path) -> None:
    (folder / "open" / "rules").mkdir(parents=True)
    (folder / "open" / "rules" / "a.inq").write_text(rule(9))
    (folder / "open").chmod(0o777)

    assert f"{folder}/open may be written by everybody" in why(read(folder / "open/rules"), "a.inq")

    (folder / "open").chmod(0o1777)
    assert limits(read(folder / "open/rules")) == {"app": ["9"]}


def test_the_way_is_that_of_the_file_not_of_the_link(folder: Path) -> None:
    (folder / "open").mkdir()
    (folder / "open" / "a.txt").write_text(rule(9))
    (folder / "open").chmod(0o777)
    (folder / "rules").mkdir()
    (folder / "rules" / "a.inq").symlink_to(folder / "open" / "a.txt")

    assert "may be written by everybody" in why(read(folder / "rules"), "a.inq")


@root
def test_what_another_user_owns_is_refused(folder: Path) -> None:
    (folder / "bad.inq").write_text(rule(9))
    os.chown(folder / "bad.inq", NOBODY, -1)
    (folder / "theirs").mkdir()
    (folder / "theirs" / "a.inq").write_text(rule(8))
    os.chown(folder / "theirs", NOBODY, -1)

    world = read(folder, folder / "theirs")

    assert limits(world) == {}
    assert "bad.inq belongs to another user; chown root" in why(world, "bad.inq")
    assert "theirs belongs to another user" in why(world, "a.inq")


@root
def test_a_group_may_write_only_if_it_is_ours(folder: Path) -> None:
    for name, group in (("ours.inq", os.getegid()), ("theirs.inq", NOBODY)):
        (folder / name).write_text(rule(1, name[:4]))
        os.chown(folder / name, -1, group)
        (folder / name).chmod(0o664)

    world = read(folder)

    assert limits(world) == {"ours": ["1"]}
    assert "may be written by a group that is not ours; chmod g-w" in why(world, "theirs.inq")


def test_check_only_warns_of_owners_and_modes(folder: Path) -> None:
    (folder / "a.inq").write_text(rule(1))
    (folder / "a.inq").chmod(0o666)
    folder.chmod(0o777)

    [entry] = judge([str(folder / "a.inq")], Known(CATALOGUE))

    assert entry.ok
    assert [d.severity for d in entry.diagnostics] == ["warning", "warning"]
    assert all("refused by the daemon" in d.message for d in entry.diagnostics)


def test_check_of_a_folder_tells_of_duplicates_over_its_files(folder: Path) -> None:
    for name in ("a.inq", "b.inq"):
        (folder / name).write_text(rule(1))

    together = judge([str(folder)], Known(CATALOGUE))
    alone = judge([str(folder / "a.inq"), str(folder / "b.inq")], Known(CATALOGUE))

    assert [[d.message for d in entry.diagnostics] for entry in together] == [
        [],
        [f"this rule stands at {folder}/a.inq:2 already; it runs once"],
    ]
    assert [entry.diagnostics for entry in alone] == [(), ()]


# -- as an unprivileged user

AS_NOBODY = """
import json, os, sys
from steadyd.probes.catalogue import CATALOGUE
from steadyd.rulefiles.folder import RuleFiles
os.setgroups(json.loads(sys.argv[2]))
os.setgid(65534)
os.setuid(65534)
world = RuleFiles([sys.argv[1]], CATALOGUE).read(None)
print(json.dumps([[check.service for check in world.rules.checks], world.errors]))
"""


def as_nobody(folder: Path, *groups: int) -> tuple[list[str], list[str]]:
    """Return the services and the errors that a reader without rights finds."""
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY, str(folder), json.dumps(groups)],
        capture_output=True,
        check=True,
        timeout=60,
        cwd="/",
        env={"PYTHONPATH": str(SOURCE)},
    )
    services, errors = json.loads(done.stdout)
    return services, errors


@root
def test_an_unprivileged_reader_trusts_root_and_itself(folder: Path) -> None:
    owners = {"root": 0, "mine": NOBODY, "other": 12345}
    for name, owner in owners.items():
        (folder / f"{name}.inq").write_text(rule(1, name))
        os.chown(folder / f"{name}.inq", owner, -1)

    services, errors = as_nobody(folder)

    assert services == ["mine", "root"]
    assert len(errors) == 1
    assert "other.inq belongs to another user" in errors[0]


@root
def test_an_unreadable_file_is_refused_alone(folder: Path) -> None:
    (folder / "bad.inq").write_text(rule(1))
    (folder / "bad.inq").chmod(0o600)
    (folder / "good.inq").write_text(rule(1, "good"))

    services, errors = as_nobody(folder)

    assert services == ["good"]
    assert errors == [f"{folder}/bad.inq:1:1: error: the file cannot be read: Permission denied"]


@root
def test_a_services_folder_that_cannot_be_listed_takes_no_other_file_down(folder: Path) -> None:
    (folder / "host.inq").write_text("check host if load:1 > 5 then alert")
    (folder / "services.d").mkdir(mode=0o700)

    services, errors = as_nobody(folder)

    assert services == ["host"]
    assert len(errors) == 1
    assert "services.d:1:1: error: the folder cannot be read: Permission denied" in errors[0]


@root
def test_a_supplementary_group_is_ours(folder: Path) -> None:
    (folder / "a.inq").write_text(rule(1))
    os.chown(folder / "a.inq", 0, 4242)
    (folder / "a.inq").chmod(0o664)

    assert as_nobody(folder, 4242)[0] == ["app"]
    assert as_nobody(folder)[0] == []


# -- last good


def test_a_bad_text_keeps_the_last_good_one_and_is_told(folder: Path) -> None:
    files = RuleFiles([str(folder)], CATALOGUE)
    (folder / "a.inq").write_text(rule(1))
    (folder / "b.inq").write_text(rule(5, "web"))
    files.read(None)
    (folder / "a.inq").write_text(BAD)
    (folder / "b.inq").write_text(rule(6, "web"))

    world = files.read(None)

    assert limits(world) == {"app": ["1"], "web": ["6"]}
    [error] = judged(world, "a.inq").errors
    assert (error.line, error.column) == (2, 19)
    assert not judged(world, "a.inq").present
    assert world.errors[0].startswith(f"{folder}/a.inq:2:19: error: expected")

    (folder / "a.inq").write_text(rule(2))
    world = files.read(None)
    assert (limits(world), world.errors) == ({"app": ["2"], "web": ["6"]}, ())


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_a_file_that_becomes_refused_keeps_its_last_good_text(folder: Path, make: object) -> None:
    files, path = RuleFiles([str(folder)], CATALOGUE), folder / "bad.inq"
    path.write_text(rule(1))
    files.read(None)
    path.unlink()
    make(path)  # type: ignore[operator]

    world = files.read(None)

    assert limits(world) == {"app": ["1"]}
    assert REFUSED[make] in why(world, "bad.inq")  # type: ignore[index]


def test_a_text_with_a_semantic_error_is_good_and_becomes_the_last_good(folder: Path) -> None:
    files = RuleFiles([str(folder)], CATALOGUE)
    (folder / "a.inq").write_text(rule(1))
    files.read(None)
    (folder / "a.inq").write_text(rule(2) + "  if teapot:x > 5 then alert\n")

    world = files.read(None)

    assert limits(world) == {"app": ["2"]}
    assert (world.rules.disabled, judged(world, "a.inq").present) == (1, True)
    assert "nobody knows the metric" in world.errors[0]


def test_the_last_good_text_outlives_the_daemon(folder: Path, tmp_path: Path) -> None:
    store = open_store(tmp_path)
    text = rule(1) + "# \0 世界 🙂\n"
    (folder / "a.inq").write_text(text)
    RuleFiles([str(folder)], CATALOGUE, store).read(None)
    store.close()
    (folder / "a.inq").write_text(BAD)

    store = open_store(tmp_path)
    world = RuleFiles([str(folder)], CATALOGUE, store).read(None)

    assert limits(world) == {"app": ["1"]}
    assert judged(world, "a.inq").errors
    assert store.get(str(folder / "a.inq")) == text
    store.close()


def test_a_last_good_text_that_this_version_cannot_read_is_not_in_force(
    folder: Path, store: Store
) -> None:
    (folder / "a.inq").write_text(BAD)
    store.put(str(folder / "a.inq"), "check service app if")

    world = RuleFiles([str(folder)], CATALOGUE, store).read(None)

    assert limits(world) == {}
    assert judged(world, "a.inq").compiled is None


def test_a_deleted_file_is_gone_and_forgotten(folder: Path, store: Store) -> None:
    files, path = RuleFiles([str(folder)], CATALOGUE, store), folder / "a.inq"
    path.write_text(rule(1))
    files.read(None)
    path.unlink()

    world = files.read(None)

    assert (limits(world), world.files, store.get(str(path))) == ({}, (), None)
    path.write_text(BAD)
    assert limits(files.read(None)) == {}


def test_a_file_deleted_while_nobody_looked_is_forgotten(folder: Path, store: Store) -> None:
    path = folder / "a.inq"
    path.write_text(rule(1))
    RuleFiles([str(folder)], CATALOGUE, store).read(None)
    path.unlink()
    RuleFiles([str(folder)], CATALOGUE, store).read(None)
    path.write_text(BAD)

    assert limits(RuleFiles([str(folder)], CATALOGUE, store).read(None)) == {}


def test_a_missing_folder_is_an_error_until_it_appears(folder: Path) -> None:
    files = RuleFiles([str(folder / "rules")], CATALOGUE)
    assert files.read(None).errors == (
        f"{folder}/rules:1:1: error: the folder cannot be read: No such file or directory;"
        " it is read when it can be",
    )
    (folder / "rules").mkdir()
    (folder / "rules" / "a.inq").write_text(rule(1))

    world = files.read(None)

    assert (limits(world), world.errors) == ({"app": ["1"]}, ())


def test_a_folder_that_cannot_be_listed_keeps_the_last_good_texts_of_its_files(
    folder: Path, store: Store
) -> None:
    (folder / "rules").mkdir()
    (folder / "rules" / "a.inq").write_text(rule(1))
    files = RuleFiles([str(folder / "rules")], CATALOGUE, store)
    files.read(None)
    (folder / "rules").rename(folder / "aside")
    (folder / "rules").write_text("no folder")

    for reader in (files, RuleFiles([str(folder / "rules")], CATALOGUE, store)):
        world = reader.read(None)

        assert limits(world) == {"app": ["1"]}
        assert any("the folder cannot be read: Not a directory" in error for error in world.errors)
        assert [file.path for file in world.files if file.compiled] == [f"{folder}/rules/a.inq"]


def test_what_did_not_change_is_not_parsed_or_compiled_again(folder: Path) -> None:
    files = RuleFiles([str(folder)], CATALOGUE)
    (folder / "a.inq").write_text(rule(1))
    (folder / "b.inq").write_text(BAD)
    (folder / "c.inq").write_text(rule(2, "web"))
    before = files.read({"ops"})
    (folder / "a.inq").write_text(rule(1))  # the same text again
    (folder / "c.inq").write_text(rule(3, "web"))

    after = files.read({"ops"})

    assert judged(after, "a.inq").compiled is judged(before, "a.inq").compiled
    assert judged(after, "b.inq").errors[0] is judged(before, "b.inq").errors[0]
    assert judged(after, "c.inq").compiled is not judged(before, "c.inq").compiled


def test_a_change_of_routes_is_judged_anew(folder: Path) -> None:
    files = RuleFiles([str(folder)], CATALOGUE)
    (folder / "a.inq").write_text(rule(1).replace("alert", "alert ops"))

    assert files.read({"ops"}).errors == ()
    assert "there is no route `ops`" in files.read({"dev"}).errors[0]
    assert files.read({"ops"}).errors == ()
    assert files.read(None).errors == ()


def test_no_descriptor_stays_open(folder: Path) -> None:
    for make in REFUSED:
        make(folder / f"{make.__name__}.inq")
    (folder / "good.inq").write_text(rule(1))
    files = RuleFiles([str(folder)], CATALOGUE)
    files.read(None)
    before = len(os.listdir("/proc/self/fd"))

    files.read(None)

    assert len(os.listdir("/proc/self/fd")) == before
