"""Call a flow from a command line: load the settings, print errors as one line, return an exit code."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from typing import Any

import httpx
from prefect import Flow, tags
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from core.errors import MoovitamixError
from core.exit_codes import FAILED, exit_code_and_message
from core.prefect_names import RUN_TAG
from core.settings import Settings, load_settings
from core.temporary_files import keep_temporary_files_in
from core.terminal import prepare_terminal
from expectations.thresholds import load_thresholds
from flows.auditors import start_auditor_import
from flows.failures import notify_not_started, notify_server_unavailable
from flows.json_results import json_document
from flows.run import IngestIncomplete
from flows.temporary_prefect_server import ensure_prefect_api, server_unavailable_message

_BUSY_AT_EXIT = ("EventsWorker", "APILogWorker")


def _ensure_prefect_api(flow: str, settings: Settings, audits: bool) -> None:
    try:
        ensure_prefect_api(settings.data_dir, start_auditor_import if audits else _do_nothing)
    except MoovitamixError as error:
        notify_not_started(flow, error)
        raise


def _do_nothing() -> None:
    pass


def run_command(
    command: Callable[..., Any],
    *,
    name: str,
    as_json: bool = False,
    result_name: str | None = None,
    check_settings: Callable[[Settings], None] = lambda settings: None,
    audits: bool = False,
    **parameters: Any,
) -> int:
    """Call a flow, or a function in its place, from a command line. Return the exit code. Never raises.

    Exit codes are 0, 1 (blocked or failed), 2 (settings or usage) and 130 (Ctrl-C). An error is one line on stderr.
    A command that `audits` imports Great Expectations while a temporary Prefect server starts.
    With `as_json`, stdout holds one JSON document; `result_name` is the key of a result that is a value or a list.
    """
    prepare_terminal()
    result, error = None, None
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        try:
            code, result = 0, _call(command, name, check_settings, audits, parameters)
        except BaseException as caught:
            code, error = _exit_code_and_message(caught)
            result = caught.batches if isinstance(caught, IngestIncomplete) else None
            print(error, file=sys.stderr)
    if as_json:
        if result is not None and result_name is not None:
            result = {result_name: result}
        print(json_document(name, exit_code=code, error=error, result=result), flush=True)
    return code


def _call(
    command: Callable[..., Any],
    name: str,
    check_settings: Callable[[Settings], None],
    audits: bool,
    parameters: dict[str, Any],
) -> Any:
    settings = load_settings()
    check_settings(settings)
    keep_temporary_files_in(settings.data_dir)
    load_thresholds()
    for logger in _BUSY_AT_EXIT:  # on a busy machine they log warnings about a run that has already ended
        logging.getLogger(logger).setLevel(logging.ERROR)
    if isinstance(command, Flow):
        _ensure_prefect_api(name, settings, audits)
    # `handle_failures` sends the heartbeats: ending Prefect's own thread for them takes up to a second.
    without_heartbeats = temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None})
    with without_heartbeats, tags(RUN_TAG):  # the watchdog finds killed runs by this tag
        return command(**parameters)


def _exit_code_and_message(error: BaseException) -> tuple[int, str]:
    """Return the exit code and the line for the user. Notify if Prefect's server does not answer."""
    is_named = isinstance(error, MoovitamixError)
    if not is_named and ("Failed to reach API" in str(error) or isinstance(error, httpx.TransportError)):
        notify_server_unavailable()
        return FAILED, f"error: {server_unavailable_message()}"
    return exit_code_and_message(error)
