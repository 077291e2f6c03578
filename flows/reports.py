"""Reports of a run: artifacts in Prefect's UI, and the lines that a command prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from core.audits import AuditReport
from flows.recommendation_tasks import TrainingResult
from flows.run import BatchResult
from recommender.evaluation.model_search import format_params
from recommender.publishing.scoring import PublishedRecommendations


def show_batches(flow: str, outcomes: Sequence[BatchResult], docs_dir: Path, docs_url: str) -> None:
    """Create the artifacts of a run: rows of each batch, failed expectations, and a link to Data Docs."""
    create_table_artifact(
        key=f"{flow}-batches",
        table=[_batch_row(outcome) for outcome in outcomes],
        description=(
            "Rows of each batch: "
            "landed = rejected + erased + duplicate + superseded + conflicting + unchanged + staged."
        ),
    )
    create_table_artifact(
        key=f"{flow}-failed-expectations",
        table=_failed_expectations(outcomes),
        description="Failed expectations. A critical failure blocks the batch, a warning does not.",
    )
    _link_docs(flow, docs_dir, docs_url)


def _link_docs(flow: str, docs_dir: Path, docs_url: str) -> None:
    if docs_dir.joinpath("index.html").exists():
        create_link_artifact(
            key=f"{flow}-data-docs", link=docs_url or docs_dir.joinpath("index.html").as_uri(), link_text="Data Docs"
        )


def show_publication(flow: str, published: PublishedRecommendations, docs_dir: Path, docs_url: str) -> None:
    """Create the artifacts of a publication: its figures and warnings, and a link to Data Docs."""
    create_table_artifact(
        key=f"{flow}-publication",
        table=[
            {
                "publication": published.publication_id,
                "model run": published.model_run_id,
                "model": published.model,
                "users": published.users,
                "recommendations": published.rows,
                "different tracks": published.tracks_covered,
                "warnings": "; ".join(result.description for result in published.results if not result.success),
            }
        ],
        description="The recommendations that went live.",
    )
    _link_docs(flow, docs_dir, docs_url)


def print_publication(published: PublishedRecommendations) -> None:
    """Print one line about the publication, and one for each warning."""
    print(
        f"publication {published.publication_id}: {published.rows:,} recommendations for {published.users:,} "
        f"users by {published.model} (model run {published.model_run_id}), "
        f"{published.tracks_covered:,} different tracks",
        flush=True,
    )
    for result in published.results:
        if not result.success:
            print(f"warning: {result.description}", flush=True)


def show_stream_audit(reports: Sequence[AuditReport], deleted: int, docs_dir: Path, docs_url: str) -> None:
    """Create the artifacts of an audit of the stream: each failed expectation, and a link to Data Docs."""
    failed = [
        {
            "audit": report.batch_id,
            "severity": result.severity,
            "what": result.description,
            "rows": "" if result.unexpected_count is None else result.unexpected_count,
            "expectation": result.expectation,
        }
        for report in reports
        for result in report.results
        if not result.success
    ]
    create_table_artifact(
        key="audit-stream-failed-expectations",
        table=failed or [{"audit": "", "severity": "", "what": "none failed", "rows": "", "expectation": ""}],
        description=f"Failed expectations. {deleted} failed lists were deleted.",
    )
    _link_docs("audit-stream", docs_dir, docs_url)


def print_stream_audit(reports: Sequence[AuditReport], deleted: int) -> None:
    """Print one line for each audit, and one for each failed expectation."""
    for report in reports:
        failures = [result for result in report.results if not result.success]
        print(f"{report.batch_id}: {len(report.results)} expectations, {len(failures)} failed", flush=True)
        for result in failures:
            print(f"{'failed' if result.blocks else 'warning'}: {result.description}", flush=True)
    if deleted:
        print(f"{deleted} fresh recommendation lists are deleted; serving shows the published ones", flush=True)


def show_training(training: TrainingResult, docs_dir: Path, docs_url: str) -> None:
    """Create the artifacts of a training: figures of the models, the promotion decision, and the publication."""
    create_table_artifact(
        key="retrain-models",
        table=models_table(training.decision.metrics),
        description="Models, best first by the users of the selection; figures are of all users. `out`: why excluded.",
    )
    create_markdown_artifact(
        f"## {training.decision.decision}\n\n{training.decision.recipe}\n\n{training.decision.why}\n",
        key="retrain-decision",
        description=f"Model run {training.model_run_id}.",
    )
    if training.published is not None:
        show_publication("retrain", training.published, docs_dir, docs_url)


def models_table(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one row for each model: figures, settings, and why it is excluded, if it is.

    The UI shows the columns of the first row and cuts long rows, so all rows have all columns, figures first.
    """
    models: dict[str, dict[str, Any]] = dict(metrics.get("models", {}))
    rows = [
        {"model": name}
        | {measure: round(figures[measure], 4) for measure in ("ndcg", "recall", "coverage", "novelty")}
        | {"fit s": figures["fit_seconds"], "score s": figures["score_seconds"], "MB": figures["peak_memory_mb"]}
        | {"out": "", "plays": figures["options"], "settings": format_params(figures["settings"])}
        for name, figures in models.items()
    ]
    empty_row = {column: "" for row in rows[:1] for column in row}
    return rows + [empty_row | {"model": name, "out": why} for name, why in dict(metrics.get("out", {})).items()]


