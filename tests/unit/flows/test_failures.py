"""The final state of a failed run, and its notifications: one for each cause."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from core.audits import ExpectationResult
from core.database import readable_errors
from core.endpoints import Endpoint
from core.errors import (
    BatchBlocked,
    DatabaseError,
    DatabaseFull,
    DatabaseUnavailable,
    DiskFull,
    LandingError,
    LoginRefused,
    MoovitamixError,
    ReplayRefused,
    SettingsError,
    StreamAuditFailed,
    UnknownBatch,
    UnusablePublication,
    UsageError,
    named_errors,
)
from core.settings import Settings
from flows import failures
from flows.erase import erase
from flows.failure_classification import RunFailure, classify_failure
from flows.ingest import ingest
from flows.maintain import maintain
from flows.replay import replay
from flows.rollback import rollback
from flows.run import BatchResult, IngestIncomplete
from notifications import health_checks
from notifications.health_checks import FreeSpace
from notifications.incidents import IncidentStore
from notifications.links import links_of_batch
from notifications.notification import Notification
from pipeline.batches import Batch, Counts, Status

FAILED = 'connection failed: connection to server at "h", port 5432 failed: FATAL:'
NOW = datetime(2026, 11, 22, 4, tzinfo=UTC)


def unpublished(endpoint: Endpoint, status: Status, reason: str = "why", cause: str = "") -> BatchResult:
    return BatchResult(Batch(endpoint, date(2026, 11, 22), "http://x"), status, Counts(), reason=reason, cause=cause)


def keys(notifications: tuple[Notification, ...]) -> list[str]:
    return [notification.key for notification in notifications]


def test_waiting_batch_is_part_of_the_notification_of_the_blocked_batch() -> None:
    error = IngestIncomplete([unpublished("tracks", "blocked"), unpublished("listen_history", "blocked")])
    failure = classify_failure("ingest-2026-11-22", error, NOW)
    assert (failure.name, failure.failure) == ("Blocked", None)
    assert keys(failure.blocked) == ["batch-blocked:tracks-2026-11-22"]
    assert "listen_history-2026-11-22 waits for it" in failure.blocked[0].body


def test_two_blocked_batches_are_two_notifications() -> None:
    error = IngestIncomplete(
        [unpublished("tracks", "blocked"), unpublished("users", "blocked"), unpublished("listen_history", "blocked")]
    )
    assert keys(classify_failure("run", error, NOW).blocked) == [
        "batch-blocked:tracks-2026-11-22",
        "batch-blocked:users-2026-11-22",
    ]


def test_blocked_sessions_send_one_notification() -> None:
    failure = classify_failure("run", IngestIncomplete([unpublished("listen_history", "blocked")]), NOW)
    assert keys(failure.blocked) == ["batch-blocked:listen_history-2026-11-22"]


def test_common_reason_of_failed_batches_is_listed_once() -> None:
    error = IngestIncomplete([unpublished("tracks", "failed", "HTTP 401"), unpublished("users", "failed", "HTTP 401")])
    failure = classify_failure("ingest-2026-11-22", error, NOW)
    assert failure.name == "Failed"
    assert failure.failure is not None
    assert failure.message == failure.failure.body
    assert failure.message.count("HTTP 401") == 1
    assert "Next:   docs/operations.md#a-batch-failed" in failure.message


def test_failed_and_blocked_batches_have_separate_notifications() -> None:
    failure = classify_failure(
        "run", IngestIncomplete([unpublished("tracks", "blocked", "too few"), unpublished("users", "failed")]), NOW
    )
    assert failure.name == "Failed"
    assert keys(failure.blocked) == ["batch-blocked:tracks-2026-11-22"]
    assert "too few" not in failure.message


@pytest.mark.parametrize("cause", ["disk", "database"])
def test_unavailable_dependency_is_the_only_cause(cause: str) -> None:
    failure = classify_failure("run", IngestIncomplete([unpublished("tracks", "failed", "no room", cause)]), NOW)
    assert (failure.name, failure.cause, failure.blocked, failure.failure) == ("DependencyUnavailable", cause, (), None)


@pytest.mark.parametrize("kind", [UsageError, UnknownBatch, UnusablePublication, ReplayRefused])
def test_refused_request_sends_no_notification(kind: type[MoovitamixError]) -> None:
    failure = classify_failure("replay-x", kind("x is not in ops.batches"), NOW)
    assert failure == RunFailure("Refused", "x is not in ops.batches")


def test_wrong_setting_is_a_failed_run() -> None:
    assert classify_failure("ingest", SettingsError("wrong setting: PAGE_SIZE"), NOW).failure is not None


@pytest.mark.parametrize(
    ("flow", "parameters", "message"),
    [
        (ingest, {"day": "soon"}, "day: "),
        (ingest, {"endpoints": ["trakcs"]}, "endpoints.0: "),
        (rollback, {"publication_id": 0}, "publication_id: "),
        (replay, {}, "batch_id: "),
        (maintain, {"retention_days": 0}, "retention_days: "),
        (erase, {"user_id": "ada@example.org", "reason": "r", "requested_by": "t"}, "user_id: "),
    ],
)
def test_parameter_of_wrong_type_is_a_usage_error(flow: Any, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"^wrong parameter: {message}") as caught:
        flow.fn(**parameters)
    assert "ada@" not in str(caught.value)


def test_blocked_recommendations_are_one_notification() -> None:
    error = BatchBlocked("recommendations-7", ["covers 0.5 % of the catalogue"], list[ExpectationResult]())
    failure = classify_failure("recommend", error, NOW)
    assert failure.name == "Blocked"
    assert keys(failure.blocked) == ["batch-blocked:recommendations-7"]


def test_failed_audit_of_the_stream_is_one_notification_per_table_and_cause() -> None:
    results = [
        ExpectationResult(
            "track_is_unique", None, "critical", False, 2, 0.1, "2 rows", "not true of 2 rows", ("7", "8")
        ),
        ExpectationResult("lists_are_few", None, "warning", False, None, None, None, "odd"),
    ]
    audits = [
        BatchBlocked("fresh_recommendations-2026-11-22T15-20", ["not true of 2 rows"], results),
        BatchBlocked("streamed_sessions-2026-11-22T15-20", ["x"], results),
    ]
    failure = classify_failure("audit_stream", StreamAuditFailed(audits, 2), NOW)
    assert (failure.name, failure.blocked, failure.failure) == ("Blocked", (), None)
    assert failure.message == (
        "fresh_recommendations-2026-11-22T15-20 failed: not true of 2 rows; "
        "streamed_sessions-2026-11-22T15-20 failed: x"
    )
    assert keys(failure.failed_audits) == [
        "stream-audit:fresh_recommendations:track_is_unique",
        "stream-audit:streamed_sessions:track_is_unique",
    ]
    lists, sessions = failure.failed_audits
    assert "2 failed lists were deleted" in lists.body
    assert "deleted" not in sessions.body


@pytest.mark.parametrize(
    ("raised", "kind", "cause"),
    [
        (OSError(28, "No space left on device"), DiskFull, "disk"),
        (OSError(13, "Permission denied"), LandingError, ""),
    ],
)
def test_full_disk_differs_from_other_file_errors(raised: OSError, kind: type[MoovitamixError], cause: str) -> None:
    with pytest.raises(kind) as caught, named_errors():
        raise raised
    assert type(caught.value) is kind
    assert caught.value.cause == cause


@pytest.mark.parametrize(
    ("raised", "kind", "cause"),
    [
        (psycopg.OperationalError("connection refused"), DatabaseUnavailable, "database"),
        (psycopg.errors.AdminShutdown("terminating"), DatabaseUnavailable, "database"),
        (psycopg.OperationalError(f'{FAILED}  password authentication failed for user "x"'), LoginRefused, ""),
        (psycopg.OperationalError(f'{FAILED}  role "x" does not exist'), LoginRefused, ""),
        (psycopg.OperationalError(f'{FAILED}  database "x" does not exist'), LoginRefused, ""),
        (psycopg.OperationalError(f'{FAILED}  no pg_hba.conf entry for host "h", user "x"'), LoginRefused, ""),
        (psycopg.OperationalError("connection failed: fe_sendauth: no password supplied"), LoginRefused, ""),
        (psycopg.OperationalError(f"{FAILED}  the database system is starting up"), DatabaseUnavailable, "database"),
        (psycopg.OperationalError(f"{FAILED}  sorry, too many clients already"), DatabaseUnavailable, "database"),
        (
            psycopg.OperationalError(f"{FAILED}  could not write init file: No space left on device"),
            DatabaseFull,
            "disk",
        ),
        (psycopg.errors.QueryCanceled("statement timeout"), DatabaseError, ""),
        (psycopg.errors.InsufficientPrivilege("permission denied"), DatabaseError, ""),
    ],
)
def test_unavailable_database_differs_from_refused_statements(
    raised: psycopg.Error, kind: type[MoovitamixError], cause: str
) -> None:
    with pytest.raises(DatabaseError) as caught, readable_errors():
        raise raised
    assert type(caught.value) is kind
    assert caught.value.cause == cause


def test_refused_login_is_a_failed_run_with_a_next_step() -> None:
    failure = classify_failure(
        "ingest-2026-11-22", LoginRefused('Postgres refuses the login: role "x" does not exist'), NOW
    )
    assert (failure.name, failure.cause) == ("Failed", "")
    assert "Next:   docs/operations.md#the-database-refuses-a-login" in failure.message


DISK_UNAVAILABLE = RunFailure("DependencyUnavailable", "no room", cause="disk")


@pytest.fixture
def sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Subjects sent by a run without a server, on a disk with space."""
    subjects: list[str] = []

    def send(_: object, subject: str, body: str) -> bool:
        subjects.append(subject.removeprefix("[MoovitaMix] "))
        return True

    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DATABASE_URL", "")
    monkeypatch.setenv("ALERT_URLS", "mailto://user:pass@127.0.0.1:9")
    monkeypatch.setattr(failures, "send", send)
    monkeypatch.setattr(health_checks, "disk", lambda _: FreeSpace(50 << 30, 100 << 30))
    return subjects


