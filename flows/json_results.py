"""The result of a flow as one JSON document, for `python -m flows.<name> --json`."""

from __future__ import annotations

import json
import math
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import date
from typing import Any

import numpy as np

from core.audits import ExpectationResult
from flows.run import BatchResult


def add_json_option(parser: ArgumentParser) -> None:
    """Add `--json` to the options of a flow's command."""
    parser.add_argument(
        "--json", action="store_true", help="print the result as one JSON document; everything else goes to stderr"
    )


def json_document(flow: str, *, exit_code: int, error: str | None, result: Any) -> str:
    """Return the document that a command prints.

    `result` is what the flow returned, or the batches of an incomplete ingest. It is null if the flow raised an error.
    """
    document = {
        "flow": flow,
        "succeeded": exit_code == 0,
        "exit_code": exit_code,
        "error": error,
        "result": to_json(result),
    }
    return json.dumps(document, indent=2, allow_nan=False)


def to_json(value: Any) -> Any:
    """Convert dataclasses, dates and numpy values to types of JSON. NaN and infinities become null."""
    if isinstance(value, BatchResult):
        return _batch(value)
    if isinstance(value, ExpectationResult):
        return _expectation(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): to_json(item) for name, item in value.items()}
    if isinstance(value, np.generic):
        return to_json(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Sequence | set | frozenset):
        return [to_json(item) for item in value]
    return str(value)


def _batch(result: BatchResult) -> dict[str, Any]:
    return {
        "batch_id": result.batch.batch_id,
        "endpoint": result.batch.endpoint,
        "day": result.batch.day.isoformat(),
        "revision": result.batch.revision,
        "status": result.status,
        "published_earlier": result.published_earlier,
        "reason": result.reason,
        "counts": to_json(result.counts),
        "failed_expectations": [_expectation(expectation) for expectation in result.results if not expectation.success],
    }


def _expectation(result: ExpectationResult) -> dict[str, Any]:
    """Omit the failing keys, because they can be ids of users."""
    names = ("expectation", "column", "severity", "success", "unexpected_count", "unexpected_share", "observed_value")
    return {name: to_json(getattr(result, name)) for name in (*names, "description")}
