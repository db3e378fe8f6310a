"""steadyd.toml: every mistake names the file, the key and the mend."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from steadyd.settings import SettingsError, budget, load


@contextmanager
def as_nobody() -> Iterator[None]:
    """Be a user who may read nothing of ours."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(before)


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "steadyd.toml"
    path.write_text(text)
    return str(path)


def test_everything_has_a_default(tmp_path: Path) -> None:
    settings = load(write(tmp_path, ""))

    assert settings.cycle_seconds == 15
    assert settings.web.listen == ("127.0.0.1:10870",)
    assert settings.rules == ("/etc/steadyd/rules.d",)
    assert str(settings.host_budget) == "10 in 3600 s"


def test_all_keys_of_the_contract_are_read(tmp_path: Path) -> None:
    settings = load(
        write(
            tmp_path,
            """
            rules = ["/a", "/b"]
            state = "/s"
            control = "/c"
            cycle = "5s"
            dry_run = true
            [web]
            listen = ["127.0.0.1:1", "[::1]:2"]
            config_file = "w.yml"
            enable_lifecycle = true
            [routes]
            default = ["json://127.0.0.1/"]
            [defaults]
            cooldown = "2m"
            budget = "5/1h"
            [actions]
            host_budget = "7/2h"
            kill_switch = "/stop"
            [inits.supervisord]
            url = "unix:///s.sock"
            """,
        )
    )

    assert settings.rules == ("/a", "/b")
    assert (settings.state, settings.control, settings.cycle_seconds) == ("/s", "/c", 5)
    assert settings.dry_run
    assert settings.web.enable_lifecycle
    assert settings.targets() == {"default": ("json://127.0.0.1/",)}
    assert settings.actions.kill_switch == "/stop"
    assert settings.inits.supervisord.url == "unix:///s.sock"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cycel = '5s'", "unknown key cycel; did you mean cycle?"),
        ("[web]\nlissen = []", "unknown key web.lissen; did you mean web.listen?"),
        ("zzz = 1", "unknown key zzz; known: rules"),
        ("cycle = 5", "cycle"),
        ("cycle = '5 parsecs'", "`5 parsecs` is no duration"),
        ("cycle = '1ms'", "not between"),
        ("web = 3", "web must be a table"),
        ("[actions]\nhost_budget = '3'", "host_budget: `3` is no budget"),
        ("[actions]\nhost_budget = '3/8d'", "at most 7d"),
        ("cycle = '''5\npar'''", "`5 par` is no duration"),
        ("state = '/\\u0000'".replace("'", '"'), "state: a path cannot hold a NUL"),
        ("[defaults]\nbudget = '3/0s'", "at most 7d"),
        ("[defaults]\ncooldown = 'long'", "defaults: "),
        ("[defaults]\ncoldown = '1m'", "did you mean cooldown?"),
        ("rules = ", "Invalid value"),
        ("routes = {default = 'one'}", "Expected `array`"),
    ],
)
def test_a_mistake_is_one_line_with_the_mend(tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SettingsError) as error:
        load(path)

    assert str(error.value).startswith(path)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no such file"):
        load(str(tmp_path / "none.toml"))


def test_a_file_that_is_not_utf_8_is_told(tmp_path: Path) -> None:
    path = tmp_path / "steadyd.toml"
    path.write_bytes(b"state = '\xff'")
    with pytest.raises(SettingsError, match="utf-8"):
        load(str(path))


def test_a_secret_is_read_from_the_credentials_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for folder, url in ((credentials, "json://one/"), (tmp_path, "json://two/")):
        (folder / "hook").write_text(f"{url}\n")
        (folder / "hook").chmod(0o600)
    settings = load(write(tmp_path, "[routes]\ndefault = ['file:hook']"))
    assert settings.targets() == {"default": ("json://two/",)}
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))

    assert settings.targets() == {"default": ("json://one/",)}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: None, "there is no"),
        (lambda p: (p.write_text("json://x/"), p.chmod(0o644)), "may be read by everybody"),
        (lambda p: (p.write_text(""), p.chmod(0o600)), "is empty"),
        (lambda p: p.mkdir(), "is no regular file"),
        (lambda p: p.symlink_to("x" * 300), "cannot read"),
        (lambda p: p.symlink_to(p), "cannot read"),
    ],
)
def test_a_secret_that_cannot_be_used_is_told(tmp_path: Path, make, said: str) -> None:  # type: ignore[no-untyped-def]
    make(tmp_path / "hook")
    settings = load(write(tmp_path, "[routes]\ndefault = ['file:hook']"))
    with pytest.raises(SettingsError, match=said):
        settings.targets()


def test_a_budget_needs_both_parts() -> None:
    assert budget("3/1h").seconds == 3600
    for text in ("3", "/1h", "x/1h", "3/0s", "-1/1h", "3/"):
        with pytest.raises(ValueError):
            budget(text)


def test_a_name_of_a_secret_that_no_file_can_have_is_told(tmp_path: Path) -> None:
    settings = load(write(tmp_path, f"[routes]\ndefault = ['file:{'x' * 300}']"))
    with pytest.raises(SettingsError, match="File name too long"):
        settings.targets()


@pytest.mark.parametrize("secret", ["xoxb-SECRET", "mailto:me:SECRET@h", "://SECRET", "a b://S"])
def test_a_target_that_is_no_url_is_refused_without_a_word_of_it(
    tmp_path: Path, secret: str
) -> None:
    (tmp_path / "hook").write_text(secret)
    (tmp_path / "hook").chmod(0o600)
    for text in (secret, "file:hook"):
        settings = load(write(tmp_path, f"[routes]\nops = ['{text}']"))
        with pytest.raises(SettingsError) as error:
            settings.targets()

        assert str(error.value) == ("route ops: a target is no URL; write SCHEME://…, or file:NAME")


def test_who_is_to_run_must_be_able_to_read_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(write(tmp_path, "dry_run = true"))
    path.chmod(0)
    monkeypatch.setattr("steadyd.settings.DEFAULT_FILE", str(path))
    with as_nobody():
        assert not load(None).dry_run  # who only asks
        with pytest.raises(
            SettingsError, match="Permission denied; who runs this must be able to read it"
        ):
            load(None, strict=True)


def test_an_endless_file_is_told() -> None:
    with pytest.raises(SettingsError, match="larger than"):
        load("/dev/zero")
