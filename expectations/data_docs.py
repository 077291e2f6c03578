"""Writes Data Docs: one page per batch, and an index of all days. They need no network.

    index.html                      every stored audit, the newest day first
    validations/<batch id>.html     the page of one batch
    results/<batch id>.json         the complete validation result of Great Expectations
    runs/<batch id>.json            the summary of the batch in the index

Great Expectations renders the sections of a page. The frame is ours, because its own frame loads styles and scripts
from the internet. Its site builder is not used: it does not write atomically, so two runs could damage files, and it
reads every old result, so each audit would take longer. Here each file is written atomically. The index is built from
the small files in `runs`, and again if another process changed them meanwhile: so the last one that is written is
complete. If a run is killed, the next audit adds its batch to the index.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from core.audits import ExpectationResult
from core.endpoints import ENDPOINTS, AuditedTable, audited_key, is_of_stream, is_personal
from core.errors import DiskFull, is_disk_full
from core.file_store import FileStore, StoredFile
from expectations.gx import DefaultJinjaPageView, ValidationResultsPageRenderer

_TEMPLATES = Path(__file__).parent / "templates"
_KEYS_SHOWN = 20
# Each repetition needs an audit of another process during the writing of an index.
_INDEX_TRIES = 100
# Summaries that are read at once: each read of an object store waits for the network.
_READERS = 8
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
    endpoint: AuditedTable
    day: str
    audited_at: str
    rules: int
    blocking: list[dict[str, Any]]
    warnings: list[dict[str, Any]]
    accepted: str = ""

    @classmethod
    def from_results(
        cls,
        batch_id: str,
        endpoint: AuditedTable,
        day: date,
        audited_at: datetime,
        results: Sequence[ExpectationResult],
        serving_url: str = "",
    ) -> Self:
        """The summary of the results of one audit. With `serving_url`, failures link to the console."""

        def describe(result: ExpectationResult) -> dict[str, Any]:
            has_history = serving_url and endpoint in ENDPOINTS
            history = _history_url(serving_url, endpoint, result) if has_history else ""
            return _failure(result) | {"history": history}

        return cls(
            batch_id=batch_id,
            endpoint=endpoint,
            day=day.isoformat(),
            audited_at=audited_at.isoformat(),
            rules=len(results),
            blocking=[describe(result) for result in results if result.blocks],
            warnings=[describe(result) for result in results if not result.success and not result.blocks],
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
    def next_step(self) -> tuple[str, tuple[str, ...]]:
        """What to do next, and the commands for it."""
        if self.blocking and not self.accepted:
            if is_of_stream(self.endpoint):
                return "Rows that fail are rejected or deleted. After the cause is repaired:", ("stream audit",)
            if self.endpoint not in ENDPOINTS:
                return "The previous publication stays live. Correct the cause, then:", ("recommend",)
            accept = f"replay {self.batch_id} --accept WHY --by TICKET"
            return "Nothing was published. Correct the source or the threshold, or accept it as it is:", (
                f"replay {self.batch_id}",
                accept,
            )
        figures = [failure["rule"] for failure in self.warnings if failure.get("is_learned")]
        if figures:
            commands = tuple(f"confirm {self.batch_id} {figure} --why WHY --by TICKET" for figure in figures)
            return "The batch is not blocked. If an unusual figure is correct, compare later days with it:", commands
        if self.warnings and not self.accepted:
            return "The batch is not blocked. Look at the rows that are named below.", ()
        return "Nothing to do.", ()

    @property
    def audited(self) -> str:
        """The time of the audit, as text."""
        return f"{datetime.fromisoformat(self.audited_at).astimezone(UTC):%Y-%m-%d %H:%M} UTC"

    @property
    def key_names(self) -> str:
        """The names of the key columns."""
        return ", ".join(audited_key(self.endpoint))


def _history_url(serving_url: str, endpoint: AuditedTable, result: ExpectationResult) -> str:
    """The page of the console with the last 90 days of an expectation."""
    column = f"?column={quote(result.column)}" if result.column else ""
    return f"{serving_url}/console/expectations/{endpoint}/{quote(result.expectation)}{column}"


def _failure(result: ExpectationResult) -> dict[str, Any]:
    return {
        "rule": result.expectation,
        "says": result.description,
        "rows": list(result.failing_keys[:_KEYS_SHOWN]),
        "more": len(result.failing_keys) > _KEYS_SHOWN,
        "is_learned": result.expectation == result.column,  # a learned range has the name of its figure
    }


class _BatchPage(DefaultJinjaPageView):
    """The page of one batch: Great Expectations' sections in a frame that needs no network."""

    _template = "batch.j2"


def docs_page(batch_id: str) -> str:
    """The name of the page of a batch."""
    return f"validations/{batch_id}.html"


def write_page(docs: FileStore, summary: AuditSummary, validation: Any) -> None:
    """Write the page of one batch, and add it to the index. An earlier audit of the batch is replaced.

    `validation` is an ExpectationSuiteValidationResult, whose methods carry no types.
    """
    renderer: Any = ValidationResultsPageRenderer()
    document = renderer.render(validation)
    # The first section is an overview with technical details and a link to a missing page. Our own head replaces it.
    document.sections = document.sections[1:]
    docs.write(docs_page(summary.batch_id), _view().render(document, batch=summary))
    docs.write(f"results/{summary.batch_id}.json", json.dumps(validation.to_json_dict()))
    _write_summary(docs, summary)
    _update_index(docs)


