"""What an `inspeqtor.conf` means: settings, and Apprise URLs that reach where it says."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import apprise
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from steadyd.cli.check import as_json, judge
from steadyd.delivery.courier import send
from steadyd.delivery.redact import redact, shown
from steadyd.inspeqtor import Meaning, meaning
from steadyd.probes.catalogue import CATALOGUE
from steadyd.rulefiles.inspeqtorconf import parse
from steadyd.rulefiles.judging import Known
from steadyd.settings import SettingsError, load
from tests.e2e.local import free_port

# Apprise imports what Python 3.13 lacks.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")

ODD = 'p w, "q"%41/@:#?+&ü'
PLAIN = '"%41 /@:#?+&"'
PASSWORD = '"p w, \\"q\\"%41/@:#?+&\\u00fc"'
MAIL = "send alerts via email with smtp_server mx.example.net, to_email ops@example.org"


def read(text: str) -> Meaning:
    return meaning(parse(text + "\n"))


def told(text: str) -> list[tuple[str, str]]:
    return [(str(d.severity), d.message) for d in read(text).diagnostics]


def plugin(url: str) -> Any:
    """Return what apprise makes of a URL."""
    made = apprise.Apprise.instantiate(url)
    assert made is not None, url
    return made


# Variables


def test_variables_are_settings() -> None:
    found = read(
        "set cycle_time 20\nset deploy_length 600\nset statsd_location 127.0.0.1:8125\n" + MAIL
    )

    assert (found.cycle, found.deploy, found.statsd) == ("20s", "600s", "127.0.0.1:8125")
    assert found.diagnostics == ()


@pytest.mark.parametrize("value", ["soon", "-5", "15s", "4294967296", "0", "99999999999999999999"])
def test_a_bad_number_is_a_warning_and_the_default(value: str) -> None:
    found = read(f"set cycle_time {value}\n{MAIL}")

    assert found.cycle is None
    assert [str(each.severity) for each in found.diagnostics] == ["warning"]


def test_what_has_no_effect_is_told() -> None:
    said = told(f"set log_level debug\nset expose_port 1\nset cycle_tim 3\n{MAIL}")

    assert [level for level, _ in said] == ["warning"] * 3
    assert read(f"set cycle_tim 3\n{MAIL}").diagnostics[0].help == "did you mean cycle_time?"


def test_a_place_that_is_none_is_an_error() -> None:
    assert told(f"set statsd_location 8125\n{MAIL}")[0][0] == "error"


# Mail


def test_mail_without_a_user_name_goes_to_port_25() -> None:
    mail = plugin(read(MAIL).routes["default"][0])

    assert (mail.smtp_host, mail.port, mail.secure_mode) == ("mx.example.net", 25, "insecure")
    assert mail.from_addr[1] == "inspeqtor@example.com"
    assert mail.targets == [(False, "ops@example.org")]
    assert mail.user is None


def test_mail_with_a_user_name_is_encrypted() -> None:
    text = f"{MAIL}, username u@example.org, password {PASSWORD}, from_email a+b@example.org"
    mail = plugin(read(text).routes["default"][0])

    assert (mail.smtp_host, mail.port, mail.secure_mode) == ("mx.example.net", 587, "starttls")
    assert (mail.user, mail.password) == ("u@example.org", ODD)
    assert mail.from_addr[1] == "a+b@example.org"
    assert mail.secure


def test_the_port_may_be_named_and_a_bad_one_is_told() -> None:
    text = f"{MAIL}, username u, password p, tls_port"

    assert plugin(read(f"{text} 2525").routes["default"][0]).port == 2525
    assert told(f"{text} many")[0][0] == "error"
    assert read(f"{text} 0").routes == {}


def test_gmail_goes_to_google_whatever_is_written() -> None:
    text = "send alerts via gmail with username u, password p, to_email a@b.de, smtp_server other"
    mail = plugin(read(text).routes["default"][0])

    assert (mail.smtp_host, mail.port, mail.secure_mode) == ("smtp.gmail.com", 587, "starttls")
    assert told(text) == []
    assert told("send alerts via gmail with to_email a@b.de")[0][0] == "warning"


def test_mail_to_the_sample_address_is_not_sent() -> None:
    found = read(MAIL.replace("ops@example.org", "me@example.com"))

    assert found.routes == {"default": ()}
    assert "tells nobody" in found.diagnostics[0].message


def test_an_address_that_cannot_be_reached_is_told() -> None:
    for receiver in ("root", "a@b"):
        assert "no complete address" in told(MAIL.replace("ops@example.org", receiver))[0][1]
    for receiver in ("root@localhost", '"a@b.de, c@d.org"'):
        text = MAIL.replace("ops@example.org", receiver)
        assert told(text) == []
        assert len(plugin(read(text).routes["default"][0]).targets) == receiver.count("@")


def test_a_key_with_a_colon_is_another_key() -> None:
    found = read(f"{MAIL}, username: u")

    assert found.diagnostics[0].help == "did you mean username?"
    assert plugin(found.routes["default"][0]).port == 25


@pytest.mark.parametrize("server", ["a/b", "a@b", "-x", '"a b"', '"a?b"', '"x\\ny"'])
def test_a_server_that_is_no_host_is_refused(server: str) -> None:
    found = read(MAIL.replace("mx.example.net", server))

    assert found.routes == {}
    assert [d for d in found.diagnostics if d.is_error]


class Mailbox:
    def __init__(self) -> None:
        self.taken: list[tuple[str, list[str], bytes]] = []
        self.logins: list[tuple[bytes, bytes]] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.taken.append((envelope.mail_from or "", envelope.rcpt_tos, envelope.content))
        return "250 OK"

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login, data.password))
        return AuthResult(success=True)


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box, port = Mailbox(), free_port()
    controller = Controller(
        box,
        hostname="127.0.0.1",
        port=port,
        authenticator=box.authenticate,
        auth_require_tls=False,
    )
    controller.start()
    try:
        yield box, port
    finally:
        controller.stop()


def post(url: str) -> dict[str, str]:
    job = {"id": "1", "url": url, "title": "web1 puma: 7g > 6g", "body": "b", "type": "failure"}
    return send(job | {"timeout": 20}, apprise.AppriseAsset(app_id="steadyd"))


def test_mail_arrives(mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    text = MAIL.replace("mx.example.net", "127.0.0.1")
    text += f", username bob, password {PLAIN}, tls_port {port}, from_email s@example.org"

    assert post(read(text).routes["default"][0])["status"] == "SUCCESS"

    [(sender, receivers, content)] = box.taken
    assert (sender, receivers) == ("s@example.org", ["ops@example.org"])
    assert b"web1 puma: 7g > 6g" in content
    assert box.logins == [(b"bob", b"%41 /@:#?+&")]


# Slack and the rest


@pytest.fixture
def hook() -> Iterator[tuple[int, list[tuple[str, Any]]]]:
    taken: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken.append((self.path, json.loads(body)))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("path", ["/a/b", "/hooks/T0KEN", "/x%2Fy/z?k=v&l=%20w", "/"])
def test_another_host_gets_what_slack_would(
    hook: tuple[int, list[tuple[str, Any]]], path: str
) -> None:
    port, taken = hook
    text = f"send alerts via slack with url http://127.0.0.1:{port}{path}, username bot"

    assert post(read(text).routes["default"][0])["status"] == "SUCCESS"

    [(asked, said)] = taken
    assert asked == path
    assert said["text"].split() == ["web1", "puma:", "7g", ">", "6g", "b"]
    assert said["username"] == "bot"


def test_slack_itself() -> None:
    text = "send alerts to ops via slack with url https://hooks.slack.com"
    slack = plugin(read(f"{text}/services/T1JJ3T3L2/A1BRTD4JD/TIia, username b").routes["ops"][0])

    assert (slack.token_a, slack.token_b, slack.token_c) == ("T1JJ3T3L2", "A1BRTD4JD", "TIia")
    assert (slack.user, slack.mode) == ("b", "hook")
    flow = plugin(read(f"{text}/triggers/T1/123/abc").routes["ops"][0])
    assert (flow.mode, flow.workflow_path) == ("trigger", ["T1", "123", "abc"])


@pytest.mark.parametrize("url", ["x", "ftp://h/x", "http://", "http://h:x/", '"http://a b/c"'])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    found = read(f"send alerts via slack with url {url}")

    assert [str(d.severity) for d in found.diagnostics] == ["error", "warning"]
    assert found.routes == {}


def test_an_ended_service_falls_back_to_the_default_route() -> None:
    found = read(f"{MAIL}\nsend alerts to chat via flowdock with token TopSecretToken")

    assert found.routes["chat"] == found.routes["default"] != ()
    [warning] = found.diagnostics
    assert not warning.is_error
    assert "flowdock has ended" in warning.message
    assert warning.help


def test_a_route_that_tells_nobody_is_empty_and_there() -> None:
    found = read(f"{MAIL}\nsend alerts to dev via null with a b")

    assert found.routes["dev"] == ()
    assert found.diagnostics == ()


def test_what_the_loader_refuses_is_an_error_with_its_mend() -> None:
    found = read(
        f"{MAIL}\nsend alerts to a via pager with x y\nsend alerts to b via slack with a b"
    )

    assert [(d.line, d.column) for d in found.diagnostics if d.is_error] == [(2, 22), (3, 22)]
    assert found.routes["a"] == found.routes["b"] == found.routes["default"]
    assert "known: email" in found.diagnostics[0].help


def test_names_of_routes_are_used_without_quotes_and_the_first_one_counts() -> None:
    found = read(
        'send alerts to default via null with a b\nsend alerts to "night shift" via null with a b\n'
        f"{MAIL}\n{MAIL}"
    )

    assert set(found.routes) == {"default", "night shift"}
    assert found.routes["default"]
    assert [str(d.severity) for d in found.diagnostics] == ["warning"] * 3


def test_no_secret_leaves_a_url() -> None:
    text = f"{MAIL}, username bobby, password TopSecret\n"
    text += "send alerts to x via slack with url https://h.example.org/TopSecret/hooks/Other"
    found = read(text)

    for urls in found.routes.values():
        said = redact(f"{urls[0]} did not take TopSecret", urls[0])
        assert "Secret" not in shown(urls[0]) + said
    assert "Secret" not in "".join(d.message + d.help for d in found.diagnostics)


# In the settings, and in a folder

CONF = f"set cycle_time 20\nset deploy_length 60\n{MAIL}\nsend alerts to dev via null with a b\n"


def folder(tmp_path: Path, conf: str = CONF) -> Path:
    services = tmp_path / "services.d"
    services.mkdir()
    (tmp_path / "inspeqtor.conf").write_text(conf)
    (tmp_path / "host.inq").write_text("check host\n  if load:1 > 5 then alert ops\n")
    text = "check service app with owner dev\n  if cpu:user > 5 then alert, alert opps\n"
    (services / "app.inq").write_text(text)
    return tmp_path


def toml(tmp_path: Path, rules: Path, text: str = "") -> str:
    path = tmp_path / "steadyd.toml"
    path.write_text(f'rules = ["{rules}"]\n{text}')
    return str(path)


def test_settings_borrow_from_the_folder(tmp_path: Path) -> None:
    rules = folder(tmp_path)

    settings = load(toml(tmp_path, rules))

    assert (settings.cycle_seconds, settings.deploy_seconds) == (20, 60)
    assert set(settings.routes) == {"default", "dev"}
    assert settings.targets()["default"][0].startswith("mailto://mx.example.net:25/")


def test_what_is_configured_goes_over_it(tmp_path: Path) -> None:
    rules = folder(tmp_path)
    text = 'cycle = "7s"\n[routes]\ndefault = ["json://a"]\n'

    settings = load(toml(tmp_path, rules, text), {"routes": {"dev": ["json://b"]}})

    assert (settings.cycle_seconds, settings.deploy_seconds) == (7, 60)
    assert settings.targets() == {"default": ("json://a",), "dev": ("json://b",)}
    assert settings.again() == settings


def test_the_command_line_names_the_folder(tmp_path: Path) -> None:
    (tmp_path / "steadyd.toml").write_text('cycle = "9s"\n')
    rules = folder(tmp_path)

    settings = load(str(tmp_path / "steadyd.toml"), {"rules": [str(rules)]})

    assert (settings.cycle_seconds, set(settings.routes)) == (9, {"default", "dev"})


def test_routes_are_read_anew_and_a_bad_file_is_told(tmp_path: Path) -> None:
    rules = folder(tmp_path)
    settings = load(toml(tmp_path, rules))

    (rules / "inspeqtor.conf").write_text(CONF.replace("ops@example.org", "new@example.org"))
    assert "new%40example.org" in settings.targets()["default"][0]

    (rules / "inspeqtor.conf").write_text("set\n")
    with pytest.raises(SettingsError, match=r"inspeqtor\.conf:2:1: error: expected a variable"):
        settings.targets()
    assert settings.alone().targets() == {}
    assert load(toml(tmp_path, rules)).cycle_seconds == 15


def test_a_file_that_somebody_else_may_write_is_not_taken(tmp_path: Path) -> None:
    rules = folder(tmp_path)
    (rules / "inspeqtor.conf").chmod(0o666)

    with pytest.raises(SettingsError, match="may be written by everybody"):
        load(toml(tmp_path, rules)).targets()


def test_a_folder_is_judged_with_its_routes(tmp_path: Path) -> None:
    rules = folder(tmp_path)

    found = as_json(judge([str(rules)], Known(CATALOGUE)))["files"]

    errors = {Path(f["path"]).name: [d["message"] for d in f["diagnostics"]] for f in found}
    assert errors["inspeqtor.conf"] == []
    assert "there is no route `ops`" in errors["host.inq"][0]
    assert len(errors["app.inq"]) == 1  # `dev` tells nobody, and is defined
    assert "there is no route `opps`" in errors["app.inq"][0]
    conf = next(f for f in found if f["path"].endswith(".conf"))
    assert conf["variables"] == {"cycle_time": "20", "deploy_length": "60"}


def test_a_file_of_secrets_that_everybody_may_read_is_told(tmp_path: Path) -> None:
    path = folder(tmp_path, CONF + f"{MAIL}, username u, password p\n") / "inspeqtor.conf"

    said = [d.message for d in judge([str(path)], Known(CATALOGUE))[0].diagnostics]
    assert f"it holds secrets and may be read by everybody; chmod o-r {path}" in said
    path.chmod(0o600)
    assert len(judge([str(path)], Known(CATALOGUE))[0].diagnostics) == len(said) - 1


def test_a_folder_with_a_bad_file_of_routes_is_judged_without_them(tmp_path: Path) -> None:
    rules = folder(tmp_path, "set\n")

    found = judge([str(rules)], Known(CATALOGUE))

    assert [Path(f.path).name for f in found if not f.ok] == ["inspeqtor.conf"]
