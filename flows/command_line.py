"""A flow called from a command line: settings first, errors in one line, an exit code."""

from __future__ import annotations

import logging
import sys
from typing import Any

import httpx
from prefect import Flow, tags

from core.errors import MoovitamixError, SettingsError
from core.settings import Settings, load_settings
from core.temporary_files import keep_temporary_files_in
from core.terminal import prepare_terminal
from core.tracebacks import message_for_user
from expectations.thresholds import load_thresholds
from flows.failures import notify_not_started, notify_server_unavailable
from flows.temporary_prefect_server import RUN_TAG, ensure_prefect_api, server_does_not_answer

_BUSY_AT_EXIT = ("EventsWorker", "APILogWorker")


def _ensure_prefect_api(flow: str, settings: Settings) -> None:
    try:
        ensure_prefect_api(settings.data_dir)
    except MoovitamixError as error:
        notify_not_started(flow, error)
        raise


def run_command(command: Any, **parameters: Any) -> int:
    """Call a flow; an error with a name is one line. Exit 0, 1 (blocked, failed) or 2 (settings)."""
    prepare_terminal()
    try:
        settings = load_settings()
        keep_temporary_files_in(settings.data_dir)
        load_thresholds()
        for name in _BUSY_AT_EXIT:  # on a busy machine they would write that a run which has ended still ends
            logging.getLogger(name).setLevel(logging.ERROR)
        if isinstance(command, Flow):
            _ensure_prefect_api(command.name, settings)
        with tags(RUN_TAG):  # what becomes of a run that is killed is found by it
            command(**parameters)
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except MoovitamixError as error:
        print(f"error: {message_for_user(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; run it again to go on", file=sys.stderr)
        return 130
    except Exception as error:
        unreachable = "Failed to reach API" in str(error) or isinstance(error, httpx.TransportError)
        if unreachable:
            notify_server_unavailable()
        what = server_does_not_answer() if unreachable else message_for_user(error)
        print(f"error: {what}", file=sys.stderr)
        return 1
    return 0