def print_training(training: TrainingResult) -> None:
    """Print the excluded models with reasons, the promotion decision, and the publication."""
    for name, why in dict(training.decision.metrics.get("out", {})).items():
        print(f"excluded: {name}, {why}", flush=True)
    print(f"model run {training.model_run_id}: {training.decision.decision}: {training.decision.why}", flush=True)
    if training.published is not None:
        print_publication(training.published)


def print_batches(outcomes: Sequence[BatchResult]) -> None:
    """Print one line for each batch."""
    for outcome in outcomes:
        print(_line(outcome), flush=True)


def _line(outcome: BatchResult) -> str:
    counts = outcome.counts
    if outcome.published_earlier:
        return f"{outcome.batch.batch_id}: {outcome.status} by an earlier run, nothing to do"
    if outcome.status == "failed":
        return f"{outcome.batch.batch_id}: failed: {outcome.reason}"
    line = (
        f"{outcome.batch.batch_id}: {outcome.status}: {counts.rows_landed:,} landed, "
        f"{counts.rows_rejected:,} rejected, "
        f"{f'{counts.rows_erased:,} erased, ' if counts.rows_erased else ''}"
        f"{counts.rows_duplicate:,} duplicate, "
        f"{f'{counts.rows_superseded:,} superseded, ' if counts.rows_superseded else ''}"
        f"{f'{counts.rows_conflicting:,} conflicting, ' if counts.rows_conflicting else ''}"
        f"{counts.rows_unchanged:,} unchanged, {counts.rows_staged:,} staged, "
        f"{counts.rows_inserted:,} inserted, {counts.rows_updated:,} updated, {counts.rows_removed:,} removed"
    )
    if counts.plays_rejected:
        line += f", {counts.plays_rejected:,} plays rejected"
    warnings = sum(not result.success and result.severity == "warning" for result in outcome.results)
    if warnings:
        line += f", {warnings} warnings"
    return f"{line}: {outcome.reason}" if outcome.reason else line


def _batch_row(outcome: BatchResult) -> dict[str, Any]:
    counts = outcome.counts
    return {
        "batch": outcome.batch.batch_id,
        "state": outcome.status + (" earlier" if outcome.published_earlier else ""),
        "landed": counts.rows_landed,
        "rejected": counts.rows_rejected,
        "erased": counts.rows_erased,
        "duplicate": counts.rows_duplicate,
        "superseded": counts.rows_superseded,
        "conflicting": counts.rows_conflicting,
        "unchanged": counts.rows_unchanged,
        "staged": counts.rows_staged,
        "inserted": counts.rows_inserted,
        "updated": counts.rows_updated,
        "removed": counts.rows_removed,
        "plays rejected": counts.plays_rejected,
        "reason": outcome.reason or "",
    }


def _failed_expectations(outcomes: Sequence[BatchResult]) -> list[dict[str, Any]]:
    failed = [
        {
            "batch": outcome.batch.batch_id,
            "severity": f"{result.severity}, accepted" if result.blocks and outcome.is_published else result.severity,
            "what": result.description,
            "rows": "" if result.unexpected_count is None else result.unexpected_count,
            "expectation": result.expectation,
            "column": result.column or "",
        }
        for outcome in outcomes
        for result in outcome.results
        if not result.success
    ]
    empty_row = {"batch": "", "severity": "", "what": "none failed", "rows": "", "expectation": "", "column": ""}
    return failed or [empty_row]
