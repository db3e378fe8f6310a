import base64
import logging
import shutil
import ssl
import subprocess
from pathlib import Path

import bcrypt
import pytest

from steadyd.exposition import webconfig
from steadyd.exposition.listen import WebError
from steadyd.exposition.web import Web
from steadyd.exposition.webconfig import WebConfig
from tests.fakes.exposition import SECRET, FakeDaemon
from tests.fakes.http import ask, htpasswd, serving

HASH = "$2y$10$" + "a" * 21 + "e" + "a" * 31
TLS = "tls_server_config: {cert_file: server.pem, key_file: server.key"


def basic(user: str, password: str) -> dict[str, str]:
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


@pytest.mark.parametrize(
    ("good", "text"),
    [
        (True, ""),
        (True, "basic_auth_users:\n"),
        (True, f"{TLS}}}"),
        (True, "tls_server_config: {}"),
        (True, f"{TLS}, min_version: TLS13}}"),
        (True, f"{TLS}, client_auth_type: RequireAndVerifyClientCert}}"),
        (True, f"{TLS}, client_auth_type: RequestClientCert, client_ca_file: ca.pem}}"),
        (True, f"{TLS}, cipher_suites: [TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]}}"),
        (True, f"{TLS}, cipher_suites: [TLS_AES_128_GCM_SHA256]}}"),
        (True, f"{TLS}, curve_preferences: [CurveP256, X25519]}}"),
        (True, f"{TLS}, prefer_server_cipher_suites: false}}"),
        (True, "http_server_config: {http2: true, headers: {X-Frame-Options: deny}}"),
        (True, f'basic_auth_users: {{a: "{HASH}"}}'),
        (True, f'basic_auth_users: {{1: "{HASH}"}}'),
        (False, "foo: 1"),
        (False, "[1]"),
        (False, "just text"),
        (False, "a: [b"),
        (False, "\x00"),
        (False, "tls_server_config: {cert_file: server.pem}"),
        (False, "tls_server_config: {key_file: server.key}"),
        (False, "tls_server_config: {cert_file: nope.pem, key_file: server.key}"),
        (False, "tls_server_config: {cert_file: other.pem, key_file: server.key}"),
        (False, "tls_server_config: {cert_file: server.key, key_file: server.pem}"),
        (False, f"{TLS}, client_ca_file: ca.pem}}"),
        (False, f"{TLS}, client_auth_type: Nonsense}}"),
        (False, f"{TLS}, client_auth_type: RequireAndVerifyClientCert, client_ca_file: no}}"),
        (False, f"{TLS}, min_version: TLS14}}"),
        (False, f"{TLS}, cipher_suites: [TLS_NOPE]}}"),
        (False, f"{TLS}, curve_preferences: [P7]}}"),
        (False, f"{TLS}, unknown: 1}}"),
        (False, "http_server_config: {headers: {X-Frame-Options: ALLOW}}"),
        (False, "http_server_config: {headers: {X-Foo: bar}}"),
        (False, "http_server_config: {headers: {x-frame-options: deny}}"),
        (False, "http_server_config: {unknown: 1}"),
        (False, "basic_auth_users: {a: plain}"),
        (False, 'basic_auth_users: {a: ""}'),
        (False, f'basic_auth_users: {{a: "{HASH}", a: "{HASH}"}}'),
    ],
)
def test_we_and_promtool_agree_on_what_is_good(pki: Path, good: bool, text: str) -> None:
    file = pki / "web.yml"
    file.write_text(text)
    done = subprocess.run(
        ["promtool", "check", "web-config", str(file)], capture_output=True, check=False, timeout=30
    )
    assert (done.returncode == 0) == good
    if good:
        WebConfig(str(file))
    else:
        with pytest.raises(WebError, match=r"web\.yml: ") as caught:
            WebConfig(str(file))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("good", "text"),
    [
        (True, "rate_limit: {interval: 1s, burst: 5}"),  # newer than Debian's promtool
        (True, f"{TLS}, client_auth_type: VerifyClientCertIfGiven, client_allowed_sans: [x]}}"),
        (False, f"{TLS}, client_auth_type: RequireAnyClientCert}}"),  # our library cannot
        (False, f"{TLS}, client_allowed_sans: [x]}}"),
        (False, f'basic_auth_users: {{a: "{HASH.replace("2y", "2z")}"}}'),
    ],
)
def test_where_we_differ_from_promtool_on_purpose(pki: Path, good: bool, text: str) -> None:
    file = pki / "web.yml"
    file.write_text(text)
    if good:
        WebConfig(str(file))
    else:
        with pytest.raises(WebError, match=r"web\.yml: "):
            WebConfig(str(file))


