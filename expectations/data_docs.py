"""Writes Data Docs: one page per batch, and an index of all days. They need no network.

    index.html                      every stored audit, the newest day first
    validations/<batch id>.html     the page of one batch
    results/<batch id>.json         the complete validation result of Great Expectations
    runs/<batch id>.json            the summary of the batch in the index

Great Expectations renders the sections of a page. The frame is ours, because its own frame loads styles and scripts
from the internet. Its site builder is not used: it does not write atomically, so two runs could damage files, and it
reads every old result, so each audit would take longer. Here each file is written atomically. The index is built from
the small files in `runs`, under a lock. If a run is killed, the next audit adds its batch to the index.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any, Self

from core.atomic_files import delete_unfinished_files, write_atomically
from core.audits import ExpectationResult
from core.endpoints import Audited, audited_key, is_of_stream, is_personal
from core.errors import DiskFull, is_disk_full
from core.file_locks import FileLock, exclusive_lock
from expectations.gx import DefaultJinjaPageView, ValidationResultsPageRenderer

_TEMPLATES = Path(__file__).parent / "templates"
_KEYS_SHOWN = 20
# The format of the page template: names of key columns, a colon, and the keys of rows.
_SHOWN_KEYS = re.compile(r'(<div class="keys">[^:<]*: )([^<]*)(</div>)')
_FOLDERS = {"validations": ".html", "results": ".json", "runs": ".json"}


@dataclass(frozen=True)
class AuditSummary:
    """The summary of one audit, for the index and the head of the page.

    `day` and `audited_at` are ISO texts. `blocking` and `warnings` have the description, the rule and the first keys of
    each failure. `accepted` names the person who accepted the blocked batch, and the reason.
    """

    batch_id: str
    endpoint: Audited
    day: str
    audited_at: str
    rules: int
    blocking: list[dict[str, Any]]
    warnings: list[dict[str, Any]]
    accepted: str = ""

    @classmethod
    def from_results(
        cls, batch_id: str, endpoint: Audited, day: date, audited_at: datetime, results: Sequence[ExpectationResult]
    ) -> Self:
        """The summary of the results of one audit."""
        return cls(
            batch_id=batch_id,
            endpoint=endpoint,
            day=day.isoformat(),
            audited_at=audited_at.isoformat(),
            rules=len(results),
            blocking=[_failure(result) for result in results if result.blocks],
            warnings=[_failure(result) for result in results if not result.success and not result.blocks],
        )

    @property
    def status(self) -> str:
        """The text of the badge."""
        if self.accepted:
            return "accepted"
        if self.blocking:
            return "failed" if is_of_stream(self.endpoint) else "blocked"
        return "warned" if self.warnings else "passed"

    @property
    def blocking_heading(self) -> str:
        """The heading above the rules that block."""
        if is_of_stream(self.endpoint):
            return "Fails the audit"
        return "Failed, and was accepted" if self.accepted else "Blocks publication"

    @property
    def audited(self) -> str:
        """The time of the audit, as text."""
        return f"{datetime.fromisoformat(self.audited_at).astimezone(UTC):%Y-%m-%d %H:%M} UTC"

    @property
    def key_names(self) -> str:
        """The names of the key columns."""
        return ", ".join(audited_key(self.endpoint))


def _failure(result: ExpectationResult) -> dict[str, Any]:
    return {
        "rule": result.expectation,
        "says": result.description,
        "rows": list(result.failing_keys[:_KEYS_SHOWN]),
        "more": len(result.failing_keys) > _KEYS_SHOWN,
    }


class _BatchPage(DefaultJinjaPageView):
    """The page of one batch: Great Expectations' sections in a frame that needs no network."""

    _template = "batch.j2"


def docs_page(docs_dir: Path, batch_id: str) -> Path:
    """The path of the page of a batch."""
    return docs_dir / "validations" / f"{batch_id}.html"


def write_page(docs_dir: Path, summary: AuditSummary, validation: Any) -> Path:
    """Write the page of one batch, and add it to the index. An earlier audit of the batch is replaced.

    `validation` is an ExpectationSuiteValidationResult, whose methods carry no types.
    """
    renderer: Any = ValidationResultsPageRenderer(run_info_at_end=True)
    document = renderer.render(validation)
    # The first section is an overview with a link to a missing page. Our own head replaces it.
    document.sections = document.sections[1:]
    page = docs_page(docs_dir, summary.batch_id)
    _write(page, _view().render(document, batch=summary))
    _write(docs_dir / "results" / f"{summary.batch_id}.json", json.dumps(validation.to_json_dict()))
    _write(docs_dir / "runs" / f"{summary.batch_id}.json", json.dumps(asdict(summary)))
    with _lock(docs_dir):
        _write_index(docs_dir)
    return page


def prune_docs(docs_dir: Path, older_than: date) -> int:
    """Delete the audits before a day or time, and rewrite the index. Returns the number of deleted audits.

    Running it again changes nothing. A date starts at midnight UTC. Raises DiskFull when the index cannot be written.
    """
    limit = older_than if isinstance(older_than, datetime) else datetime(*older_than.timetuple()[:3], tzinfo=UTC)
    limit = limit if limit.tzinfo else limit.replace(tzinfo=UTC)
    if not docs_dir.is_dir():
        return 0
    with _lock(docs_dir):
        old = [
            summary.batch_id for summary in _summaries(docs_dir) if datetime.fromisoformat(summary.audited_at) < limit
        ]
        _delete_audits(docs_dir, old)
        _delete_unfinished(docs_dir, limit)
        if not old:
            return 0
        try:
            _write_index(docs_dir)
        except OSError as error:
            if not is_disk_full(error):
                raise
            raise DiskFull(
                f"{len(old)} pages of Data Docs were deleted, and there is no room for the index; free some, run again"
            ) from error
    return len(old)


