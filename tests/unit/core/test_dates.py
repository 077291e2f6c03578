"""Days and times: only the documented format is accepted, although a library would accept others."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema

from core.dates import parse_day, parse_time
from flows.ingest import ingest, main
from flows.retrain import main as retrain

INVALID_DAYS = [
    "20261122", "2026-W47-7", "2026-326", "2026-11-31", "2026-1-2", " 2026-11-22", "2026-11-22\n", "26-11-22", "",
    "2026-11-22T00:00", "\u0662\u0660\u0662\u0666-11-22", "+2026-11-22", "1795305600", "0000-01-01",
]  # fmt: skip
INVALID_TIMES = [
    "20261122T0300", "2026-11-22T03", "2026-11-22 03:00", "2026-W47-7T03:00", "2026-11-22T24:00", "2026-11-22T03:00:60",
    "2026-11-22T03:00z", "2026-11-22T03:00:00,5", "2026-11-22T03:00+01", "2026-11-22T03:00:00.1234567",
]  # fmt: skip


def test_only_the_documented_format_of_a_day_is_accepted() -> None:
    assert parse_day("2026-11-22") == date(2026, 11, 22)
    for text in INVALID_DAYS:
        with pytest.raises(ValueError, match=r"."):
            parse_day(text)


def test_only_the_documented_format_of_a_time_is_accepted() -> None:
    assert parse_time("2026-11-22") == datetime(2026, 11, 22)
    assert parse_time("2026-11-22T03:00") == datetime(2026, 11, 22, 3)
    assert parse_time("2026-11-22T03:00:05.25Z") == datetime(2026, 11, 22, 3, 0, 5, 250_000, UTC)
    for text in [*INVALID_TIMES, *(text for text in INVALID_DAYS if text != "2026-11-22T00:00")]:
        with pytest.raises(ValueError, match=r"."):
            parse_time(text)


@pytest.mark.parametrize("text", ["20261122", "2026-W47-7", "2026-11-31"])
def test_commands_refuse_other_formats(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command, argument, form in ((main, "--day", "YYYY-MM-DD"), (retrain, "--as-of", "YYYY-MM-DD[THH:MM]")):
        with pytest.raises(SystemExit) as exit_info:
            command([argument, text])
        assert exit_info.value.code == 2
        assert f"of the form {form}" in capsys.readouterr().err


def test_a_deployed_flow_accepts_a_day_and_refuses_a_number() -> None:
    assert ingest.validate_parameters({"day": "2026-11-22"})["day"] == date(2026, 11, 22)
    assert ingest.validate_parameters({"day": date(2026, 11, 22)})["day"] == date(2026, 11, 22)
    assert ingest.validate_parameters({"day": None})["day"] is None
    for value in (20261122, "20261122", 1795305600, "2026-11-22T00:00:00", datetime(2026, 11, 22)):
        with pytest.raises(ParameterTypeError, match=r"YYYY-MM-DD"):
            ingest.validate_parameters({"day": value})
    (day, _) = parameter_schema(ingest.fn).properties["day"]["anyOf"]
    assert (day["type"], day["format"]) == ("string", "date")
