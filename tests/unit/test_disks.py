"""File systems as df sees them, and one that hangs: FUSE without anybody who answers."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from steadyd.probes.disks import Disks
from steadyd.probes.procfs import ProcSampler

# in a mount namespace of its own: what hangs there is gone with its last process
HANGING = """
import json, os, sys, threading, time
sys.path[:] = json.loads(sys.argv[1])
from steadyd.probes.disks import Disks
from steadyd.probes.procfs import ProcSampler
folder = sys.argv[2]
hung, other = f"{folder}/hung up", f"{folder}/other"
os.mkdir(hung), os.mkdir(other)
libc = __import__("ctypes").CDLL(None, use_errno=True)
assert libc.mount(b"none", b"/", None, 1 << 14 | 1 << 18, None) == 0  # MS_REC | MS_PRIVATE
fuse = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
assert libc.mount(b"none", hung.encode(), b"fuse", 0, options) == 0
assert libc.mount(b"none", other.encode(), b"tmpfs", 0, b"size=1m") == 0
with open(f"{other}/half", "wb") as f: f.write(bytes(512 * 1024))
sampler, answers = ProcSampler(), []
for _ in range(3):
    started = time.monotonic()
    sample = sampler.host([hung, other])
    answers.append((time.monotonic() - started, sample.missing, sample.raw))
os.close(fuse)  # now it ends, with an error
deadline = time.monotonic() + 10
while "has not answered" in (why := sampler.host([hung]).missing[f"disk_used_percent:{hung}"]):
    assert time.monotonic() < deadline
print(json.dumps([answers, why, threading.active_count()]))
"""


def test_a_mount_that_hangs_holds_up_nobody_but_itself(tmp_path: Path) -> None:
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("needs root and /dev/fuse")
    done = subprocess.run(
        ["unshare", "-m", sys.executable, "-c", HANGING, json.dumps(sys.path), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "PermissionError" in done.stderr or "ENODEV" in done.stderr:
        pytest.skip(f"FUSE cannot be mounted here: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    answers, why, threads = json.loads(done.stdout)
    first, *later = answers
    assert first[0] < 3
    for _, missing, raw in answers:
        assert f"{tmp_path}/hung up has not answered for" in " ".join(missing.values())
        assert raw[f"disk_used_percent:{tmp_path}/other"] == 50
        assert raw["load1"] >= 0
    assert all(took < 0.5 for took, *_ in later)
    assert "not answered" not in why
    assert threads == 1


def test_a_mount_is_asked_by_its_name_and_told_why_not(tmp_path: Path) -> None:
    disks = Disks()
    found = disks.percent(["/", "/proc", "/nowhere", str(tmp_path)], {"/", "/proc"})
    assert isinstance(found["/"], float)
    assert found["/proc"] == "the file system has no size"
    assert found["/nowhere"] == "nothing is mounted at /nowhere"
    assert found[str(tmp_path)] == f"nothing is mounted at {tmp_path}"
    gone = disks.percent(["/gone"], {"/gone"})
    assert gone == {"/gone": "No such file or directory"}


def test_a_root_of_any_kind_is_known() -> None:
    sampler = ProcSampler()
    assert "disk_used_percent:/" in sampler.host(["/"]).raw
    sampler.close()
