"""Applies the work pools, `prefect.yaml` and `automations.yaml` to a Prefect server. It can be repeated.

`PREFECT_API_URL` is the server, `PREFECT_API_AUTH_STRING` its login (user:password), if it has one. With --smoke, an
ingest runs afterwards. Exit code 0: done; 1: the server does not answer or refuses, or the ingest does not complete; 2:
wrong usage.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import requests
import yaml

from core.errors import MoovitamixError, SettingsError
from core.exit_codes import returns_exit_code, run_main
from core.prefect_client import PrefectClient
from core.prefect_names import RUN_TAG, SECONDS_TO_START, WORK_POOLS
from core.settings import load_settings
from notifications.health_checks import page_problem
from services import automations
from services.local_services import ROOT

SMOKE = "ingest/daily"
_SECONDS_TO_SMOKE = 1800
_TIMEOUT = 10.0


class DeploymentError(MoovitamixError):
    """The deployments or automations could not be applied."""


class SmokeTestError(MoovitamixError):
    """The deployments are applied, but the ingest did not complete."""


def deploy(
    api_url: str,
    only: Sequence[str] = (),
    code_at: str | None = None,
    login: str = "",
    job_templates: Path | None = None,
) -> None:
    """Wait for the server, then apply all deployments, or those named `flow/deployment`. Raises DeploymentError.

    `code_at` is the folder of the code on the worker's machine, by default this one. `login` is user:password.
    `job_templates` is a folder with the Kubernetes job of each work pool, as `<pool>.yaml`; without it, workers run
    flows as processes.
    """
    wait_until_reachable(f"{api_url}/health", SECONDS_TO_START)
    for pool in WORK_POOLS:
        _ensure_work_pool(api_url, login, pool, job_templates)
    selection = [word for name in only for word in ("--name", name)] or ["--all"]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "prefect.yaml"
        file.write_text(yaml.safe_dump(_deployments(code_at)))
        code = _prefect(api_url, login, "deploy", "--prefect-file", str(file), *selection)
    if code:
        raise DeploymentError(f"prefect deploy failed with exit code {code}")
    if not only:
        _delete_renamed_deployments(api_url, login)
    _apply_automations(api_url, login)


def _delete_renamed_deployments(api_url: str, login: str) -> None:
    """Delete our deployments that `prefect.yaml` no longer names, with their triggers: their schedules would still run.

    Raises DeploymentError.
    """
    declared = {
        (entry["entrypoint"].rpartition(":")[2], entry["name"])
        for entry in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    }
    server = PrefectClient(api_url, login)
    try:
        flow_names = {flow["id"]: flow["name"] for flow in server.ask("POST", "flows/filter", {})}
        tag_filter = {"deployments": {"tags": {"all_": [RUN_TAG]}}}
        for deployment in server.ask("POST", "deployments/filter", tag_filter):
            name = (flow_names.get(deployment["flow_id"], ""), deployment["name"])
            if name in declared or name[0] not in {flow for flow, _ in declared}:
                continue
            server.ask("DELETE", f"automations/owned-by/prefect.deployment.{deployment['id']}")
            server.ask("DELETE", f"deployments/{deployment['id']}")
            print(f"deployment {'/'.join(name)} is deleted: prefect.yaml has another name for it", flush=True)
    except requests.RequestException as error:
        reason = f"HTTP {error.response.status_code}" if error.response is not None else type(error).__name__
        raise DeploymentError(f"old deployments could not be deleted: {reason}") from error


def _apply_automations(api_url: str, login: str) -> None:
    """Apply the automations and the addresses of notifications. Raises DeploymentError, which contains no address."""
    try:
        print(automations.apply_automations(load_settings(), api_url, login).summary(), flush=True)
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else "error"
        raise DeploymentError(f"the automations were not applied: HTTP {status}") from None
    except requests.RequestException as error:
        raise DeploymentError(f"the automations were not applied: {type(error).__name__}") from None
    except SettingsError as error:
        raise DeploymentError(f"the automations were not applied: {error}") from None


def run_smoke_test(api_url: str, login: str = "", seconds: int = _SECONDS_TO_SMOKE) -> None:
    """Run today's ingest on the worker, and wait until it completes. Raises SmokeTestError if it does not in time.

    It publishes today's snapshots like the nightly run. Repeating it changes nothing.
    """
    if _prefect(api_url, login, "deployment", "run", SMOKE, "--watch", "--watch-timeout", str(seconds)):
        raise SmokeTestError(f"the deployments are applied, but {SMOKE} did not complete within {seconds} s")


def _deployments(code_at: str | None) -> dict[str, Any]:
    """Return the content of `prefect.yaml`, with the folder of the code on the worker's machine."""
    content: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    folder = {"directory": code_at or str(ROOT.resolve())}
    return content | {"pull": [{"prefect.deployments.steps.set_working_directory": folder}]}


