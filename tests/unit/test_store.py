"""state.db: what was committed comes back, and nothing that is wrong with it stops the daemon."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from steadyd.model.fact import Course, Past, Phase, RuleState, Step, UnitMemory
from steadyd.model.incident import Action, Incident, Line, LineKind, Outcome
from steadyd.model.notification import Message, Occasion, Parcel, ParcelState, Tone
from steadyd.model.rule import Severity, Verb
from steadyd.ports import HistoryUnreadable
from steadyd.store import Batch, Store, StoreError

INCIDENT = Incident(
    "i", "web", "key", "if …", "a.inq:1", "down", Severity.CRITICAL, 5.0, None, None
)
ACTION = Action("a", "i", "web", "systemd", "web.service", Verb.RESTART, 1, 6e9, ran=True)
PARCEL = Parcel(
    "p", "t", "default", "json", "i", Occasion.OPENED, Message("t", "b", Tone.INFO), 1.0, 1.0
)


def full_step() -> Step:
    step = Step()
    step.states["key"] = RuleState(Phase.FIRING, settled=True)
    step.incidents["i"] = INCIDENT
    step.courses["i"] = Course(done=("restart",), action="a", verify_until=9.0)
    step.actions["a"] = ACTION
    step.units["systemd web.service"] = UnitMemory("inv", 1, 2, {"init": 3})
    step.lines.append(Line("i", 5.0, LineKind.OPENED, "if …"))
    return step


def open_store(folder: Path, machine: str = "m", boot: str = "b") -> Store:
    return Store(folder, machine_id=machine, boot_id=boot)


async def put(store: Store, step: Step | None = None, *parcels: Parcel) -> bool:
    batch = Batch()
    if step is not None:
        batch.step(step)
    batch.parcels(parcels)
    return await store.write(batch)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


async def test_what_was_committed_comes_back(folder: Path) -> None:
    store = open_store(folder)
    step = full_step()
    assert await put(store, step, PARCEL)
    key = store.key
    store.close()
    store = open_store(folder)
    memory = store.memory()

    assert memory.states == step.states
    assert memory.incidents == step.incidents
    assert memory.courses == step.courses
    assert memory.actions == step.actions
    assert memory.units == step.units
    assert memory.recent == (ACTION,)
    assert memory.same_boot
    assert store.parcels() == [PARCEL]
    assert store.key == key
    assert [line.text for line in await store.lines("i")] == ["if …"]
    assert await store.incidents(5, "web") == [(INCIDENT, [ACTION])]
    store.close()


async def test_closed_incidents_and_delivered_parcels_are_history(folder: Path) -> None:
    store = open_store(folder)
    await put(store, full_step(), PARCEL)
    later = Step()
    later.incidents["i"] = replace(INCIDENT, closed_at=9e9)
    later.actions["a"] = replace(ACTION, finished_at=8e9, outcome=Outcome.HEALED)
    later.states["key"] = None
    await put(store, later, replace(PARCEL, state=ParcelState.DELIVERED))
    memory = store.memory()

    assert (memory.states, memory.incidents, memory.actions) == ({}, {}, {})
    assert store.parcels() == []
    assert (await store.incidents(5))[0][0].closed_at == 9e9
    store.close()


async def test_history_comes_back_while_somebody_may_need_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("steadyd.store.KEEP_PIECES", 2)
    store = open_store(folder)
    needed = Past("web", "cpu:user", 9e9, ((1.0, 2.0, 15.0),), anew=True)
    batch = Batch()
    batch.past([replace(needed, points=()), replace(needed, until=5.0), needed])
    await store.write(batch)
    store.close()
    store = open_store(folder)

    assert store.memory().past == (needed,)
    store.close()
    store = open_store(folder, machine="other")
    assert store.memory().past == ()
    store.close()


async def test_a_file_of_the_version_before_is_brought_up_to_date(folder: Path) -> None:
    store = open_store(folder)
    await put(store, full_step(), PARCEL)
    store.close()
    with sqlite3.connect(folder / "state.db") as db:
        db.executescript("DROP TABLE history; PRAGMA user_version = 1;")
    db.close()
    store = open_store(folder)

    assert store.moved_aside == ""
    with sqlite3.connect(folder / "state.db.v1") as copy:
        assert copy.execute("PRAGMA user_version").fetchone() == (1,)
        assert copy.execute("SELECT count(*) FROM incidents").fetchone() == (1,)
    copy.close()
    assert store.memory().incidents == full_step().incidents
    batch = Batch()
    batch.past([Past("web", "cpu:user", 9e9, ())])
    assert await store.write(batch)
    store.close()


async def test_another_boot_is_noticed(folder: Path) -> None:
    open_store(folder).close()
    store = open_store(folder, boot="other")

    assert not store.memory().same_boot
    store.close()


async def test_a_cloned_host_does_not_tell_the_originals_story(folder: Path) -> None:
    store = open_store(folder)
    await put(store, full_step(), PARCEL)
    store.close()
    store = open_store(folder, machine="other")

    assert store.memory().incidents == {}
    assert store.parcels() == []
    store.close()


@pytest.mark.parametrize("damage", ["garbage", "truncated", "page"])
def test_a_corrupt_file_is_moved_aside_and_kept(folder: Path, damage: str) -> None:
    open_store(folder).close()
    path = folder / "state.db"
    data = path.read_bytes()
    path.write_bytes(
        {
            "garbage": b"not a database at all" * 500,
            "truncated": data[: len(data) // 2],
            "page": data[:4096] + b"\xff" * 8192 + data[12288:],
        }[damage]
    )
    store = open_store(folder)

    assert "corrupt" in store.moved_aside
    assert [p for p in folder.iterdir() if ".corrupt-" in p.name]
    assert store.memory().incidents == {}
    store.close()


def test_a_newer_file_is_moved_aside_and_kept(folder: Path) -> None:
    open_store(folder).close()
    with sqlite3.connect(folder / "state.db") as db:
        db.execute("PRAGMA user_version = 999")
    db.close()
    store = open_store(folder)

    assert "newer" in store.moved_aside
    assert [p for p in folder.iterdir() if ".newer-999-" in p.name]
    store.close()


def test_a_second_instance_is_kept_out_with_the_pid_of_the_first(folder: Path) -> None:
    store = open_store(folder)
    code = (
        "import sys; from pathlib import Path; from steadyd.store import Store, StoreError\n"
        "try: Store(Path(sys.argv[1]), machine_id='m', boot_id='b')\n"
        "except StoreError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    store.close()

    assert "another steadyd (pid " in done.stdout
    assert done.stderr == ""


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot use the state folder"):
        open_store(tmp_path / "file" / "state")


def test_the_file_is_for_us_alone(folder: Path) -> None:
    open_store(folder).close()

    assert (folder / "state.db").stat().st_mode & 0o077 == 0


async def test_a_full_disk_is_told_and_what_was_queued_is_written_later(folder: Path) -> None:
    store = open_store(folder)
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    big = replace(PARCEL, message=Message("t", "b" * 100_000, Tone.INFO))
    assert not await put(store, full_step(), big)
    assert "full" in store.trouble
    store._db.execute("PRAGMA max_page_count = 65536")
    assert await put(store)

    assert store.trouble == ""
    assert store.memory().incidents == {"i": INCIDENT}
    assert store.parcels() == [big]
    store.close()


def test_the_last_good_text_of_a_rule_file_survives(folder: Path) -> None:
    store = open_store(folder)
    store.put("/a.inq", "check service web")
    store.close()
    store = open_store(folder)
    assert store.get("/a.inq") == "check service web"
    store.forget("/a.inq")

    assert store.get("/a.inq") is None
    store.close()


@pytest.mark.parametrize(
    "damage", ["PRAGMA user_version = -5", "REPLACE INTO meta VALUES ('job x', NULL)"]
)
def test_what_makes_no_sense_is_moved_aside_and_kept(folder: Path, damage: str) -> None:
    open_store(folder).close()
    with sqlite3.connect(folder / "state.db") as db:
        db.execute(damage)
    db.close()
    store = open_store(folder)

    assert "corrupt" in store.moved_aside
    store.close()


async def test_what_can_no_longer_be_read_back_is_told_and_ends_nothing(folder: Path) -> None:
    store = open_store(folder)
    store.put("/a.inq", "check service web")
    store._db.executescript("DROP TABLE last_good; DROP TABLE incidents; DROP TABLE actions;")

    assert (store.get("/a.inq"), store.paths()) == (None, [])
    assert "cannot read" in store.trouble
    for read in (store.incidents(5), store.actions(5)):
        with pytest.raises(HistoryUnreadable, match="no such table"):
            await read
    store.close()
