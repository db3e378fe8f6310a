"""`steadyd import`: what Inspeqtor and Monit did, as rules that load, and a list of the rest."""

import glob
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from steadyd.cli.check import judge
from steadyd.importing.inspeqtor import annotated
from steadyd.importing.monit import convert
from steadyd.importing.monittests import Machine
from steadyd.importing.product import Product
from steadyd.probes.catalogue import CATALOGUE
from steadyd.rulefiles.judging import Known
from steadyd.settings import Settings, load

DEBIAN = sorted(glob.glob("/etc/monit/conf-available/*"))
HEAD = "set daemon 30\n"


def run(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "steadyd", "import", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def errors(folder: Path, settings: Settings | None = None) -> list[str]:
    """Return what is wrong with the rules of a folder."""
    routes = frozenset((settings or load(None)).routes)
    found = judge([str(folder)], Known(CATALOGUE, routes))
    return [d.at(f.path) for f in found for d in f.diagnostics if d.is_error]


# Inspeqtor


@pytest.fixture
def inspeqtor(tmp_path: Path) -> Path:
    folder = tmp_path / "inspeqtor"
    for name, text in {
        "inspeqtor.conf": (
            "set cycle_time 20\nset deploy_length 60\nset log_level info\n"
            "send alerts via email with smtp_server mx.example.net, username bob,\n"
            '  password "TopSecret", to_email ops@example.org\n'
            "send alerts to dev via null with a b\n"
            "send alerts to chat via slack with url https://hooks.slack.com/services/T1/B2/Cc3\n"
        ),
        "host.inq": (
            "check host\n  if swap > 20% then alert\n  if load:5 > 10 then alert chat\n"
            "  if disk:/ > 90% then alert if cpu:iowait > 40% for 3 cycles then alert\n"
        ),
        "services.d/app.inq": (
            "# ours\ncheck service app with owner dev\n"
            "  if memory:total_rss > 1g then alert, restart # why\n"
            "\tif cpu:total_user > 90% for 2 cycles then reload\n"
        ),
        "services.d/redis.inq": (
            "check service redis\n"
            "  if redis:evicted_keys > 5/sec then alert\n"
            "  if redis:expired_keys > 100 then alert\n"
        ),
        "services.d/host.inq": 'check service "a\n\nb" if memory:rss > 1g then alert\n',
        "jobs.d/backup.inq": "check jobs\n  backup happens every 2 hours\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_an_inspeqtor_folder_becomes_one_of_ours(inspeqtor: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    done = run("inspeqtor", inspeqtor, "--output", out)

    assert done.returncode == 0, done.stderr
    settings = load(str(out / "steadyd.toml"))
    assert (settings.cycle_seconds, settings.deploy_seconds) == (20, 60)
    targets = settings.targets()
    assert targets["default"][0].startswith("mailtos://bob:TopSecret@mx.example.net:587/")
    assert targets["dev"] == ()
    assert targets["chat"] == ("slack://T1/B2/Cc3/",)
    assert settings.rules == (str(out / "rules.d"),)
    names = {path.name for path in (out / "rules.d").iterdir()}
    assert names == {"host.inq", "app.inq", "redis.inq", "services-host.inq", "jobs.d"}
    wrong = errors(out / "rules.d", settings)
    assert len(wrong) == 1
    assert "control character" in wrong[0]  # the name over two lines; wrong before as well
    job = (out / "rules.d/jobs.d/backup.inq").read_text()
    assert "\ncheck jobs\n  backup happens every 2 hours\n" in job


def test_what_differs_stands_above_each_rule(inspeqtor: Path, tmp_path: Path) -> None:
    run("inspeqtor", inspeqtor, "--output", tmp_path / "out")
    rules = tmp_path / "out/rules.d"

    app = (rules / "app.inq").read_text().splitlines()

    assert "# ours" in app
    at = app.index("  if memory:total_rss > 1g then alert, restart # why")
    above = "\n".join(app[at - 4 : at])
    assert "# When memory:total_rss is above 1g: alert, restart." in above
    assert "the whole unit" in above
    assert "ran restart and reload again after the recovery" in above
    assert "in reverse" in above
    assert any("processes that live count too" in line for line in app)
    assert app[-1] == "\tif cpu:total_user > 90% for 2 cycles then reload"
    host = (rules / "host.inq").read_text()
    assert "a host without swap has no value" in host
    assert "When cpu:iowait is above 40% at 3 looks in a row: alert." in host
    redis = (rules / "redis.inq").read_text()
    assert "divided by the configured cycle" in redis
    assert "the first one is unknown" in redis
    odd = (rules / "services-host.inq").read_text()  # a comment may not come into a quoted text
    assert odd.endswith('check service "a\n\nb" if memory:rss > 1g then alert\n')


def test_secrets_are_in_files_of_their_own(inspeqtor: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    written = run("inspeqtor", inspeqtor, "--output", out)
    printed = run("inspeqtor", inspeqtor)

    assert printed.returncode == 0
    assert "check service redis" in printed.stdout
    assert 'cycle = "20s"' in printed.stdout
    for done in (written, printed):
        assert "TopSecret" not in done.stdout + done.stderr
    secret = [path for path in out.rglob("*") if path.is_file() and "TopSecret" in path.read_text()]
    assert [path.name for path in secret] == ["route-1"]
    assert all(
        stat.S_IMODE((out / name).stat().st_mode) == 0o600 for name in ("route-1", "route-2")
    )


def test_nothing_is_overwritten(inspeqtor: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "rules.d").mkdir(parents=True)
    (out / "rules.d/app.inq").symlink_to(tmp_path / "elsewhere")

    done = run("inspeqtor", inspeqtor, "--output", out)

    assert done.returncode == 2
    assert "app.inq: is there already" in done.stderr
    assert not (out / "steadyd.toml").exists()
    assert not (tmp_path / "elsewhere").exists()


def test_a_bad_file_is_told_and_the_rest_is_done(inspeqtor: Path, tmp_path: Path) -> None:
    (inspeqtor / "services.d/bad.inq").write_text("check service x\n  if then\n")
    (inspeqtor / "services.d/latin.inq").write_bytes(b"# \xe9\n")

    done = run("inspeqtor", inspeqtor, "--output", tmp_path / "out")

    assert done.returncode == 1
    assert "bad.inq:2:6: error: expected a metric" in done.stderr
    assert "latin.inq: the file is not UTF-8" in done.stderr
    bad = (tmp_path / "out/rules.d/bad.inq").read_text()
    assert "# Inspeqtor left this file out" in bad
    assert bad.endswith("check service x\n  if then\n")
    assert (tmp_path / "out/rules.d/app.inq").exists()


@pytest.mark.parametrize("words", [("inspeqtor", "/no/such"), ("monit", "/no/such"), ("nagios",)])
def test_wrong_use(words: tuple[str, ...], tmp_path: Path) -> None:
    done = run(*words)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr
    assert run("monit", tmp_path).returncode == 2
    (tmp_path / "x").write_text("")
    assert run("inspeqtor", tmp_path / "x").returncode == 2


# Monit


def monit(text: str, **files: str) -> Product:
    included = {f"/{name}": content for name, content in files.items()}
    return convert(
        "/m",
        text,
        lambda pattern: [(pattern, included[pattern])] if pattern in included else [],
        "/r",
        Machine(cores=4, memory=8 * 2**30),
    )


def rules(product: Product) -> list[str]:
    """Return all lines that are no comments."""
    texts = [file.text for file in product.files if file.name.endswith(".inq")]
    lines = [line.strip() for text in texts for line in text.splitlines()]
    return [line for line in lines if not line.startswith("#")]


def left(product: Product) -> list[str]:
    return [f"{each.line}: {each.why}" for each in product.left]


PROCESS = (
    "check process puma with pidfile /run/puma.pid\n"
    '  start program = "/bin/systemctl start puma"\n'
    '  stop program = "/bin/systemctl stop puma"\n'
)
DOWN = "if down for 10s then alert, restart"

SNIPPETS = {
    "cpu": ("if cpu > 60% for 2 cycles then alert", "if cpu:tree > 60% for 2 cycles then alert"),
    "cpu in words": (
        "if total cpu usage is greater than 80 percent for 5 cycles then restart",
        "if cpu:tree > 80% for 5 cycles then alert, restart",
    ),
    "memory": (
        "if totalmem > 200.0 MB for 5 cycles then restart",
        "if memory:total_rss > 200mb for 5 cycles then alert, restart",
    ),
    "memory of itself": (
        "if memory usage > 1.5 gb then alert",
        "if memory:rss > 1.5gb then alert",
    ),
    "memory in per cent": (
        "if total memory > 25% for 3 cycles then alert",
        "if memory:total_rss > 2048mb for 3 cycles then alert",
    ),
    "children": ("if children > 250 then stop", "if process:count > 251 then alert, stop"),
    "threads": ("if threads >= 40 then alert", "if process:threads >= 40 then alert"),
    "uptime": ("if uptime > 3 days then restart", "if init:uptime > 3d then alert, restart"),
    "descriptors": (
        "if filedescriptors > 80% then alert",
        "if process:fd_ratio > 80% then alert",
    ),
    "storage": (
        "if disk write > 500 kb/s for 10 cycles then alert",
        "if io:write > 500kb/sec for 10 cycles then alert",
    ),
    "N of M": (
        "if cpu > 50% for 3 times within 5 cycles then alert",
        "if cpu:tree > 50% for 3 of 5 cycles then alert",
    ),
    "http": (
        'if failed port 3000 protocol http request "/up?a=1" with timeout 10 seconds then restart',
        "if http:status >= 400 then alert, restart",
    ),
    "http status": (
        "if failed host localhost port 80 proto http and status = 204 for 2 cycles then restart",
        "if http:status != 204 for 2 cycles then alert, restart",
    ),
    "tcp": (
        "if failed port 5432 type tcp with timeout 15 seconds for 2 cycles then start",
        "if tcp:seconds > 15s for 2 cycles then alert, start",
    ),
    "socket": (
        "if failed unixsocket /run/puma.sock then restart",
        "if tcp:seconds > 5s then alert, restart",
    ),
    "exec": (
        'if cpu > 90% then exec "/usr/bin/notify -x a\\b"',
        'if cpu:tree > 90% then alert, exec "/usr/bin/notify -x a\\\\b"',
    ),
    "else": (
        "if cpu > 90% for 2 cycles then alert else if succeeded for 3 cycles then alert",
        "if cpu:tree > 90% for 2 cycles then alert",
    ),
}


@pytest.mark.parametrize("name", SNIPPETS)
def test_a_test_of_a_process(name: str) -> None:
    test, wanted = SNIPPETS[name]

    made = monit(f"{HEAD}{PROCESS}  {test}\n")

    assert wanted in rules(made)
    assert DOWN in rules(made)
    assert made.errors == ()


def test_the_params_of_a_connection() -> None:
    made = rules(monit(PROCESS + SNIPPETS["http"][0] + "\n" + SNIPPETS["tcp"][0]))

    assert made[:3] == ["check service puma", DOWN, "check service puma"]
    assert 'with endpoint "http://localhost:3000/up?a=1"' in made
    assert "with hostname localhost, port 5432" in made


HOST_TESTS = {
    "if loadavg (1min) per core > 2 for 15 cycles then alert": "load:1 > 8 for 15 cycles",
    "if loadavg(5min) > 10.5 then alert": "load:5 > 10.5",
    "if cpu usage > 95% for 10 cycles then alert": "cpu > 380% for 10 cycles",
    "if cpu usage (wait) > 20% then alert": "cpu:iowait > 80%",
    "if memory usage > 75% for 5 cycles then alert": "memory:used > 6144mb for 5 cycles",
    "if swap usage > 20% for 10 cycles then alert": "swap > 20% for 10 cycles",
}


@pytest.mark.parametrize("test", HOST_TESTS)
def test_a_test_of_the_host(test: str) -> None:
    made = monit(f"check system $HOST\n  {test}\n")

    assert rules(made) == ["check host", f"if {HOST_TESTS[test]} then alert"]


def test_file_systems() -> None:
    made = monit(
        "check filesystem a with path /srv/my\\ data\n  if space usage > 80% for 5 times"
        " within 15 cycles then alert\n  if inode usage > 90% then alert\n"
        "check filesystem b with path /dev/sdb1\n  if space > 80% then alert\n"
        "check filesystem c with path /\n  if space free < 15% then alert\n"
        '  start program = "/bin/mount /data"\n  if space usage > 99% then stop\n'
    )

    assert "if disk:/ < 85%" not in rules(made)
    assert "if disk:/ > 85% then alert" in rules(made)
    assert "if disk:/ > 99% then alert" in rules(made)
    said = left(made)
    assert "3: steadyd has no such metric" in said
    assert "5: name the mount point: disk:/srv" in said
    assert "8: only a service can be started or stopped" in said
    assert "9: only a service can stop: the rule alerts" in said


@pytest.mark.parametrize(
    ("program", "unit"),
    [
        ("/etc/init.d/apache2 start", "apache2"),
        ("/usr/bin/systemctl --no-block start web@1.service", "web@1"),
        ("/usr/sbin/service nginx start", "nginx"),
        ("/sbin/rc-service nginx start", "nginx"),
        ("/sbin/initctl start worker", "worker"),
        ("/usr/bin/supervisorctl start jobs:mail", "jobs:mail"),
        ("/usr/bin/sv up app", "app"),
        ("/bin/bash -c '/bin/systemctl start app'", "app"),
    ],
)
def test_the_unit_is_that_of_the_start_program(program: str, unit: str) -> None:
    made = monit(f'check process x with pidfile /run/x.pid\n  start program = "{program}"\n')

    named = f'"{unit}"' if ":" in unit else unit
    assert rules(made) == [f"check service {named}", DOWN]
    assert made.left == ()


def test_a_process_that_no_init_keeps() -> None:
    made = monit(
        "check process x with pidfile /run/x.pid\n"
        '  start program = "/opt/x/run -d" as uid x and gid x with timeout 60 seconds\n'
        "  if cpu > 90% then restart\n"
        'check process y matching "y -d"\n'
    )

    assert rules(made)[:3] == [
        "check service x",
        "with pidfile /run/x.pid",
        "if cpu:tree > 90% then alert",
    ]
    assert 'if down for 10s then alert, exec "/opt/x/run -d"' in rules(made)
    assert 'with match "y -d"' in rules(made)
    assert [each.partition(":")[0] for each in left(made)] == ["2", "2", "3", "4"]


def test_budgets_modes_and_dependencies() -> None:
    made = monit(
        f"{HEAD}{PROCESS}"
        "  if 5 restarts within 10 cycles then timeout\n  mode passive\n  every 2 cycles\n"
        "  depends on db, puma_bin\n  group web\n  group other\n"
        "  if cpu > 5% for 3 cycles then restart\n"
        'check process db with pidfile /x\n  start program = "/etc/init.d/postgresql start"\n'
        "  if does not exist for 3 cycles then start\n"
        "check file puma_bin with path /usr/bin/puma\n  if failed checksum then unmonitor\n"
    )

    assert rules(made) == [
        "check service puma",
        "with depends postgresql, group web, budget 5/600s",
        "if cpu:tree > 5% for 6 cycles then alert",
        "if down for 10s then alert",
        "check service postgresql",
        "if down for 90s then alert, start",
    ]
    assert len(made.left) == 4


def test_mail_goes_where_it_went() -> None:
    made = monit(
        "set mailserver mx.example.net port 587 username bob password TopSecret using tls, other\n"
        "set mail-format { from: Monit <monit@box.example.org> subject: $EVENT }\n"
        "set alert ops@example.org\n" + PROCESS + "  alert web@example.org on { timeout }\n"
    )

    toml = next(file.text for file in made.files if file.name == "steadyd.toml")
    secrets = [file.text for file in made.files if file.secret]
    assert 'default = ["file:route-1"]' in toml
    assert 'puma = ["file:route-2", "file:route-3"]' in toml
    assert "with owner puma" in rules(made)
    assert all(each.startswith("mailtos://bob:TopSecret@mx.example.net:587/") for each in secrets)
    assert all("from=monit%40box.example.org" in each for each in secrets)
    assert "web%40example.org" in secrets[2]
    shown = toml + "".join(map(str, made.left))
    assert "TopSecret" not in shown
    assert "password ***" in shown


def test_other_hosts_and_programs_are_told() -> None:
    made = monit(
        "check host api with address api.example.net\n  if failed ping then alert\n"
        "  if failed port 443 protocol https and certificate valid > 30 days then alert\n"
        "  if failed port 53 type udp protocol dns then alert\n"
        'check program raid with path "/bin/raid"\n  if status != 0 then alert\n'
        "set httpd port 2812 allow admin:TopSecret\n"
    )

    assert rules(made) == [
        "check service api",
        'with watch no, endpoint "https://api.example.net:443/"',
        "if http:status >= 400 then alert",
    ]
    assert {each.line for each in made.left} == {1, 2, 3, 4, 5, 6, 7}
    assert "TopSecret" not in "".join(map(str, made.left))


def test_included_files_stand_where_they_are_named() -> None:
    made = monit(
        f"{PROCESS}  include /tests\n  if threads > 3 then alert\ninclude /none\n",
        tests="if cpu > 5% then alert\ninclude /tests\n",
    )

    assert "if cpu:tree > 5% then alert" in rules(made)
    assert "if process:threads > 3 then alert" in rules(made)
    assert "nested too deeply" in made.errors[0]


@pytest.mark.parametrize(
    "text",
    [
        "check",
        "check process",
        "if",
        "set",
        "check process x if",
        'set alert "',
        "check process x with pidfile /x if then if cpu then",
        "check process x with pidfile /x if cpu > 5% then",
        "check process x with pidfile /x start alert group depends every mode",
        "check process x with pidfile /x if failed port x then alert if failed host a;b port 1 then"
        " alert",
        'check process "a\nb" with pidfile "/x\ny" alert q@w if cpu > 9% then exec "a\nb\t\x01"',
        'check process x with pidfile "/x\ny" if cpu > 9% then exec "a\nb\t\x01"',
        'check process x with matching "\x1b" group "g\nh" depends "y\nz" if cpu > 9% then alert',
        "check process host with pidfile /x if cpu > 5% then alert",
        "check process x with pidfile /x group",
        "check process x with pidfile",
        "check process x with pidfile /x depends",
        "check filesystem x with path 'a b' if space > 1% then alert",
        "check filesystem x with path 'a\nb' if space > 1% then alert",
        "set daemon 99999999999 set mailserver , set mail-format set alert { }",
    ],
)
def test_odd_texts_are_told_and_what_comes_of_them_loads(text: str, tmp_path: Path) -> None:
    made = monit(text)

    save(made, tmp_path)
    assert errors(tmp_path / "rules.d") == []
    assert made.left or made.errors or rules(made)


@pytest.mark.parametrize("program", ["run-it", "a\nb", "/bin/x\x01", "", "~/x"])
def test_a_program_that_exec_cannot_run_is_left_and_the_rule_alerts(program: str) -> None:
    made = monit(f'{PROCESS}  if cpu > 9% then exec "{program}"\n')

    assert "if cpu:tree > 9% then alert" in rules(made)
    assert [each.why for each in made.left if "exec" in each.text] == [
        "exec wants a program with its absolute path, in printable text"
    ]


def test_a_hostile_text_takes_no_time() -> None:
    for text in (
        f'check process x with pidfile /x if cpu{" " * 500_000}"{" " * 500_000}" then alert',
        "set mmonit " + "//a:" * 100_000,
        f'check process x with pidfile /x start program = "{"service -a " * 50_000}"',
        "if " * 100_000,
    ):
        monit(text)
    annotated("/x", f"check service x\n  if {' ' * 500_000} cpu:user > 5 {' ' * 500_000} then", [])
    annotated("/x", "check service x\n" + "  if cpu:user > 5 then alert\n" * 3000, [])


def save(made: Product, folder: Path) -> Settings:
    for file in made.files:
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text)
        path.chmod(0o600)
    (folder / "rules.d").mkdir(exist_ok=True)
    return load(str(folder / "steadyd.toml"))


def test_every_snippet_loads(tmp_path: Path) -> None:
    text = PROCESS + "\n".join(test for test, _ in SNIPPETS.values())
    text += "\ncheck system x\n" + "\n".join(HOST_TESTS) + "\n"
    settings = save(monit(HEAD + text), tmp_path)

    assert errors(tmp_path / "rules.d", settings) == []
    assert settings.cycle_seconds == 30


@pytest.mark.skipif(not shutil.which("monit"), reason="monit is not installed")
def test_the_snippets_are_good_for_monit_itself(tmp_path: Path) -> None:
    text = PROCESS + "\n".join(test for test, _ in SNIPPETS.values())
    text += "\ncheck system x\n" + "\n".join(HOST_TESTS) + "\n"
    path = tmp_path / "monitrc"
    path.write_text(f"{HEAD}set idfile {tmp_path}/id\n{text}")
    path.chmod(0o600)

    done = subprocess.run(
        ["monit", "-t", "-c", str(path)], capture_output=True, text=True, timeout=30, check=False
    )

    assert "syntax OK" in done.stdout + done.stderr, done.stdout + done.stderr


@pytest.mark.skipif(not DEBIAN, reason="the configurations of Debian's monit are not there")
@pytest.mark.parametrize("path", [*DEBIAN, "/etc/monit/monitrc"], ids=os.path.basename)
def test_what_debian_ships_becomes_rules_that_load(path: str, tmp_path: Path) -> None:
    out = tmp_path / "out"

    done = run("monit", path, "--output", out)

    assert done.returncode == 0, done.stderr
    settings = load(str(out / "steadyd.toml"))
    (out / "rules.d").mkdir(exist_ok=True)
    assert errors(out / "rules.d", settings) == []
    if path in DEBIAN:
        [file] = (out / "rules.d").iterdir()
        assert DOWN in file.read_text()
    told = (out / "not-translated.txt").read_text()
    assert told.count(": check file ") == Path(path).read_text().count("\n check file ")