def test_run_fails_if_nobody_would_be_notified_of_its_cause(
    sent: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ALERT_URLS", "")
    failure = failures._send_notifications(DISK_UNAVAILABLE)
    assert failure.name == "Failed"
    assert "Next:   docs/operations.md#the-disk-is-full" in failure.message
    with IncidentStore(tmp_path, [], lambda *_: True, lambda: NOW).watchdog_lock():
        assert failures._send_notifications(DISK_UNAVAILABLE).name == "DependencyUnavailable"
        assert [entry["key"] for entry in IncidentStore(tmp_path, [], lambda *_: True, lambda: NOW).state().open] == [
            "disk"
        ]


def test_run_sends_notifications_that_the_watchdog_cannot_read(
    sent: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with IncidentStore(tmp_path, [], lambda *_: True, lambda: NOW).watchdog_lock():
        assert failures._send_notifications(DISK_UNAVAILABLE).name == "DependencyUnavailable"
        assert sent == []  # left to the watchdog
        monkeypatch.setattr("notifications.files.write_atomically", full)
        failures.send_now(Notification("x", "critical", "tracks is blocked", NOW, "all", "replay"))
        assert "tracks is blocked" in sent
        monkeypatch.setenv("ALERT_URLS", "")
        assert (
            failures._send_notifications(RunFailure("DependencyUnavailable", "away", cause="database")).name == "Failed"
        )


def test_full_disk_is_the_cause_of_a_stopped_embedded_database(
    sent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_checks, "disk", lambda _: FreeSpace(1 << 20, 100 << 30))
    for _ in range(2):
        failures._send_notifications(RunFailure("DependencyUnavailable", "no connection", cause="database"))
    assert sent == ["the disk of DATA_DIR is full or almost full"]


def test_notification_of_a_blocked_batch_links_to_its_pages() -> None:
    urls = {"prefect_ui_url": "http://p/", "data_docs_web_url": "http://d", "serving_public_url": "http://s"}
    settings = Settings(_env_file=None, **urls)
    assert links_of_batch(settings, "tracks-2026-11-22-r2", "4f") == {
        "Run": "http://p/runs/flow-run/4f",
        "Audit": "http://d/validations/tracks-2026-11-22-r2.html",
        "Batch": "http://s/console/batches/tracks-2026-11-22-r2",
    }
    assert links_of_batch(Settings(_env_file=None), "tracks-2026-11-22", None) == {}
