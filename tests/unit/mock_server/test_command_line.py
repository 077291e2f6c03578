"""Command-line options of the mock API: parsing, and exit code 2 with a message for invalid options."""

import datetime as dt

import pytest

from mock_server.command_line import read_options
from mock_server.scenarios import NO_SCENARIOS, as_json

TODAY = dt.date(2026, 11, 22)


def test_options_have_documented_defaults() -> None:
    options = read_options([], TODAY)
    assert (options.day, options.plan.base_day, options.port, options.token) == (TODAY, TODAY, 8000, None)
    assert options.plan.start == TODAY - dt.timedelta(days=548)
    assert (options.plan.users, options.plan.tracks, options.plan.sessions) == (1000, 1000, 1000)


def test_day_may_be_later_than_base_day() -> None:
    options = read_options(["--base-day", "2026-11-01", "--day", "2026-11-05"], TODAY)
    assert (options.plan.base_day, options.day) == (dt.date(2026, 11, 1), dt.date(2026, 11, 5))


def test_scenario_options_set_the_plan_and_default_to_none() -> None:
    shifts = ["--taste-shift", "2026-12-01=0.5", "--catalogue-shift", "2026-12-02=0.3", "--outage", "2026-12-03"]
    plan = read_options(shifts, TODAY).plan
    assert as_json(plan) == {
        "taste_shift": {"day": "2026-12-01", "share": 0.5},
        "catalogue_shift": {"day": "2026-12-02", "share": 0.3},
        "outage": {"day": "2026-12-03"},
    }
    assert as_json(read_options([], TODAY).plan) == NO_SCENARIOS


def test_fault_options_are_parsed_with_their_scope() -> None:
    arguments = ["error_share=0.1", "tracks/3:hang_share=1", 'users:bad_rows={"id_null": 2}', "schema_drift=mood"]
    options = read_options(["--fault-seed", "5", *(f"--fault={text}" for text in arguments)], TODAY)
    assert [group.as_json() for group in options.faults] == [
        {"seed": 5, "error_share": 0.1},
        {"seed": 5, "endpoint": "tracks", "page": 3, "hang_share": 1},
        {"seed": 5, "endpoint": "users", "bad_rows": {"id_null": 2}},
        {"seed": 5, "schema_drift": "mood"},
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--users", "0"],
        ["--sessions", "many"],
        ["--port", "70000"],
        ["--day", "22.11.2026"],
        ["--start", "2027-01-01"],
        ["--growth", "2"],
        ["--taste-shift", "0.5"],
        ["--taste-shift", "2026-11-21=0.5"],
        ["--catalogue-shift", "2026-11-21=0.5"],
        ["--catalogue-shift", "2026-11-22=1"],
        ["--catalogue-shift", "2026-11-22"],
        ["--outage", "afternoon"],
        ["--outage", "2020-01-01"],
        ["--fault", "error_share"],
        ["--fault", "error_share=2"],
        ["--fault", "no_such_fault=1"],
        ["--fault", "somewhere:error_share=1"],
        ["--fault", "tracks/one:error_share=1"],
        ["--fault", 'bad_rows={"no_such_kind": 1}'],
        ["--fault", 'tracks:bad_rows={"items_null": 1}'],
        ["--fault", 'tracks:bad_rows={"field_null:no_such_field": 1}'],
        ["--fault", 'tracks:bad_rows={"date_utc:name": 1}'],
        ["--fault", "status=200"],
        ["--fault", "moving=0"],
        ["--unknown"],
    ],
)
def test_invalid_options_end_with_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        read_options(arguments, TODAY)
    assert exit_info.value.code == 2
    assert "error: " in capsys.readouterr().err
