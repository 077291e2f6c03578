"""Start runs of deployments through Prefect's API, and find the page of a run. The worker's role does the work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import requests

from core.errors import MoovitamixError
from core.prefect_client import PrefectClient
from core.settings import Settings

_TRIES, _SECONDS = 2, 5.0
_START_TOLERANCE = timedelta(minutes=5)
_CHECK = "check that it runs (make status), and send the form again: it starts one run only"
Answer = TypeVar("Answer")


class RunRefused(MoovitamixError):
    """Prefect started no run: it rejects the request, or does not know the deployment."""


class PrefectUnanswered(MoovitamixError):
    """Prefect gave no answer, or failed: the run may have started. Asking again with the same key starts one run."""


@dataclass(frozen=True)
class StartedRun:
    """A run that Prefect accepted."""

    flow_run_id: str
    name: str


class DeploymentRuns:
    """A client of one Prefect server. Without CONSOLE_PREFECT_API_URL it starts nothing."""

    def __init__(self, settings: Settings) -> None:
        self._api_url = settings.console_prefect_api_url
        self._login = settings.console_prefect_login.get_secret_value()

    @property
    def is_configured(self) -> bool:
        """Whether a server is set."""
        return bool(self._api_url)

    async def start(self, deployment: str, parameters: Mapping[str, Any], key: str) -> StartedRun:
        """Start a run of `flow/deployment`. The same `key` again returns the same run.

        Raises RunRefused, PrefectUnanswered.
        """
        flow, _, name = deployment.partition("/")

        def ask(client: PrefectClient) -> StartedRun:
            found = client.ask("GET", f"deployments/name/{flow}/{name}")
            content = {"parameters": dict(parameters), "idempotency_key": key, "tags": ["console"]}
            run = client.ask("POST", f"deployments/{found['id']}/create_flow_run", content)
            return StartedRun(str(run["id"]), str(run["name"]))

        try:
            return await self._in_thread(ask)
        except requests.HTTPError as error:
            status = error.response.status_code
            if status == requests.codes.not_found:
                raise RunRefused(f"{deployment} is not deployed; run make up, or python -m services.deploy") from error
            if status < requests.codes.server_error:
                raise RunRefused(f"Prefect refused the run of {deployment} (HTTP {status})") from error
            raise PrefectUnanswered(f"Prefect failed (HTTP {status}); {_CHECK}") from error
        except (requests.RequestException, KeyError, TypeError) as error:
            raise PrefectUnanswered(f"Prefect does not answer; {_CHECK}") from error

    async def find(self, flow: str, started_at: datetime) -> str | None:
        """The id of the run that started at most five minutes before a time; None if Prefect has none, or is down."""

        def ask(client: PrefectClient) -> str | None:
            after, before = started_at - _START_TOLERANCE, started_at + timedelta(seconds=1)
            content = {
                "flows": {"name": {"any_": [flow]}},
                "flow_runs": {"start_time": {"after_": after.isoformat(), "before_": before.isoformat()}},
                "sort": "START_TIME_DESC",
                "limit": 1,
            }
            runs = client.ask("POST", "flow_runs/filter", content)
            return str(runs[0]["id"]) if runs else None

        try:
            return await self._in_thread(ask)
        except (requests.RequestException, KeyError, TypeError):
            return None

    async def _in_thread(self, ask: Callable[[PrefectClient], Answer]) -> Answer:
        client = PrefectClient(self._api_url, self._login, tries=_TRIES, seconds=_SECONDS)
        return await asyncio.to_thread(ask, client)
