"""Data Docs: atomic files, a complete index, and pages that need no network."""

from __future__ import annotations

import errno
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from core.audits import ExpectationResult
from core.errors import DiskFull
from core.file_store import FolderStore
from expectations.data_docs import AuditSummary, docs_page, mark_accepted, prune_docs, write_page
from expectations.gx import ExpectationSuiteValidationResult


def publish_page(docs_dir: Path, day: int, *results: ExpectationResult, hour: int = 6, name: str = "users") -> str:
    batch_id = f"{name}-2026-11-{day:02d}"
    audited_at = datetime(2026, 11, day, hour, 30, tzinfo=UTC)
    validation = ExpectationSuiteValidationResult(
        success=True,
        results=[],
        suite_name="users",
        statistics={
            "evaluated_expectations": 0,
            "successful_expectations": 0,
            "unsuccessful_expectations": 0,
            "success_percent": 100.0,
        },
        meta={"run_id": {"run_name": batch_id, "run_time": audited_at.isoformat()}},
    )
    summary = AuditSummary.from_results(batch_id, "users", date(2026, 11, day), audited_at, results)
    write_page(FolderStore(docs_dir), summary, validation)
    return batch_id


def failed(severity: str, description: str, keys: int = 0) -> ExpectationResult:
    row_keys = tuple(str(number) for number in range(1, keys + 1))
    return ExpectationResult("a_rule", None, severity, False, keys, None, None, description, row_keys)  # type: ignore[arg-type]


def test_the_page_shows_status_failures_and_first_keys(tmp_path: Path) -> None:
    batch_id = publish_page(tmp_path, 22, failed("critical", "an id < 0 & odd", keys=30), failed("warning", "meh"))
    page = (tmp_path / docs_page(batch_id)).read_text()
    assert '<span class="status blocked">blocked</span>' in page
    text = " ".join(page.split())
    assert "audited 2026-11-22 06:30 UTC: 2 expectations, 1 blocking, 1 warning." in text
    assert "an id &lt; 0 &amp; odd" in page
    assert "id: 1, 2, 3," in page
    assert "19, 20, and more" in page
    assert " 21" not in page.split("and more")[0].split("id: 1,")[1]


def test_failure_links_to_its_history_in_the_console(tmp_path: Path) -> None:
    result = ExpectationResult("id_is_unique", "id", "critical", False, 1, None, None, "an id comes once")
    summary = AuditSummary.from_results(
        "users-2026-11-22", "users", date(2026, 11, 22), datetime(2026, 11, 22, 6, tzinfo=UTC), [result], "http://host"
    )
    assert [failure["history"] for failure in summary.blocking] == [
        "http://host/console/expectations/users/id_is_unique?column=id"
    ]


def test_pages_need_no_network(tmp_path: Path) -> None:
    batch_id = publish_page(tmp_path, 22)
    for path in (tmp_path / "index.html", tmp_path / docs_page(batch_id)):
        text = path.read_text()
        assert "http://" not in text
        assert "https://" not in text
        assert "<script" not in text
        assert "--ink:" in text


def test_index_lists_every_batch_newest_day_first(tmp_path: Path) -> None:
    publish_page(tmp_path, 20, failed("critical", "rejected share 4.2 % is above 1 %"))
    publish_page(tmp_path, 22)
    publish_page(tmp_path, 21, failed("warning", "meh"))
    index = (tmp_path / "index.html").read_text()
    order = [index.index(f"validations/users-2026-11-{day}.html") for day in (22, 21, 20)]
    assert order == sorted(order)
    assert [index.count(f">{status}<") for status in ("passed", "warned", "blocked")] == [1, 1, 1]
    assert "rejected share 4.2 % is above 1 %" in index


def test_a_second_audit_of_a_batch_replaces_the_first(tmp_path: Path) -> None:
    publish_page(tmp_path, 22, failed("critical", "broken"))
    publish_page(tmp_path, 22, hour=7)
    index = (tmp_path / "index.html").read_text()
    assert index.count("validations/users-2026-11-22.html") == 1
    assert ">blocked<" not in index


@pytest.mark.parametrize("limit", [date(2026, 11, 21), datetime(2026, 11, 21, tzinfo=UTC), datetime(2026, 11, 21)])
def test_prune_removes_audits_before_the_limit(tmp_path: Path, limit: date) -> None:
    for day in (19, 20, 21):
        publish_page(tmp_path, day)
    assert prune_docs(FolderStore(tmp_path), limit) == 2
    assert prune_docs(FolderStore(tmp_path), limit) == 0
    names = sorted(path.name for path in tmp_path.rglob("users-*"))
    assert names == ["users-2026-11-21.html", "users-2026-11-21.json", "users-2026-11-21.json"]
    assert (tmp_path / "index.html").read_text().count("validations/") == 1


def test_prune_on_a_full_disk_says_what_it_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in (19, 20, 21):
        publish_page(tmp_path, day)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DiskFull, match=r"^2 pages of Data Docs were deleted"):
        prune_docs(FolderStore(tmp_path), date(2026, 11, 21))
    assert len(list((tmp_path / "validations").iterdir())) == 1
    assert list(tmp_path.glob(".tmp-*")) == []
    assert prune_docs(FolderStore(tmp_path), date(2026, 11, 21)) == 0  # nothing to delete: nothing is written


def test_prune_before_the_first_audit_deletes_nothing(tmp_path: Path) -> None:
    assert prune_docs(FolderStore(tmp_path / "none"), date(2026, 11, 21)) == 0


def test_unfinished_files_and_summaries_of_other_versions_are_ignored(tmp_path: Path) -> None:
    """A process that is killed while it writes leaves an unfinished file."""
    publish_page(tmp_path, 21)
    (tmp_path / "validations" / ".tmp-killed").write_text("half a pa")
    (tmp_path / "runs" / "old.json").write_text('{"batch": "of another version"}')
    (tmp_path / "runs" / "cut.json").write_text('{"batch_id": "us')
    publish_page(tmp_path, 22)
    assert (tmp_path / "index.html").read_text().count("validations/") == 2
    prune_docs(FolderStore(tmp_path), date(2100, 1, 1))
    assert not list(tmp_path.rglob(".tmp-*"))


@pytest.mark.parametrize(
    ("result", "texts"),
    [
        (None, ["Nothing to do."]),
        (failed("critical", "too few"), ["moovitamix replay users-2026-11-22<", "--accept WHY --by TICKET<"]),
        (failed("warning", "meh"), ["Look at the rows"]),
        (replace(failed("warning", "meh"), expectation="rows", column="rows"), ["confirm users-2026-11-22 rows --why"]),
    ],
)
def test_page_says_what_to_do_next(result: ExpectationResult | None, texts: list[str], tmp_path: Path) -> None:
    page = (tmp_path / docs_page(publish_page(tmp_path, 22, *([result] if result else [])))).read_text()
    assert all(text in page for text in texts)
    assert "Run Info" not in page
    assert ("moovitamix" in page) == (texts[0] not in ("Nothing to do.", "Look at the rows"))


def test_accepted_page_asks_for_nothing(tmp_path: Path) -> None:
    batch_id = publish_page(tmp_path, 22, failed("critical", "too few"))
    mark_accepted(FolderStore(tmp_path), batch_id, "accepted by ticket 1")
    page = (tmp_path / docs_page(batch_id)).read_text()
    assert "moovitamix replay" not in page
    assert "Nothing to do." in page
