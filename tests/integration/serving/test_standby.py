"""The API on a real standby of Postgres: it reads there, and sees what is published on the primary."""

from __future__ import annotations

import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from core import embedded_postgres
from core.database import connect, migrate
from tests.integration.serving.api import Api, go_live, populate, serving, stage
from tests.integration.serving.test_responses import assert_problem

PORT = 5433
# Write-ahead log for a standby. The embedded server writes none, because nothing reads it.
REPLICATION = ("wal_level = replica", "max_wal_senders = 4")


@dataclass(frozen=True)
class Servers:
    """The URLs of a primary and of its standby."""

    primary: str
    standby: str


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """A primary with two publications of user 5, the second one live, and a standby made by pg_basebackup."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    folder.chmod(0o755)
    standby = folder / "standby"
    standby.mkdir(mode=0o700)
    primary = embedded_postgres.start(folder)
    with connect(primary) as connection:
        for setting in REPLICATION:
            connection.execute(f"alter system set {setting}")
    embedded_postgres.stop_if_unused(folder)
    primary = embedded_postgres.start(folder)
    server_user = psutil.Process(int((folder / "postgres/postmaster.pid").read_text().split()[0])).username()
    shutil.chown(standby, server_user, pwd.getpwnam(server_user).pw_gid)

    def run(program: str, *arguments: object) -> None:
        command = [str(Path(embedded_postgres.programs_folder()) / program), *map(str, arguments)]
        subprocess.run(command, check=True, user=server_user, cwd=standby, capture_output=True)

    migrate(primary)
    with connect(primary) as connection:
        populate(connection)
        go_live(connection, stage(connection, {5: [1, 2]}))
        go_live(connection, stage(connection, {5: [3, 4]}))
    host = primary.partition("host=")[2]
    try:
        run("pg_basebackup", "-h", host, "-U", "postgres", "-D", standby, "-X", "stream", "-c", "fast", "-R")
        options = f"-p {PORT} -k {host} -c listen_addresses="
        run("pg_ctl", "-D", standby, "-l", standby / "log", "-o", options, "-w", "-t", 60, "start")
        yield Servers(primary, primary.replace("port=5432", f"port={PORT}"))
    finally:
        run("pg_ctl", "-D", standby, "-m", "immediate", "-w", "stop")
        embedded_postgres.stop_if_unused(folder)
        shutil.rmtree(folder)


@pytest.fixture
def replica(servers: Servers) -> Iterator[Api]:
    """The API on the standby. Its rate limits are counted on the primary."""
    with serving(servers.primary) as api:
        key = api.key
    with serving(servers.standby, key=key, serving_limits_url=servers.primary) as api:
        wait_for(lambda: api.read(5).status_code == 200, "the key is not replicated")
        yield api


def wait_for(is_done: object, problem: str) -> float:
    """Wait until a condition holds, and return the seconds."""
    started = time.monotonic()
    while not is_done():  # type: ignore[operator]
        assert time.monotonic() - started < 60, problem
        time.sleep(0.01)
    return time.monotonic() - started


def tracks(api: Api) -> list[int]:
    response = api.read(5)
    assert response.status_code == 200
    return [track["track_id"] for track in response.json()["recommendations"]]


def test_standby_serves_recommendations_and_refuses_feedback(servers: Servers, replica: Api) -> None:
    assert tracks(replica) == [3, 4]
    assert replica.get("/health/ready").status_code == 200
    feedback = {"user_id": 5, "track_id": 3, "useful": True}
    assert_problem(replica.send_feedback(**feedback), 503, "database-away")
    assert tracks(replica) == [3, 4], "a refused write is no outage"
    with serving(servers.primary, key=replica.key) as api:
        assert api.send_feedback(**feedback).status_code == 201
    with connect(servers.primary) as connection:
        counts = connection.execute("select sum(requests) from serving.request_counts where limit_name = 'requests'")
        assert counts.fetchone()[0] >= 3, "the primary counts the requests of the standby"


def test_rollback_on_the_primary_is_seen_on_the_standby(servers: Servers, replica: Api) -> None:
    with connect(servers.primary) as connection:
        old, new = [
            row[0] for row in connection.execute("select publication_id from ml.publications order by 1 limit 2")
        ]
        go_live(connection, old)
        wait_for(lambda: tracks(replica) == [1, 2], "the rollback does not arrive")
        go_live(connection, new)
        lag = wait_for(lambda: tracks(replica) == [3, 4], "the return does not arrive")
        print(f"seen on the standby after {1000 * lag:.0f} ms")


def test_requests_on_the_standby_survive_a_dropped_publication(servers: Servers, replica: Api) -> None:
    with connect(servers.primary) as connection:
        publication = stage(connection, {5: [7]})
        go_live(connection, publication)
        wait_for(lambda: tracks(replica) == [7], "the publication does not arrive")
        newer = stage(connection, {5: [8]})
        go_live(connection, newer)
        connection.execute(f"drop table ml.recommendations_{publication}, ml.similar_tracks_{publication}")
        wait_for(lambda: tracks(replica) == [8], "the newer publication does not arrive")
