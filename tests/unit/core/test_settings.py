"""Settings: the accepted values, and errors that name each wrong setting in one line."""

import os
from pathlib import Path

import pytest

from core.errors import SettingsError
from core.settings import Settings, load_settings
from tests.ordinary_user import acting_as_ordinary_user, folder_of_ordinary_user


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("MOOVITAMIX_API_URL", "MOOVITAMIX_API_TOKEN", "DATABASE_URL", "PAGE_SIZE", "FETCH_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))


def test_defaults_are_the_mock_and_the_embedded_database() -> None:
    settings = load_settings()
    assert settings.moovitamix_api_url == "http://127.0.0.1:8000"
    assert settings.embedded


def test_the_dotenv_file_is_read_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("PAGE_SIZE=10\nFETCH_THREADS=2\n")
    monkeypatch.setenv("PAGE_SIZE", "20")
    settings = load_settings()
    assert (settings.page_size, settings.fetch_threads) == (20, 2)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MOOVITAMIX_API_URL", "localhost:8000", "MOOVITAMIX_API_URL must look like http://host:port"),
        ("MOOVITAMIX_API_URL", "http://h:99999", "MOOVITAMIX_API_URL must look like http://host:port"),
        ("MOOVITAMIX_API_URL", "http://h:port", "MOOVITAMIX_API_URL must look like http://host:port"),
        ("MOOVITAMIX_API_URL", "", "MOOVITAMIX_API_URL must look like http://host:port"),
        ("DASK_SCHEDULER", "scheduler:8786", "DASK_SCHEDULER must look like tls://host:8786"),
        ("DASK_SCHEDULER", "tcp://10.0.0.7:8786", "DASK_SCHEDULER must be tls://host:port"),
        ("DASK_SCHEDULER", "tls://10.0.0.7:8786", "DASK_TLS_CA_FILE must be set with a DASK_SCHEDULER of tls://"),
        ("DASK_TLS_CA_FILE", "missing.pem", "DASK_TLS_CA_FILE is no file"),
        ("DATABASE_URL", "mysql://u:secret@h/d", "DATABASE_URL must look like postgresql://"),
        ("PAGE_SIZE", "", "PAGE_SIZE must not be empty; leave it out"),
        ("DATA_DIR", "", "DATA_DIR must not be empty; leave it out"),
        ("PAGE_SIZE", "0", "PAGE_SIZE input should be greater than or equal to 1"),
        ("PAGE_SIZE", "101", "PAGE_SIZE input should be less than or equal to 100"),
        ("FETCH_THREADS", "many", "FETCH_THREADS input should be a valid integer"),
        ("STREAM_UNCONFIRMED_DAYS", "1.9", "STREAM_UNCONFIRMED_DAYS input should be greater than or equal to 2"),
    ],
)
def test_the_error_names_a_wrong_setting_in_one_line(
    name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("protocol", "name", "value", "message"),
    [
        ("PLAINTEXT", "STREAM_SASL_USERNAME", "ada", "needs STREAM_SECURITY_PROTOCOL=SASL_SSL or SASL_PLAINTEXT"),
        ("SSL", "STREAM_SASL_PASSWORD", "secret", "needs STREAM_SECURITY_PROTOCOL=SASL_SSL or SASL_PLAINTEXT"),
        ("PLAINTEXT", "STREAM_SSL_CA_FILE", "/ca.pem", "needs STREAM_SECURITY_PROTOCOL=SSL or SASL_SSL"),
        ("PLAINTEXT", "STREAM_SSL_CERTIFICATE_FILE", "/c.pem", "needs STREAM_SECURITY_PROTOCOL=SSL or SASL_SSL"),
        ("SASL_PLAINTEXT", "STREAM_SSL_KEY_FILE", "/k.pem", "needs STREAM_SECURITY_PROTOCOL=SSL or SASL_SSL"),
        ("PLAINTEXT", "STREAM_SSL_KEY_PASSWORD", "secret", "needs STREAM_SECURITY_PROTOCOL=SSL or SASL_SSL"),
        ("SASL_SSL", "STREAM_SASL_USERNAME", "", "must be set with STREAM_SECURITY_PROTOCOL=SASL_SSL"),
        ("SASL_PLAINTEXT", "STREAM_SASL_PASSWORD", "", "must be set with STREAM_SECURITY_PROTOCOL=SASL_PLAINTEXT"),
    ],
)
def test_a_setting_of_the_broker_that_would_be_ignored_is_refused(
    protocol: str, name: str, value: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAM_SECURITY_PROTOCOL", protocol)
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert f"{name} {message}" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_settings_of_a_broker_with_login_and_tls_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_USERNAME": "ada",
        "SASL_PASSWORD": "secret",
        "SSL_CA_FILE": "/ca.pem",
    }.items():
        monkeypatch.setenv(f"STREAM_{name}", value)
    assert load_settings().stream_ssl_ca_file == Path("/ca.pem")


def test_one_error_names_every_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGE_SIZE", "x")
    monkeypatch.setenv("FETCH_THREADS", "y")
    with pytest.raises(SettingsError, match=r"PAGE_SIZE.*FETCH_THREADS"):
        load_settings()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_the_usual_schemes_of_the_database_url_are_accepted(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"{scheme}://u:p@h:5432/d")
    assert load_settings().database_url.get_secret_value() == "postgresql://u:p@h:5432/d"


