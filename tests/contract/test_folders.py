"""Folders that the kernel does not let us watch are read all the same, and that is told."""

import subprocess
import sys
from pathlib import Path

import pytest

# run in a user namespace of its own, whose limit of watches can be set
PROGRAM = """
import asyncio, os, sys
open("/proc/sys/user/max_inotify_watches", "w").write("2")
from steadyd.inits import following
from steadyd.inits.process import Process
following.POLL_SECONDS = 0.05
folder = sys.argv[1]
for name in "abc":
    os.mkdir(f"{folder}/{name}")
units = [f"pidfile:{folder}/{name}/x.pid" for name in "abc"]
async def main():
    seen, all_seen = set(), asyncio.Event()
    def report(news):
        if getattr(news, "main_pid", 0):
            seen.add(news.unit)
        if len(seen) == 3:
            all_seen.set()
    init = Process()
    await init.watch(units)
    task = asyncio.create_task(init.run(report))
    await asyncio.sleep(0)
    for name in "abc":
        with open(f"{folder}/{name}/x.pid", "w") as file:
            file.write(str(os.getppid()))
    async with asyncio.timeout(10):
        await all_seen.wait()
    await init.close()
    await task
asyncio.run(main())
"""


def test_without_watches_folders_are_polled_and_that_is_told(tmp_path: Path) -> None:
    inside = ["unshare", "--user", "--map-root-user", sys.executable, "-c", PROGRAM, str(tmp_path)]
    # a process that lives longer: its pid is what the files name
    done = subprocess.run(
        ["sh", "-c", '"$@"; exit $?', "sh", *inside],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": ":".join(sys.path), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        check=False,
    )
    if "unshare" in done.stderr or "max_inotify_watches" in done.stderr:
        pytest.skip(f"this host has no user namespaces for tests: {done.stderr[-200:]}")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("not all folders can be watched") == 1
    assert "max_user_watches" in done.stderr
