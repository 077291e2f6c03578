"""Reports of a publication and of a training: artifacts in Prefect's UI, and the lines that a command prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from core.endpoints import RECOMMENDATIONS
from core.file_store import FileStore
from flows.recommendation_tasks import TrainingResult
from flows.reports import link_docs
from flows.state_messages import describe_publication
from recommender.evaluation.model_search import format_params
from recommender.publishing.scoring import PublishedRecommendations


def show_publication(flow: str, published: PublishedRecommendations, docs: FileStore, docs_url: str) -> None:
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
    link_docs(flow, docs, docs_url, {RECOMMENDATIONS: f"{RECOMMENDATIONS}-{published.publication_id}"})


def print_publication(published: PublishedRecommendations) -> None:
    """Print one line about the publication, and one for each warning."""
    print(describe_publication(published), flush=True)
    for result in published.results:
        if not result.success:
            print(f"warning: {result.description}", flush=True)


def show_training(training: TrainingResult, docs: FileStore, docs_url: str) -> None:
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
        show_publication("retrain", training.published, docs, docs_url)


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
    return rows + [empty_row | {"model": name, "out": reason} for name, reason in dict(metrics.get("out", {})).items()]


def describe_training(training: TrainingResult | None) -> str:
    """Describe the promotion decision with its reason, and the publication."""
    if training is None:
        return "the drift alarm was answered by another training"
    decided = f"model run {training.model_run_id}: {training.decision.decision}: {training.decision.why}"
    return f"{decided}; {describe_publication(training.published)}" if training.published else decided


def print_training(training: TrainingResult) -> None:
    """Print the excluded models with reasons, the promotion decision, and the publication."""
    for name, reason in dict(training.decision.metrics.get("out", {})).items():
        print(f"excluded: {name}, {reason}", flush=True)
    print(f"model run {training.model_run_id}: {training.decision.decision}: {training.decision.why}", flush=True)
    if training.published is not None:
        print_publication(training.published)