def _prefect(api_url: str, login: str, *words: str) -> int:
    """Run a Prefect command, and return its exit code."""
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_AUTH_STRING"}
    environment |= {"PREFECT_API_URL": api_url} | ({"PREFECT_API_AUTH_STRING": login} if login else {})
    command = [sys.executable, "-m", "prefect", "--no-prompt", *words]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def wait_until_reachable(url: str, seconds: float) -> None:
    """Wait until the URL answers with success. Raises DeploymentError after that many seconds."""
    deadline = time.monotonic() + seconds
    while not is_reachable(url):
        if time.monotonic() > deadline:
            raise DeploymentError(f"{url} did not answer within {seconds:g} s")
        time.sleep(0.5)


def is_reachable(url: str) -> bool:
    """Whether the URL answers with success."""
    return page_problem(url, _TIMEOUT) is None


def _ensure_work_pool(api_url: str, login: str, pool: str, job_templates: Path | None) -> None:
    """Create the work pool if it does not exist, and apply its Kubernetes job, if any. Raises DeploymentError.

    Without a Kubernetes job, the worker sets the template, and an existing pool does not change.
    """
    content: dict[str, Any] = {"name": pool, "type": "process"}
    content["description"] = "Runs flows as processes on the worker's machine."
    if job_templates is not None:
        content |= {"type": "kubernetes", "description": "Runs each flow as a Kubernetes job."}
        content["base_job_template"] = _job_template(job_templates / f"{pool}.yaml")
    server = PrefectClient(api_url, login)
    try:
        if not _create_work_pool(server, content) and job_templates is not None:
            pool_type = server.ask("GET", f"work_pools/{pool}")["type"]
            if pool_type != content["type"]:
                raise DeploymentError(
                    f"the work pool {pool} has the type {pool_type}, so it cannot run Kubernetes jobs; delete it with "
                    f"`prefect work-pool delete {pool}`, and deploy again"
                )
            server.ask("PATCH", f"work_pools/{pool}", {"base_job_template": content["base_job_template"]})
    except requests.HTTPError as error:
        status = error.response.status_code
        raise DeploymentError(f"the work pool {pool} could not be created: HTTP {status}") from error
    except requests.RequestException as error:
        reason = type(error).__name__
        raise DeploymentError(f"the work pool {pool} could not be created at {api_url}: {reason}") from error


def _create_work_pool(server: PrefectClient, content: dict[str, Any]) -> bool:
    """Create the work pool. Return whether it is new. Raises RequestException."""
    try:
        server.ask("POST", "work_pools/", content)
    except requests.HTTPError as error:
        if error.response.status_code != requests.codes.conflict:
            raise
        return False
    return True


def _job_template(file: Path) -> dict[str, Any]:
    """Read the Kubernetes job of a work pool. Raises DeploymentError."""
    try:
        template: dict[str, Any] = yaml.safe_load(file.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise DeploymentError(f"the Kubernetes job {file} cannot be read: {type(error).__name__}") from error
    return template


@returns_exit_code
def main() -> int:
    """Deploy to the server that PREFECT_API_URL names."""
    parser = argparse.ArgumentParser(prog="python -m services.deploy", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help=f"then run {SMOKE}, and fail unless it completes")
    parser.add_argument("--code-at", metavar="FOLDER", help="folder of the code for the worker (default: this folder)")
    parser.add_argument(
        "--job-templates", metavar="FOLDER", type=Path, help="run flows as Kubernetes jobs: folder of <work pool>.yaml"
    )
    options = parser.parse_args()
    api_url = os.environ.get("PREFECT_API_URL", "").rstrip("/")
    login = os.environ.get("PREFECT_API_AUTH_STRING", "")
    if not api_url:
        raise SettingsError("set PREFECT_API_URL, such as http://127.0.0.1:4200/api")
    deploy(api_url, code_at=options.code_at, login=login, job_templates=options.job_templates)
    if options.smoke:
        run_smoke_test(api_url, login)
    return 0


if __name__ == "__main__":
    sys.exit(run_main(main))