@pytest.mark.parametrize("mode", ["missing", "folder", "huge"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, mode: str) -> None:
    file = tmp_path / "web.yml"
    if mode == "folder":
        file.mkdir()
    elif mode == "huge":
        file.write_bytes(b"#" * (2 << 20))
    with pytest.raises(WebError, match=r"web\.yml: "):
        WebConfig(str(file))


async def test_a_bad_file_stops_the_start(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text("nonsense: 1")
    web = Web(
        FakeDaemon(), listen=["127.0.0.1:0"], config_file=str(file), lifecycle=False, control=""
    )
    with pytest.raises(WebError, match="nonsense"):
        await web.start()


def test_inline_certificates_work_without_files(pki: Path) -> None:
    lines = ["tls_server_config:"]
    for key, name in (("cert", "server.pem"), ("key", "server.key")):
        lines.append(f"  {key}: |")
        lines += [f"    {line}" for line in (pki / name).read_text().splitlines()]
    (pki / "web.yml").write_text("\n".join(lines) + "\n")
    assert WebConfig(str(pki / "web.yml")).context


def test_versions_and_ciphers_are_obeyed(pki: Path) -> None:
    file = pki / "web.yml"
    file.write_text(f"{TLS}, cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]}}\n")
    context = WebConfig(str(file)).context
    assert context is not None
    old = {c["name"] for c in context.get_ciphers() if c["protocol"] != "TLSv1.3"}
    assert old == {"ECDHE-ECDSA-AES256-GCM-SHA384"}
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    file.write_text(f"{TLS}, cipher_suites: [TLS_AES_256_GCM_SHA384]}}\n")
    context = WebConfig(str(file)).context
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3


async def test_names_and_passwords_are_asked_for_and_htpasswd_hashes_work(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text(f'basic_auth_users: {{ada: "{htpasswd("s3cret:with colon")}"}}\n')
    async with serving(FakeDaemon(), config_file=str(file)) as web:
        refused = await ask(web, "/metrics")
        assert (refused.status, refused.headers["www-authenticate"]) == (401, "Basic")
        for headers in (
            basic("ada", "wrong"),
            basic("eve", "s3cret:with colon"),
            basic("", ""),
            {"Authorization": "Basic !!!"},
            {"Authorization": "Basic /////w=="},
            {"Authorization": "Bearer x"},
            {"Authorization": "Basic"},
            basic("ada", "a" * 5000),
            basic("ada", "nul\0"),
        ):
            assert (await ask(web, "/metrics", headers=headers)).status == 401
        good = basic("ada", "s3cret:with colon")
        assert (await ask(web, "/metrics", headers=good)).status == 200
        assert SECRET in (await ask(web, "/api/v1/status", headers=good)).text
        assert (await ask(web, "/api/v1/why/puma", headers=good)).status == 200


async def test_bcrypt_runs_once_for_the_same_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "web.yml"
    file.write_text(f'basic_auth_users: {{ada: "{htpasswd("pw")}"}}\n')
    config, compared = WebConfig(str(file)), list[str]()
    real = webconfig._matches

    def counted(password: bytes, hashed: str) -> bool:
        compared.append(hashed)
        return real(password, hashed)

    monkeypatch.setattr(webconfig, "_matches", counted)
    right = basic("ada", "pw")["Authorization"]
    assert [await config.admits(right) for _ in range(5)] == [True] * 5
    assert len(compared) == 1
    stranger = basic("eve", "pw")["Authorization"]
    assert [await config.admits(stranger) for _ in range(5)] == [False] * 5
    assert len(compared) == 2  # as long as for a known name
    for i in range(300):
        config._answers[str(i).encode()] = False
    assert await config.admits(basic("ada", "other")["Authorization"]) is False
    assert len(config._answers) <= 400


async def test_a_stranger_never_gets_in_whatever_the_dummy_hash_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "web.yml"
    file.write_text(f'basic_auth_users: {{ada: "{htpasswd("pw")}"}}\n')
    monkeypatch.setattr(webconfig, "_NOBODY", htpasswd("guess"))
    config = WebConfig(str(file))
    assert await config.admits(basic("eve", "guess")["Authorization"]) is False
    assert await config.admits("") is False


async def test_a_long_password_counts_as_far_as_bcrypt_reads(tmp_path: Path) -> None:
    long = "a" * 100
    hashed = bcrypt.hashpw(long[:72].encode(), bcrypt.gensalt(4)).decode()
    file = tmp_path / "web.yml"
    file.write_text(f'basic_auth_users: {{ada: "{hashed}"}}\n')
    config = WebConfig(str(file))
    assert await config.admits(basic("ada", long)["Authorization"]) is True
    assert await config.admits(basic("ada", long[:71])["Authorization"]) is False


async def test_users_change_live_and_a_bad_edit_keeps_the_last_good(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file = tmp_path / "web.yml"
    file.write_text(f'basic_auth_users: {{ada: "{htpasswd("one")}"}}\n')
    async with serving(FakeDaemon(), config_file=str(file)) as web:
        assert (await ask(web, "/metrics", headers=basic("ada", "one"))).status == 200
        file.write_text(f'basic_auth_users: {{ada: "{htpasswd("two")}"}}\n# longer\n')
        assert (await ask(web, "/metrics", headers=basic("ada", "one"))).status == 401
        assert (await ask(web, "/metrics", headers=basic("ada", "two"))).status == 200
        file.write_text("basic_auth_users: [")
        assert (await ask(web, "/metrics", headers=basic("ada", "two"))).status == 200
        assert (await ask(web, "/metrics")).status == 401
        assert caplog.text.count("what was good before stays in force") == 1
        file.write_text("")  # as an editor leaves it for an instant
        assert (await ask(web, "/metrics")).status == 401
        assert "takes all users away" in caplog.text
        file.unlink()
        assert (await ask(web, "/metrics")).status == 401


async def test_configured_headers_are_sent_and_win(tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text(
        "http_server_config: {headers: {Strict-Transport-Security: max-age=9, "
        "X-Frame-Options: sameorigin, Content-Security-Policy: frame-ancestors *}}\n"
    )
    async with serving(FakeDaemon(), config_file=str(file)) as web:
        headers = (await ask(web, "/")).headers
        assert headers["strict-transport-security"] == "max-age=9"
        assert headers.get_all("x-frame-options") == ["sameorigin"]
        assert headers.get_all("content-security-policy") == ["frame-ancestors *"]


async def test_paths_are_relative_to_the_file(
    pki: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pki / "deep").mkdir()
    shutil.copy(pki / "server.pem", pki / "deep" / "c.pem")
    (pki / "deep" / "web.yml").write_text(
        "tls_server_config: {cert_file: c.pem, key_file: ../server.key}\n"
    )
    monkeypatch.chdir(tmp_path)
    assert WebConfig(str(pki / "deep" / "web.yml")).context
