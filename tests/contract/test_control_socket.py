import grp
import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from steadyd.exposition import control as module
from steadyd.exposition.control import ControlSocket, peer_of
from steadyd.exposition.listen import WebError
from tests.fakes.exposition import FakeDaemon
from tests.fakes.http import serving

CLIENT = """
import http.client, json, os, socket, sys
path, gid, groups, uid = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]), int(sys.argv[4])
os.setgroups(groups); os.setgid(gid); os.setuid(uid)
answers = []
for method, what in (("GET", "/api/v1/status"), ("POST", "/-/reload")):
    c = http.client.HTTPConnection("localhost", timeout=10)
    c.sock = socket.socket(socket.AF_UNIX)
    c.sock.connect(path)
    c.request(method, what)
    r = c.getresponse()
    answers.append([r.status, json.loads(r.read()).get("error")])
print(json.dumps(answers))
"""
root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become others")
NOBODY = 65534


async def _as(path: str, uid: int, gid: int, groups: list[int]) -> list[tuple[int, str | None]]:
    import asyncio

    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, path, str(gid), json.dumps(groups), str(uid),
        stdout=subprocess.PIPE,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(client.communicate(), 20)
    assert client.returncode == 0
    return [tuple(answer) for answer in json.loads(out)]


@root
@pytest.mark.host
@pytest.mark.parametrize(
    ("uid", "groups", "expected"),
    [
        (0, [], [200, 200]),
        (12345, ["admins"], [200, 200]),
        (12345, ["readers"], [200, 403]),
        (12345, [], [403, 403]),
        (NOBODY, ["readers", "admins"], [200, 200]),
    ],
    ids=["root", "admin", "reader", "stranger", "both"],
)
async def test_the_kernel_decides_who_may_read_and_who_may_act(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int, groups: list[str],
    expected: list[int], caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    gids = {"admins": 54321, "readers": 54322}
    monkeypatch.setattr(
        module, "_gid", {module.ADMINS: gids["admins"], module.READERS: gids["readers"]}.get
    )
    daemon, path = FakeDaemon(), str(tmp_path / "c.sock")
    for folder in (tmp_path, *tmp_path.parents):
        if str(folder) != "/" and os.stat(folder).st_uid == 0:
            os.chmod(folder, os.stat(folder).st_mode | 0o011)
    async with serving(daemon, listen=[], control=path):
        os.chmod(path, 0o666)  # let all in: the kernel's word is what is tested
        answers = await _as(path, uid, NOBODY, [gids[g] for g in groups])
    assert [status for status, _ in answers] == expected
    assert daemon.reloads == (1 if expected[1] == 200 else 0)
    for status, error in answers:
        assert (status == 200) == (error is None)
    if 403 in expected:
        assert f"control: uid {uid}" in caplog.text


@root
@pytest.mark.host
async def test_the_mode_keeps_strangers_away_already(tmp_path: Path) -> None:
    path = tmp_path / "run" / "c.sock"
    async with serving(FakeDaemon(), listen=[], control=str(path)):
        status = path.stat()
        assert stat.S_IMODE(status.st_mode) == 0o660
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
        with pytest.raises(KeyError):
            grp.getgrnam("steadyd-admin")
        assert grp.getgrgid(status.st_gid).gr_name == "adm"
    assert not path.exists()


def test_supplementary_groups_come_from_the_kernel() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        peer = peer_of(one)
    assert (peer.pid, peer.uid) == (os.getpid(), os.geteuid())
    assert set(os.getgroups()) | {os.getegid()} <= peer.groups


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = str(tmp_path / "c.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    first = ControlSocket(path)
    with pytest.raises(WebError, match="another steadyd answers at"):
        ControlSocket(path)
    first.close()
    assert not os.path.exists(path)


def test_closing_leaves_the_socket_of_another(tmp_path: Path) -> None:
    path = tmp_path / "c.sock"
    first = ControlSocket(str(path))
    path.unlink()
    path.write_text("of another")
    first.close()
    assert path.read_text() == "of another"


@pytest.mark.parametrize("what", ["file", "folder", "link", "long", "below a file"])
def test_what_is_in_the_way_is_named_and_left_alone(tmp_path: Path, what: str) -> None:
    path = tmp_path / "c.sock"
    match what:
        case "file":
            path.write_text("mine")
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to(tmp_path / "elsewhere")
        case "long":
            path = tmp_path / ("x" * 120)
        case _:
            (tmp_path / "f").write_text("")
            path = tmp_path / "f" / "c.sock"
    with pytest.raises(WebError, match="control socket") as caught:
        ControlSocket(str(path))
    assert "\n" not in str(caught.value)
    if what == "file":
        assert path.read_text() == "mine"
