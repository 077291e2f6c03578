"""The loopback TCP port of the embedded Postgres, for BI tools: off unless EMBEDDED_TCP_PORT is set.

Only the login `moovitamix_bi` may connect there, only from this machine, and only with its password. It is a member of
the read-only role `moovitamix_analyst`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from psycopg import sql
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr

from core.addresses import refuse_port_in_use
from core.errors import DatabaseError
from core.queries import compose_query
from core.sessions import open_connection
from core.settings import Settings

HOST = "127.0.0.1"
LOGIN = "moovitamix_bi"
# The content of pg_hba.conf. Postgres applies the first matching line, and refuses a connection without one.
_ALLOWED_CONNECTIONS = f"""\
# Written by MoovitaMix when EMBEDDED_TCP_PORT is set.
local all all trust
host postgres {LOGIN} {HOST}/32 scram-sha-256
"""


@dataclass(frozen=True)
class TcpAccess:
    """The port to listen on, and the password of `moovitamix_bi`."""

    port: int
    password: SecretStr

    @property
    def url(self) -> str:
        """The connection string of a BI tool. It holds the password."""
        password = self.password.get_secret_value()
        return make_conninfo(host=HOST, port=self.port, user=LOGIN, password=password, dbname="postgres")


def tcp_access_of(settings: Settings) -> TcpAccess | None:
    """The configured TCP access, or None if the server listens only on its socket."""
    if settings.embedded_tcp_port is None:
        return None
    return TcpAccess(settings.embedded_tcp_port, settings.embedded_tcp_password)


def prepare_server(server_folder: Path, access: TcpAccess) -> None:
    """Check that the port is free, and write pg_hba.conf. Call it before the server starts. Raises DatabaseError."""
    try:
        refuse_port_in_use(HOST, access.port)
    except OSError as error:
        raise DatabaseError(
            f"port {access.port}, for embedded Postgres, cannot be used ({error.strerror}): stop the program that uses "
            "it, or choose another port with EMBEDDED_TCP_PORT"
        ) from error
    (server_folder / "pg_hba.conf").write_text(_ALLOWED_CONNECTIONS)


def create_login(owner_url: str, access: TcpAccess) -> None:
    """Create the login, or set its password. The server receives only the SCRAM hash of the password."""
    with open_connection(owner_url) as connection:
        password = access.password.get_secret_value().encode()
        scram_hash = connection.pgconn.encrypt_password(password, LOGIN.encode(), b"scram-sha-256").decode()
        connection.execute(compose_query("roles/create_bi_login", password=sql.Literal(scram_hash)))
