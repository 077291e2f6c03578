"""`make cluster-demo`: the four days of `make demo` on a cluster, and the same recommendations.

It first runs `make demo` on one machine. Then it runs the same days on two Prefect workers, two Dask workers and a
scheduler. Each process has a DATA_DIR of its own: they share only Postgres and an object store (moto's S3 server).
On the way, it kills a Prefect worker with its run, which another worker without its files repeats, and a Dask worker
that scores. Exit code 0: all recommendations are identical; 1: they are not, or an error occurred.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from psycopg.rows import tuple_row
from rich.console import Console

from compute.certificates import CA, CERTIFICATE, KEY, make_certificates
from core import embedded_postgres
from core.clock import utc_now
from core.data_layout import DataLayout
from core.database import connect, ensure_database
from core.exit_codes import returns_exit_code, run_main
from core.prefect_client import PrefectClient
from core.prefect_names import MODELS_WORK_POOL, SECONDS_TO_START, WORK_POOL
from core.settings import load_settings
from core.terminal import prepare_terminal
from demo.deployment_runs import running_tasks, start_run, wait_for_run, wait_until
from demo.environment import (
    ROOT,
    DemoError,
    MockApiClient,
    create_empty_folder,
    isolate_settings,
    mock_api,
    redirect_output,
    run_and_report,
)
from demo.local_services import free_ports
from demo.s3_server import s3_server
from demo.scenario import FIRST_DAY, SCENARIO, ScenarioStep, check_batches
from notifications.lost_runs import mark_as_lost
from services.deploy import deploy, is_reachable

_BUCKET = "moovitamix"
_DEPLOYMENTS = {"recommend": "recommend/after-monitor", "retrain": "retrain/weekly-training"}
_SECONDS_PER_RUN = 900.0
_WORLD = ("--sessions", "20000")
# In the order in which they went live. The ids of publications may differ.
_PUBLICATIONS = "select publication_id from ml.live_publications order by live_id"
_RECOMMENDATIONS = """
select user_id, rank, track_id, score from ml.recommendations where publication_id = %s order by user_id, rank
"""
_SIMILAR = "select * from ml.similar_tracks where publication_id = %s order by track_id, rank"
_BATCHES = "select batch_id, status from ops.batches"

Rows = list[tuple[Any, ...]]


@dataclass(frozen=True)
class PublishedLists:
    """The rows of each publication, in the order in which they went live."""

    recommendations: list[Rows]
    similar_tracks: list[Rows]


@dataclass(frozen=True)
class Machine:
    """A process with a DATA_DIR of its own, as on a machine of its own."""

    layout: DataLayout
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """Kill the process and all that it started, without a chance to clean up."""
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    child.kill()
        self.process.kill()
        self.process.wait()


@dataclass(frozen=True)
class Cluster:
    """The machines. `environment` has what they share: the addresses of Postgres, the object store and the servers.

    `dask_workers` are by port.
    """

    folder: Path
    environment: dict[str, str]
    machines: ExitStack
    server: PrefectClient
    dask_workers: dict[int, Machine] = field(default_factory=dict)

    def start(self, name: str, *arguments: str, **settings: str) -> Machine:
        """Start a machine with an empty DATA_DIR. The command is `python -m` with these arguments."""
        layout = DataLayout(self.folder / name)
        layout.temporary_files.mkdir(parents=True)
        own = {
            "DATA_DIR": str(layout.data_dir),
            "TMPDIR": str(layout.temporary_files),
            "PREFECT_HOME": str(layout.prefect),
        }
        environment = os.environ | self.environment | own | settings
        log = self.machines.enter_context(DataLayout(self.folder).log(name).open("w"))
        command = [sys.executable, "-m", *arguments]
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
        machine = Machine(layout, process)
        self.machines.callback(machine.kill)
        return machine

    def start_worker(self, name: str, pool: str) -> Machine:
        """Start a Prefect worker of a pool on a new machine."""
        arguments = ("prefect", "worker", "start", "--pool", pool, "--type", "process", "--name", name)
        return self.start(name, *arguments, PREFECT_WORKER_QUERY_SECONDS="2")

    def run(self, deployment: str, **parameters: str) -> str:
        """Run a deployment, and return the name of its final state. Raises DemoError."""
        return wait_for_run(self.server, start_run(self.server, deployment, **parameters), _SECONDS_PER_RUN)


def read_lists(url: str) -> PublishedLists:
    """Read all publications that went live. Raises DatabaseError."""
    with connect(url) as connection, connection.cursor(row_factory=tuple_row) as cursor:
        publications = [row[0] for row in cursor.execute(_PUBLICATIONS).fetchall()]
        columns = [column.name for column in cursor.execute(f"{_SIMILAR} limit 0", [0]).description or ()]
        keep = [number for number, name in enumerate(columns) if name != "publication_id"]
        similar = [
            [tuple(row[number] for number in keep) for row in cursor.execute(_SIMILAR, [publication]).fetchall()]
            for publication in publications
        ]
        return PublishedLists(
            [cursor.execute(_RECOMMENDATIONS, [publication]).fetchall() for publication in publications], similar
        )


def compare_lists(expected: PublishedLists, actual: PublishedLists) -> None:
    """Raises DemoError that counts the rows that differ."""
    if len(expected.recommendations) != len(actual.recommendations):
        raise DemoError(f"{len(actual.recommendations)} publications, expected {len(expected.recommendations)}")
    for what in ("recommendations", "similar_tracks"):
        for number, (one_machine, cluster) in enumerate(
            zip(getattr(expected, what), getattr(actual, what), strict=True), start=1
        ):
            if one_machine != cluster:
                different = len(set(one_machine) ^ set(cluster))
                raise DemoError(f"publication {number}: {different:,} rows of {what} differ from those of one machine")


def run(console: Console, folder: Path) -> None:
    """Run the demo on one machine and on the cluster, and compare. Raises DemoError."""
    begin = time.monotonic()
    expected = _run_on_one_machine(folder / "one-machine")
    console.print(f"  on one machine: {_size(expected)}  {time.monotonic() - begin:4.0f} s\n")
    with mock_api(str(FIRST_DAY), *_WORLD) as api, _start_cluster(console, folder, api) as (cluster, database):
        _run_days(console, cluster, api)
        with connect(database) as connection:
            check_batches(dict(connection.execute(_BATCHES).fetchall()))
        actual = read_lists(database)
        _check_folders(cluster)
    compare_lists(expected, actual)
    console.print(f"\n  on the cluster: {_size(actual)}, identical to those of one machine")


def _run_on_one_machine(folder: Path) -> PublishedLists:
    folder.mkdir()
    command = [sys.executable, "-m", "demo", "--listening-seconds", "0"]
    environment = os.environ | {"DATA_DIR": str(folder)}
    if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
        raise DemoError(f"the demo on one machine failed; see the log in {folder}")
    data_dir = DataLayout(folder).demo("demo")
    lists = read_lists(embedded_postgres.start(data_dir, None))
    embedded_postgres.stop_if_unused(data_dir)
    return lists


def _size(lists: PublishedLists) -> str:
    rows = sum(map(len, lists.recommendations))
    similar = sum(map(len, lists.similar_tracks))
    return f"{rows:,} recommendations and {similar:,} similar tracks in {len(lists.recommendations)} publications"


@contextmanager
def _start_cluster(console: Console, folder: Path, api: MockApiClient) -> Iterator[tuple[Cluster, str]]:
    """Yield the cluster, and the URL of its database."""
    prefect_port, scheduler_port, *worker_ports = free_ports(4)
    database = ensure_database(load_settings())
    certificates = folder / "certificates"
    make_certificates(certificates, utc_now(), 2)
    with ExitStack() as machines:
        environment = {
            "DATABASE_URL": database,
            "LANDING_URL": f"s3://{_BUCKET}/landing",
            "MODELS_URL": f"s3://{_BUCKET}/models",
            "BACKUPS_URL": f"s3://{_BUCKET}/backups",
            "DATA_DOCS_URL": f"s3://{_BUCKET}/data-docs",
            "AWS_ENDPOINT_URL": machines.enter_context(s3_server(_BUCKET)),
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "demo",
            "AWS_SECRET_ACCESS_KEY": "demo",
            "AWS_REGION": "us-east-1",
            "MOOVITAMIX_API_URL": os.environ["MOOVITAMIX_API_URL"],
            "DASK_SCHEDULER": f"tls://127.0.0.1:{scheduler_port}",
            "DASK_TLS_CA_FILE": str(certificates / CA),
            "DASK_TLS_CERTIFICATE_FILE": str(certificates / CERTIFICATE),
            "DASK_TLS_KEY_FILE": str(certificates / KEY),
            "PREFECT_API_URL": f"http://127.0.0.1:{prefect_port}/api",
        }
        server = PrefectClient(environment["PREFECT_API_URL"])
        cluster = Cluster(folder, environment, machines, server)
        # SQLite in its own folder, as the server is one process. Embedded Postgres lacks pg_trgm, which Prefect needs.
        server_command = ("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(prefect_port))
        cluster.start("prefect-server", *server_command)
        cluster.start("dask-scheduler", "compute.scheduler", "--port", str(scheduler_port))
        for number, port in enumerate(worker_ports, start=1):
            arguments = ("compute.worker", "--port", str(port), "--threads", "1")
            cluster.dask_workers[port] = cluster.start(f"dask-worker-{number}", *arguments)
        wait_until(lambda: is_reachable(f"{server.api_url}/health"), SECONDS_TO_START, "the start of Prefect")
        deploy(server.api_url, ("ingest/daily", *_DEPLOYMENTS.values()))
        console.print("  Prefect's server, S3 server, Dask scheduler and two Dask workers started")
        yield cluster, database


def _run_days(console: Console, cluster: Cluster, api: MockApiClient) -> None:
    worker = cluster.start_worker("worker-1", WORK_POOL)
    cluster.start_worker("worker-models", MODELS_WORK_POOL)
    for number, step in enumerate(SCENARIO):
        api.set_day_and_faults(str(step.day), step.faults)
        if number == 1:
            _kill_prefect_worker(console, cluster, worker, step)
        state = cluster.run("ingest/daily", day=str(step.day))
        console.print(f"  {step.day}  {step.title:<66}{state}")
        if step.follow_up:
            deployment = _DEPLOYMENTS[step.follow_up.flow]
            run_id = start_run(cluster.server, deployment)
            if step.follow_up.flow == "retrain":
                _kill_dask_worker(console, cluster, run_id)
            state = wait_for_run(cluster.server, run_id, _SECONDS_PER_RUN)
            console.print(f"              {step.follow_up.title:<66}{state}")
            if state != "Completed":
                raise DemoError(f"{deployment} is {state}; see the logs in {DataLayout(cluster.folder).logs}")


def _kill_prefect_worker(console: Console, cluster: Cluster, worker: Machine, step: ScenarioStep) -> None:
    """Kill the worker while it lands pages. A worker on another machine takes over."""
    run_id = start_run(cluster.server, "ingest/daily", day=str(step.day))
    wait_until(
        lambda: bool(running_tasks(cluster.server, run_id)), _SECONDS_PER_RUN, "the start of a run", interval=0.1
    )
    worker.kill()
    console.print(
        f"  {step.day}  [red]killed[/] a Prefect worker with its run; another worker takes over, without its files"
    )
    mark_as_lost(cluster.server, cluster.server.ask("GET", f"flow_runs/{run_id}"), "its worker was killed")
    cluster.start_worker("worker-2", WORK_POOL)


def _kill_dask_worker(console: Console, cluster: Cluster, run_id: str) -> None:
    """Kill a Dask worker when the run scores."""
    from distributed import Client

    from compute.processes import security_of

    port, worker = next(iter(cluster.dask_workers.items()))
    os.environ |= cluster.environment
    settings = load_settings()
    busy: list[bool] = []
    with Client(settings.dask_scheduler, security=security_of(settings)) as client:

        def is_scoring() -> bool:
            busy[:] = [bool(keys) for address, keys in client.processing().items() if address.endswith(f":{port}")]
            return any(busy) or "stage-recommendations" in running_tasks(cluster.server, run_id)

        wait_until(is_scoring, _SECONDS_PER_RUN, "the training", interval=0.02)
        worker.kill()
    what = "while it computed a block" if any(busy) else "when the scoring began"
    console.print(f"              [red]killed[/] a Dask worker {what}; the other worker computes its blocks")


def _check_folders(cluster: Cluster) -> None:
    """Raises DemoError if a machine has files in its own folder that belong in the object store."""
    for folder in cluster.folder.iterdir():
        layout = DataLayout(folder)
        folders = (layout.landing, layout.models, layout.backups, layout.data_docs)
        files = [path for stored in folders for path in stored.rglob("[!.]*") if path.is_file()]
        if folder.name != "one-machine" and files:
            raise DemoError(f"{files[0]} is on one machine only; it belongs in the object store")


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo. Returns the exit code."""
    prepare_terminal()
    argparse.ArgumentParser(prog="python -m demo.cluster", description=__doc__).parse_args(arguments)
    folder = create_empty_folder("cluster")
    isolate_settings(folder, PREFECT_HOME=str(DataLayout(folder).prefect))
    with redirect_output(DataLayout(folder).log("demo")) as console:
        console.print("[bold]The demo on a cluster without a shared folder[/]\n")
        return run_and_report(console, lambda: run(console, folder), DataLayout(folder).logs)


if __name__ == "__main__":
    sys.exit(run_main(main))
