"""`make containers`: the four days of `make demo` through the containers of docker-compose.yml.

It builds the image and starts the composition with a project name, volumes and passwords of its own. It waits for all
health checks, runs the flows on the workers, compares batches and models with the expected ones, and reads
recommendations from the serving API. DOCKER is the command of the engine (default: docker); with IMAGES=built, it
builds no image.

Exit code 0: everything is as expected; 1: it is not, or the engine fails.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import requests
import yaml

from core.exit_codes import returns_exit_code, run_main
from core.prefect_client import PrefectClient
from demo.deployment_runs import start_run, wait_for_run, wait_until
from demo.environment import ROOT, DemoError, MockApiClient
from demo.scenario import SCENARIO, ScenarioStep, check_batches, check_models

_FILES = ("docker-compose.yml", ".ci/containers/demo.yml")
_PREFECT = "http://127.0.0.1:4200/api"
_SECONDS_TO_START = 600.0
_SECONDS_PER_RUN = 900.0
_PASSWORDS = ("POSTGRES", "WAREHOUSE", "INGEST", "RECOMMENDER", "SERVING", "STREAM", "PREFECT")
_BATCHES = "select batch_id || ' ' || status from ops.batches"
_MODELS = """
select run.model from ml.live_publications join ml.publications using (publication_id) join ml.model_runs as run
using (model_run_id) order by live_id
"""
_USERS = "select user_id from ml.recommendations order by user_id limit 1"


@dataclass(frozen=True)
class Composition:
    """The containers of docker-compose.yml, with the mock API of the demo."""

    engine: Sequence[str]

    @property
    def services(self) -> dict[str, Any]:
        """The services of docker-compose.yml by name."""
        services: dict[str, Any] = yaml.safe_load((ROOT / _FILES[0]).read_text())["services"]
        return services

    def compose(self, *words: str, timeout: float = _SECONDS_TO_START, check: bool = True) -> str:
        """Run a command of Docker Compose, and return its output. Raises DemoError."""
        files = [word for file in _FILES for word in ("--file", str(ROOT / file))]
        command = [
            *self.engine,
            "compose",
            "--env-file",
            "/dev/null",
            "--project-name",
            "moovitamix-demo",
            *files,
            *words,
        ]
        variables = {f"{name}_PASSWORD": f"{name.lower()}1" for name in _PASSWORDS}
        variables["NO_PROXY"] = os.environ.get("NO_PROXY", "")  # Compose warns if it is not set
        try:
            result = subprocess.run(
                command, env=os.environ | variables, stdout=subprocess.PIPE, text=True, check=False, timeout=timeout
            )
        except subprocess.TimeoutExpired as error:
            raise DemoError(f"docker compose {shlex.join(words)} did not end within {timeout:g} s") from error
        if check and result.returncode:
            raise DemoError(f"docker compose {shlex.join(words)} ended with exit code {result.returncode}")
        return result.stdout

    def states(self) -> dict[str, tuple[str, str, int]]:
        """State, health and exit code of the container of each service."""
        lines = self.compose("ps", "--all", "--format", "json").splitlines()
        containers = [json.loads(line) for line in lines if line.startswith("{")]
        return {entry["Service"]: (entry["State"], entry["Health"], entry["ExitCode"]) for entry in containers}

    def is_ready(self) -> bool:
        """Whether each service is healthy, or has ended with success. Raises DemoError if one failed."""
        states = self.states()
        for name, (state, health, code) in states.items():
            if health == "unhealthy" or (state == "exited" and code):
                raise DemoError(f"the service {name} is {health or state} (exit code {code}):\n{self.logs(name)}")
        return states.keys() == self.services.keys() and all(self._is_done(name, *states[name]) for name in states)

    def _is_done(self, name: str, state: str, health: str, code: int) -> bool:
        return health == "healthy" if "healthcheck" in self.services[name] else (state, code) == ("exited", 0)

    def unfinished(self) -> str:
        """The state and the log of each started service that is neither healthy nor has ended with success."""
        return "\n".join(
            f"{name}: {', '.join(map(str, state))}\n{self.logs(name)}"
            for name, state in self.states().items()
            if state[0] != "created" and not self._is_done(name, *state)
        )

    def logs(self, service: str) -> str:
        """The last lines of the log of a service."""
        return self.compose("logs", "--no-color", "--tail", "40", service, check=False)

    def query(self, sql: str) -> list[str]:
        """The first column of each row, as the superuser of Postgres."""
        psql = ("psql", "--username", "postgres", "--dbname", "moovitamix", "--tuples-only", "--no-align")
        return self.compose("exec", "--no-TTY", "postgres", *psql, "--command", sql).split("\n")[:-1]

    def run_deployment(self, deployment: str, **parameters: str) -> str:
        """Run a deployment on its worker, and return the final state. Raises DemoError."""
        server = PrefectClient(_PREFECT)
        return wait_for_run(server, start_run(server, deployment, **parameters), _SECONDS_PER_RUN)

    def wait_until_idle(self) -> None:
        """Wait until no run is open: events start `monitor` and `recommend` after an ingest. Raises DemoError."""
        server = PrefectClient(_PREFECT)
        states = {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING"]}}
        late = {"type": {"any_": ["SCHEDULED"]}, "name": {"any_": ["Late", "AwaitingConcurrencySlot"]}}
        quiet_since = time.monotonic()

        def is_idle() -> bool:
            nonlocal quiet_since
            if any(server.ask("POST", "flow_runs/count", {"flow_runs": {"state": state}}) for state in (states, late)):
                quiet_since = time.monotonic()
            return time.monotonic() - quiet_since > 20  # an event starts a run within some seconds

        wait_until(is_idle, _SECONDS_PER_RUN, "the runs that events started")


def run(composition: Composition, *, build: bool) -> None:
    """Start the composition and run the days of the demo. Raises DemoError."""
    begin = time.monotonic()

    def report(text: str) -> None:
        print(f"{time.monotonic() - begin:6.0f} s  {text}", flush=True)

    try:
        composition.compose("up", "--detach", *(["--build"] if build else ["--no-build"]), timeout=3600)
    except DemoError as error:
        raise DemoError(f"{error}\n{composition.unfinished()}") from error
    report("docker compose started all containers, each after the health checks of those that it needs")
    wait_until(composition.is_ready, _SECONDS_TO_START, "the start")
    for name, (state, health, code) in sorted(composition.states().items()):
        report(f"  {name:<18}{health or f'{state}, exit code {code}'}")
    api = MockApiClient("http://127.0.0.1:8000")
    for step in SCENARIO:
        _run_step(composition, api, step, report)
    check_batches(dict(row.split(" ") for row in composition.query(_BATCHES)))
    _check_published(composition, report)


def _run_step(composition: Composition, api: MockApiClient, step: ScenarioStep, report: Callable[[str], None]) -> None:
    api.set_day_and_faults(str(step.day), step.faults)
    state = composition.run_deployment("ingest/daily", day=str(step.day))
    report(f"{step.day}  {step.title}: {state}")
    composition.wait_until_idle()
    if step.follow_up and step.follow_up.flow == "retrain":
        report(f"            {step.follow_up.title}: {composition.run_deployment('retrain/weekly-training')}")
        composition.wait_until_idle()


def _check_published(composition: Composition, report: Callable[[str], None]) -> None:
    """Compare the first and the last published model, and read a list from the serving API. Raises DemoError."""
    models = composition.query(_MODELS)
    # Events publish recommendations after each day; the demo does so after the first day and after the training.
    check_models([*models[:1], *models[-1:]])
    report(f"published models: {', '.join(models)}")
    (user,) = composition.query(_USERS)
    created = ("python", "-m", "serving.keys", "create", "--name", "demo", "--scope", "recommendations:read")
    key = composition.compose("run", "--rm", "--no-deps", "--no-TTY", "migrate", *created).split()[-1]
    url = f"http://127.0.0.1:8080/v1/users/{user}/recommendations"
    response = requests.get(url, headers={"Authorization": f"Bearer {key}"}, timeout=30)
    response.raise_for_status()
    tracks = response.json()["recommendations"]
    if not tracks:
        raise DemoError(f"the serving API has no recommendations for user {user}")
    report(f"the serving API recommends {len(tracks)} tracks to a user")


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Run, and stop the containers. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo.composition", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the containers running at the end")
    options = parser.parse_args(arguments)
    composition = Composition(shlex.split(os.environ.get("DOCKER", "docker")))
    try:
        composition.compose("down", "--volumes", check=False)  # an earlier call may have been killed
        run(composition, build=os.environ.get("IMAGES") != "built")
    finally:
        if not options.keep:
            composition.compose("down", "--volumes", "--timeout", "20", check=False)
    print("Every result is as expected.", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
