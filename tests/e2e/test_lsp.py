"""The language server as an editor meets it: JSON-RPC over standard input and output."""

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from steadyd.cli.lsp import what_is_known
from steadyd.settings import SettingsError

pytest.importorskip("pygls", reason="pygls, an extra, is not installed")

DEADLINE = 30.0
URI = "file:///etc/steadyd/rules.d/app.inq"
TOML = 'rules = ["{}"]\n[routes]\ndefault = ["json://localhost"]\nops = ["json://localhost"]\n'


class Editor:
    """Speaks the protocol with one server."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "steadyd", "lsp", *options]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        self._heard: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._kept: list[dict[str, Any]] = []
        self._last = 0
        assert self.process.stdout is not None
        threading.Thread(target=self._listen, args=(self.process.stdout,), daemon=True).start()

    def _listen(self, stream: IO[bytes]) -> None:
        while header := stream.readline():
            length = int(header.split(b":")[1]) if header.startswith(b"Content-Length") else 0
            while header.strip():
                header = stream.readline()
                if header.startswith(b"Content-Length"):
                    length = int(header.split(b":")[1])
            self._heard.put(json.loads(stream.read(length)))
        self._heard.put(None)

    def _send(self, **message: Any) -> None:
        data = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(data), data))
        self.process.stdin.flush()

    def _hear(self, **wanted: Any) -> dict[str, Any]:
        while True:
            for place, message in enumerate(self._kept):
                if all(message.get(key) == value for key, value in wanted.items()):
                    return self._kept.pop(place)
            message = self._heard.get(timeout=DEADLINE)  # type: ignore[assignment]
            assert message is not None, "the server hung up"
            self._kept.append(message)

    def tell(self, method: str, params: Any = None) -> None:
        self._send(method=method, params=params or {})

    def ask(self, method: str, params: Any = None) -> Any:
        self._last += 1
        self._send(id=self._last, method=method, params=params)
        answer = self._hear(id=self._last)
        assert "error" not in answer, answer
        return answer["result"]

    def at(self, method: str, line: int, character: int) -> Any:
        place = {"line": line, "character": character}
        return self.ask(f"textDocument/{method}", {"textDocument": {"uri": URI}, "position": place})

    def open(self, text: str) -> list[dict[str, Any]]:
        document = {"uri": URI, "languageId": "inq", "version": 1, "text": text}
        self.tell("textDocument/didOpen", {"textDocument": document})
        return self.diagnostics()

    def change(self, version: int, *changes: dict[str, Any]) -> list[dict[str, Any]]:
        document = {"uri": URI, "version": version}
        self.tell(
            "textDocument/didChange", {"textDocument": document, "contentChanges": list(changes)}
        )
        return self.diagnostics()

    def heard(self, method: str) -> dict[str, Any]:
        params: dict[str, Any] = self._hear(method=method)["params"]
        return params

    def diagnostics(self) -> list[dict[str, Any]]:
        told = self.heard("textDocument/publishDiagnostics")
        assert told["uri"] == URI
        found: list[dict[str, Any]] = told["diagnostics"]
        return found

    def format(self) -> Any:
        options = {"tabSize": 2, "insertSpaces": True}
        return self.ask(
            "textDocument/formatting", {"textDocument": {"uri": URI}, "options": options}
        )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "steadyd.toml"
    path.write_text(TOML.format(tmp_path))
    return path


@pytest.fixture
def editor(config: Path) -> Iterator[Editor]:
    editor = Editor("--config", str(config))
    try:
        told = editor.ask("initialize", {"processId": None, "rootUri": None, "capabilities": {}})
        assert told["serverInfo"]["name"] == "steadyd"
        assert told["capabilities"]["documentFormattingProvider"]
        editor.tell("initialized")
        yield editor
        editor.ask("shutdown")
        editor.tell("exit")
        assert editor.process.wait(DEADLINE) == 0
    finally:
        editor.process.kill()
        editor.process.wait()
        for stream in (editor.process.stdin, editor.process.stdout, editor.process.stderr):
            assert stream is not None
            stream.close()


def place(line: int, start: int, end: int) -> dict[str, Any]:
    return {
        "start": {"line": line, "character": start},
        "end": {"line": line, "character": end},
    }


def test_mistakes_are_told_when_a_file_is_opened_changed_and_saved(editor: Editor) -> None:
    [said] = editor.open("check service app\n  if cpu:usr > 5 then alert\n")

    assert (said["range"], said["severity"], said["source"]) == (place(1, 5, 12), 1, "steadyd")
    assert "did you mean cpu:user?" in said["message"]

    fix = {"range": place(1, 9, 12), "text": "user"}
    assert editor.change(2, fix) == []
    [said] = editor.change(3, {"text": "check service app\n  if down then alert nobody\n"})
    assert "there is no route `nobody`" in said["message"]
    editor.tell("textDocument/didSave", {"textDocument": {"uri": URI}})
    assert editor.diagnostics() == [said]
    editor.tell("textDocument/didClose", {"textDocument": {"uri": URI}})
    assert editor.diagnostics() == []


def test_places_are_counted_as_the_protocol_counts(editor: Editor) -> None:
    [said] = editor.open('\ufeffcheck service "😀"\r\tif x > 1 then restrat')

    assert said["range"] == place(1, 15, 22)
    [said] = editor.change(2, {"text": '\ufeffcheck service "😀" x'})
    assert said["range"] == place(0, 20, 21)
    assert editor.at("hover", 0, 3) is None


def test_words_are_offered_with_their_place(editor: Editor) -> None:
    editor.open("check service app with cool\n  if memory:to\n  if down then alert o\n")

    keys = editor.at("completion", 0, 27)["items"]
    metrics = editor.at("completion", 1, 14)["items"]
    routes = editor.at("completion", 2, 22)["items"]

    assert [each["kind"] for each in keys if each["label"] == "cooldown"] == [10]
    found = next(each for each in metrics if each["label"] == "memory:total_rss")
    assert found["textEdit"] == {"newText": "memory:total_rss", "range": place(1, 5, 14)}
    assert "Resident memory" in found["documentation"]
    assert not [each for each in metrics if each["label"] == "load:1"]
    assert [each["label"] for each in routes] == ["default", "ops"]
    assert editor.at("completion", 2, 99)["items"] == routes


def test_a_metric_is_explained(editor: Editor) -> None:
    editor.open("check host\n  if disk:/srv > 90% then alert\n")

    told = editor.at("hover", 1, 8)

    assert told["range"] == place(1, 5, 14)
    assert "Space in use on the file system" in told["contents"]["value"]


def test_a_file_is_formatted_unless_it_has_errors(editor: Editor) -> None:
    editor.open("check host if load : 1>5 then\nalert")

    [edit] = editor.format()

    assert edit["newText"] == "check host\n  if load:1 > 5 then alert\n"
    assert edit["range"] == {
        "start": {"line": 0, "character": 0},
        "end": {"line": 1, "character": 5},
    }
    editor.change(2, {"text": edit["newText"]})
    assert editor.format() == []
    editor.change(3, {"text": "check host if"})
    assert editor.format() is None


def test_a_file_of_jobs_is_judged_by_its_own_words(editor: Editor) -> None:
    uri = "file:///etc/inspeqtor/jobs.d/a.inq"
    for text, wanted in (
        ("check jobs a#b happens every hour\n", []),
        ("check host if swap > 5 then alert", [place(0, 6, 10)]),
    ):
        document = {"uri": uri, "languageId": "inq", "version": 1, "text": text}
        editor.tell("textDocument/didOpen", {"textDocument": document})
        told = editor.heard("textDocument/publishDiagnostics")
        assert told["uri"] == uri
        assert [each["range"] for each in told["diagnostics"]] == wanted


HOSTILE = {
    "nothing": "",
    "signs": "\0\x1b[2J\x7f\u202e" * 100,
    "half a pair": 'check service "\ud800" if \udfff > 1 then alert \ud83d',
    "depth": "check service a if " + "(" * 50_000,
    "quotes": 'check service a with k "' + "\\" * 100_001,
    "mistakes": "check service a\n" + "if x\n" * 50_000,
    "one long line": "check service a " + "if cpu:usr😀 > 1 then alert " * 20_000,
    "lines": "\r" * 100_000 + "x",
    "much": "#" * (2**20 + 1),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_is_answered_and_the_next_one_too(editor: Editor, name: str) -> None:
    text = HOSTILE[name]

    said = editor.open(text)

    assert len(said) <= 2002
    for line, character in ((0, 0), (0, 25), (10**6, 10**6), (0, 2**31 - 1)):
        editor.at("completion", line, character)
        editor.at("hover", line, character)
    editor.format()
    assert editor.change(2, {"text": "check host\n"}) == []


def test_a_bad_configuration_is_2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "steadyd", "lsp", "--config", str(tmp_path / "none")],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert "none" in done.stderr


def test_a_bad_file_at_the_default_place_costs_the_routes_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "steadyd.toml"
    monkeypatch.setattr("steadyd.settings.DEFAULT_FILE", str(path))

    assert what_is_known(None).routes is None
    path.write_text(TOML.format(tmp_path))
    assert what_is_known(None).routes == {"default", "ops"}
    path.write_text("rules = 5\n")
    assert what_is_known(None).routes is None
    assert str(path) in capsys.readouterr().err
    with pytest.raises(SettingsError):
        what_is_known(str(path))


def test_without_the_extra_one_line_tells_how_to_get_it(tmp_path: Path) -> None:
    code = (
        "import sys\nsys.modules['pygls'] = None\nfrom steadyd.__main__ import main\n"
        "sys.exit(main(['lsp']))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE
    )

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'steadyd[lsp]'" in done.stderr