def prune_docs(docs: FileStore, older_than: date) -> int:
    """Delete the audits before a day or time, and rewrite the index. Returns the number of deleted audits.

    Running it again changes nothing. A date starts at midnight UTC. Raises DiskFull when the index cannot be written.
    """
    limit = older_than if isinstance(older_than, datetime) else datetime(*older_than.timetuple()[:3], tzinfo=UTC)
    limit = limit if limit.tzinfo else limit.replace(tzinfo=UTC)
    old = [summary.batch_id for summary in _summaries(docs) if datetime.fromisoformat(summary.audited_at) < limit]
    _delete_audits(docs, old)
    _delete_unfinished(docs, limit)
    if not old:
        return 0
    try:
        _update_index(docs)
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise DiskFull(
            f"{len(old)} pages of Data Docs were deleted, and there is no room for the index; free some, run again"
        ) from error
    return len(old)


def delete_passed(docs: FileStore, endpoint: AuditedTable, newest: str) -> None:
    """Delete the audits of a table that passed, except the newest: of hourly audits, only failed ones are kept.

    Raises OSError, ObjectStoreError.
    """
    passed = [
        summary.batch_id
        for summary in _summaries(docs)
        if summary.endpoint == endpoint and summary.status == "passed" and summary.batch_id != newest
    ]
    _delete_audits(docs, passed)
    if passed:
        _update_index(docs)


def _delete_audits(docs: FileStore, batch_ids: Sequence[str]) -> None:
    for batch_id in batch_ids:
        for folder, suffix in _FOLDERS.items():
            docs.delete(f"{folder}/{batch_id}{suffix}")


def mark_accepted(docs: FileStore, batch_id: str, reason: str) -> None:
    """Show on the page of a blocked batch, and in the index, that a person accepted it, and why.

    Raises OSError, ObjectStoreError.
    """
    summary = _read_summary(docs, f"runs/{batch_id}.json")
    if summary is None:
        return
    accepted = replace(summary, accepted=reason)
    text = docs.read(docs_page(batch_id)).decode()
    for before, after in zip(_status_parts(summary), _status_parts(accepted), strict=True):
        text = text.replace(before, after, 1)
    docs.write(docs_page(batch_id), text)
    _write_summary(docs, accepted)
    _update_index(docs)


def _status_parts(summary: AuditSummary) -> tuple[str, str, str]:
    """The parts of a page that depend on its status: title, head, and heading of the blocking rules."""
    head = str(_view().env.get_template("head.j2").render(batch=summary)).strip()
    return f"<title>{summary.batch_id}: {summary.status}</title>", head, f"<h2>{summary.blocking_heading}</h2>"


def count_pages_with_keys(docs: FileStore, user_id: int) -> int:
    """The number of pages that show the key of a row of the user."""
    return sum(_shows_keys_of(summary, user_id) for summary in _summaries(docs))


def remove_keys(docs: FileStore, user_id: int) -> None:
    """Remove the keys of a user's rows from every page, and delete unfinished files. The counts on the pages stay.

    Running it again changes nothing.
    """
    for summary in _summaries(docs):
        if _shows_keys_of(summary, user_id):
            _remove_keys_from(docs, summary, user_id)
    _delete_unfinished(docs, datetime.max.replace(tzinfo=UTC))


def _shows_keys_of(summary: AuditSummary, user_id: int) -> bool:
    keys = (key for failure in (*summary.blocking, *summary.warnings) for key in failure["rows"])
    return is_personal(summary.endpoint) and any(_belongs_to(key, user_id) for key in keys)


def _belongs_to(key: str, user_id: int) -> bool:
    return key.split(" ")[0] == str(user_id)


def _remove_keys_from(docs: FileStore, summary: AuditSummary, user_id: int) -> None:
    def without_user_keys(shown: re.Match[str]) -> str:
        before, keys, after = shown.groups()
        return before + ", ".join(key for key in keys.split(", ") if not _belongs_to(key, user_id)) + after

    # The page is changed first: as long as the summary has the keys, a repeated call changes the page too.
    page = docs_page(summary.batch_id)
    with suppress(FileNotFoundError):
        docs.write(page, _SHOWN_KEYS.sub(without_user_keys, docs.read(page).decode()))
    for failure in (*summary.blocking, *summary.warnings):
        failure["rows"] = [key for key in failure["rows"] if not _belongs_to(key, user_id)]
    _write_summary(docs, summary)


def _write_summary(docs: FileStore, summary: AuditSummary) -> None:
    docs.write(f"runs/{summary.batch_id}.json", json.dumps(asdict(summary)))


def _update_index(docs: FileStore) -> None:
    """Write the index, and again if a summary changed meanwhile: another process may have written an older index."""
    for _ in range(_INDEX_TRIES):
        listed = docs.files("runs")
        summaries = sorted(_summaries(docs, listed), key=lambda audit: (audit.day, audit.audited_at), reverse=True)
        docs.write("index.html", _view().env.get_template("index.j2").render(batches=summaries))
        if docs.files("runs") == listed:
            return


def _summaries(docs: FileStore, listed: Sequence[StoredFile] | None = None) -> list[AuditSummary]:
    files = docs.files("runs") if listed is None else listed
    with ThreadPoolExecutor(_READERS) as readers:
        summaries = readers.map(lambda file: _read_summary(docs, file.name), files)
        return [summary for summary in summaries if summary is not None]


def _read_summary(docs: FileStore, name: str) -> AuditSummary | None:
    """A summary; None if it is deleted, or of another version. The index omits it, and its page stays."""
    try:
        return AuditSummary(**json.loads(docs.read(name)))
    except (ValueError, TypeError, FileNotFoundError):
        return None


@cache
def _view() -> Any:
    return _BatchPage(custom_views_directory=str(_TEMPLATES))


def _delete_unfinished(docs: FileStore, before: datetime) -> None:
    for folder in ("", *_FOLDERS):
        docs.delete_unfinished(folder, older_than=before.timestamp())
