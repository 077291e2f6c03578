"""The loopback port of the embedded Postgres: off by default, one login, a password, read-only."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from pydantic import SecretStr

from core import embedded_postgres
from core.database import migrate
from core.errors import DatabaseError
from core.tcp_access import LOGIN, TcpAccess
from tests.integration.serving.api import free_port

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def access() -> TcpAccess:
    return TcpAccess(free_port(), SecretStr(PASSWORD))


@pytest.fixture(scope="module")
def owner_url(access: TcpAccess) -> Iterator[str]:
    """A migrated server that listens on the port; the URL is that of its socket."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o755)
    url = embedded_postgres.start(folder, access)
    migrate(url)
    yield url
    embedded_postgres.stop_if_unused(folder)
    shutil.rmtree(folder, ignore_errors=True)


def test_bi_login_reads_over_tcp_and_writes_nothing(access: TcpAccess, owner_url: str) -> None:
    with psycopg.connect(access.url, autocommit=True) as connection:
        assert connection.info.host == "127.0.0.1"
        assert connection.execute("select current_user, count(*) from mart.fact_listens").fetchone() == (LOGIN, 0)
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("create temporary table t ()")
        connection.execute("set default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("delete from mart.dim_users")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("set role postgres")


@pytest.mark.parametrize("password", ["wrong", ""])
def test_wrong_password_is_refused(access: TcpAccess, owner_url: str, password: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(access.url, password=password)


def test_owner_cannot_connect_over_tcp(access: TcpAccess, owner_url: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
        psycopg.connect(access.url, user="postgres")


def test_password_is_stored_as_a_scram_hash(owner_url: str) -> None:
    with psycopg.connect(owner_url) as connection:
        (stored,) = connection.execute("select rolpassword from pg_authid where rolname = %s", [LOGIN]).fetchone() or (
            "",
        )
        assert stored.startswith("SCRAM-SHA-256$")


def test_only_the_loopback_address_listens(access: TcpAccess, owner_url: str) -> None:
    listening = [link.laddr for link in psutil.net_connections("tcp") if link.status == psutil.CONN_LISTEN]
    assert {address.ip for address in listening if address.port == access.port} == {"127.0.0.1"}


def test_error_names_the_used_port_and_its_setting(access: TcpAccess, owner_url: str, shared_folder: Path) -> None:
    with pytest.raises(
        DatabaseError, match=f"port {access.port}, for embedded Postgres, cannot be used .*EMBEDDED_TCP_PORT"
    ):
        embedded_postgres.start(shared_folder, access)


def test_restart_changes_the_password_and_removes_tcp_without_a_port(shared_folder: Path) -> None:
    first, second = (TcpAccess(free_port(), SecretStr(password)) for password in ("first", "second"))
    for allowed in (first, second):
        embedded_postgres.start(shared_folder, allowed)
        psycopg.connect(allowed.url).close()
        embedded_postgres.stop_if_unused(shared_folder)
    embedded_postgres.start(shared_folder)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(second.url)
    embedded_postgres.stop_if_unused(shared_folder)