def delete_passed(docs_dir: Path, endpoint: Audited, newest: str) -> None:
    """Delete the audits of a table that passed, except the newest: of hourly audits, those that failed are of use.

    Raises OSError.
    """
    with _lock(docs_dir):
        passed = [
            summary.batch_id
            for summary in _summaries(docs_dir)
            if summary.endpoint == endpoint and summary.status == "passed" and summary.batch_id != newest
        ]
        _delete_audits(docs_dir, passed)
        if passed:
            _write_index(docs_dir)


def _delete_audits(docs_dir: Path, batch_ids: Sequence[str]) -> None:
    for batch_id in batch_ids:
        for folder, suffix in _FOLDERS.items():
            (docs_dir / folder / f"{batch_id}{suffix}").unlink(missing_ok=True)


def mark_accepted(docs_dir: Path, batch_id: str, reason: str) -> None:
    """Show on the page of a blocked batch, and in the index, that a person accepted it, and why. Raises OSError."""
    with _lock(docs_dir):
        summary = next((summary for summary in _summaries(docs_dir) if summary.batch_id == batch_id), None)
        if summary is None:
            return
        accepted = replace(summary, accepted=reason)
        text = docs_page(docs_dir, batch_id).read_text()
        for before, after in zip(_status_parts(summary), _status_parts(accepted), strict=True):
            text = text.replace(before, after, 1)
        _write(docs_page(docs_dir, batch_id), text)
        _write(docs_dir / "runs" / f"{batch_id}.json", json.dumps(asdict(accepted)))
        _write_index(docs_dir)


def _status_parts(summary: AuditSummary) -> tuple[str, str, str]:
    """The parts of a page that depend on its status: title, head, and heading of the blocking rules."""
    head = str(_view().env.get_template("head.j2").render(batch=summary)).strip()
    return f"<title>{summary.batch_id}: {summary.status}</title>", head, f"<h2>{summary.blocking_heading}</h2>"


def count_pages_with_keys(docs_dir: Path, user_id: int) -> int:
    """The number of pages that show the key of a row of the user."""
    return sum(_shows_keys_of(summary, user_id) for summary in _summaries(docs_dir))


def remove_keys(docs_dir: Path, user_id: int) -> None:
    """Remove the keys of a user's rows from every page, and delete unfinished files. The counts on the pages stay.

    Running it again changes nothing.
    """
    if not docs_dir.is_dir():
        return
    with _lock(docs_dir):
        for summary in _summaries(docs_dir):
            if _shows_keys_of(summary, user_id):
                _remove_keys_from(docs_dir, summary, user_id)
        _delete_unfinished(docs_dir, datetime.max.replace(tzinfo=UTC))


def _shows_keys_of(summary: AuditSummary, user_id: int) -> bool:
    keys = (key for failure in (*summary.blocking, *summary.warnings) for key in failure["rows"])
    return is_personal(summary.endpoint) and any(_belongs_to(key, user_id) for key in keys)


def _belongs_to(key: str, user_id: int) -> bool:
    return key.split(" ")[0] == str(user_id)


def _remove_keys_from(docs_dir: Path, summary: AuditSummary, user_id: int) -> None:
    def without_user_keys(shown: re.Match[str]) -> str:
        before, keys, after = shown.groups()
        return before + ", ".join(key for key in keys.split(", ") if not _belongs_to(key, user_id)) + after

    # The page is changed first: as long as the summary has the keys, a repeated call changes the page too.
    page = docs_page(docs_dir, summary.batch_id)
    if page.exists():
        _write(page, _SHOWN_KEYS.sub(without_user_keys, page.read_text()))
    for failure in (*summary.blocking, *summary.warnings):
        failure["rows"] = [key for key in failure["rows"] if not _belongs_to(key, user_id)]
    _write(docs_dir / "runs" / f"{summary.batch_id}.json", json.dumps(asdict(summary)))


def _write_index(docs_dir: Path) -> None:
    summaries = sorted(_summaries(docs_dir), key=lambda summary: (summary.day, summary.audited_at), reverse=True)
    _write(docs_dir / "index.html", _view().env.get_template("index.j2").render(batches=summaries))


def _summaries(docs_dir: Path) -> list[AuditSummary]:
    summaries = []
    for path in (docs_dir / "runs").glob("*.json"):
        # The index omits a summary of another version. Its page stays.
        with suppress(ValueError, TypeError, FileNotFoundError):
            summaries.append(AuditSummary(**json.loads(path.read_text())))
    return summaries


@cache
def _view() -> Any:
    return _BatchPage(custom_views_directory=str(_TEMPLATES))


def _delete_unfinished(docs_dir: Path, before: datetime) -> None:
    for folder in (docs_dir, *(docs_dir / name for name in _FOLDERS)):
        delete_unfinished_files(folder, older_than=before.timestamp())


def _lock(docs_dir: Path) -> FileLock:
    """Let one process at a time write the index."""
    docs_dir.mkdir(parents=True, exist_ok=True)
    return exclusive_lock(docs_dir / ".lock")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text)