def test_the_error_names_a_data_folder_that_cannot_be_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "file" / "data"))
    with pytest.raises(SettingsError, match=r"DATA_DIR .* cannot be created"):
        load_settings()


def test_no_text_of_the_settings_contains_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOOVITAMIX_API_URL", "https://name:hunter2@api.example:8443/v1/")
    monkeypatch.setenv("MOOVITAMIX_API_TOKEN", "t0ken")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:pa55@h/d")
    settings = load_settings()
    assert settings.source == "https://api.example:8443/v1"
    for secret in ("hunter2", "t0ken", "pa55"):
        assert secret not in settings.source
        assert secret not in repr(settings.moovitamix_api_token) + repr(settings.database_url)


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://user:secret@[FD00::7]/api", "http://[fd00::7]/api"),
        ("https://[fe80::1%25eth0]:8443", "https://[fe80::1%25eth0]:8443"),
        ("http://[::ffff:127.0.0.1]:80", "http://[::ffff:127.0.0.1]:80"),
        ("http://user:secret@source.example:80/api", "http://source.example:80/api"),
    ],
)
def test_the_source_keeps_the_brackets_of_an_ipv6_address(url: str, source: str) -> None:
    assert Settings(_env_file=None, moovitamix_api_url=url).source == source  # type: ignore[call-arg]


def test_the_error_names_the_variable_of_an_unusable_tls_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    no_certificates = tmp_path / "text.pem"
    no_certificates.write_text("hello\n")
    for name, value, reason in (
        ("SSL_CERT_FILE", tmp_path / "missing.pem", "No such file"),
        ("SSL_CERT_FILE", no_certificates, "it holds no certificate"),
        ("SSLKEYLOGFILE", tmp_path / "missing" / "keys", "No such file"),
    ):
        monkeypatch.setenv(name, str(value))
        with pytest.raises(SettingsError, match=f"{name} {value} cannot be .*: {reason}"):
            load_settings()
        monkeypatch.delenv(name)
    load_settings()


def test_the_default_url_of_the_api_uses_the_port_of_the_mock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOCK_PORT", "8123")
    assert load_settings().moovitamix_api_url == "http://127.0.0.1:8123"
    monkeypatch.setenv("MOOVITAMIX_API_URL", "http://127.0.0.1:8000")
    assert load_settings().moovitamix_api_url == "http://127.0.0.1:8000"


def test_an_empty_value_of_an_optional_setting_wins_over_the_dotenv_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("ALERT_URLS=json://host\nCLOCK_FILE=/clock\n")
    monkeypatch.setenv("ALERT_URLS", "")
    monkeypatch.setenv("CLOCK_FILE", "")
    settings = load_settings()
    assert settings.alert_urls.get_secret_value() == ""
    assert settings.clock_file is None


@pytest.mark.parametrize("name", ["a\nb", "bell\a", "esc\x1b[31m", os.fsdecode(b"latin-\xe9")])
def test_a_data_folder_with_unprintable_characters_is_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / name))
    with pytest.raises(SettingsError, match=r"DATA_DIR .* control character") as raised:
        load_settings()
    assert str(raised.value).isprintable()
    assert not (tmp_path / name).exists()


def test_the_error_names_a_data_folder_that_is_a_file_or_a_broken_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "file" / "nothing")
    for name in ("file", "link"):
        monkeypatch.setenv("DATA_DIR", str(tmp_path / name))
        with pytest.raises(SettingsError, match=r"DATA_DIR .*(is no folder|cannot be created)"):
            load_settings()


@pytest.mark.parametrize(
    ("mode", "read_only", "read_and_written"),
    [(0o700, "fine", "fine"), (0o500, "fine", "cannot be written: Permission denied"), (0o600, "fine", "Permission")],
    ids=["writable", "read-only", "not searchable"],
)
def test_the_error_names_an_unwritable_data_folder_unless_the_program_only_reads_it(
    mode: int, read_only: str, read_and_written: str, shared_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = folder_of_ordinary_user(shared_folder / "data")
    data_dir.chmod(mode)
    monkeypatch.chdir(shared_folder)
    monkeypatch.setenv("DATA_DIR", str(data_dir))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with acting_as_ordinary_user():
        assert read_only in _outcome(data_dir_is_written=False)
        assert read_and_written in _outcome()
    data_dir.chmod(0o700)


def _outcome(**options: bool) -> str:
    try:
        load_settings(**options)
    except SettingsError as error:
        return str(error)
    return "fine"


def test_the_error_names_a_folder_of_another_user_in_the_data_folder(
    shared_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example after a first call with sudo."""
    data_dir = folder_of_ordinary_user(shared_folder / "data")
    (data_dir / "logs").mkdir()
    (data_dir / "logs").chmod(0o555)
    monkeypatch.chdir(shared_folder)
    monkeypatch.setenv("DATA_DIR", str(data_dir))
    with acting_as_ordinary_user():
        assert f"DATA_DIR cannot be used, '{data_dir}/logs' cannot be written: Permission denied" in _outcome()
