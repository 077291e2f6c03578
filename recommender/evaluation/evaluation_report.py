"""The report of `python -m recommender.evaluate`, as a table or as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.markup import escape
from rich.table import Table

from recommender.evaluation.model_search import ModelSearchResult, format_params
from recommender.evaluation.splitting import Holdout
from recommender.evaluation.trials import MeasuredTrial


@dataclass(frozen=True, eq=False)
class EvaluationReport:
    """Trials and metrics of all models on test, ordered by their result in the model search.

    `split` describes the split of train for the search.
    """

    selection: ModelSearchResult
    split: str
    holdout: Holdout
    trials: dict[str, MeasuredTrial]
    failed_models: dict[str, str]

    @property
    def chosen(self) -> str:
        """The best model of the search that did not fail on all of train."""
        return next(iter(self.trials))

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints. Metrics are means over users; times are seconds, memory is MiB."""
        return {
            "chosen": self.chosen,
            "k": self.selection.k,
            "models": {name: self._model_as_json(name) for name in self.trials},
            "out": self.failed_models,
            "users": len(self.holdout),
            "left_out": self.holdout.left_out,
            "validation": {
                "split": self.split,
                "users": len(self.selection.holdout),
                "tried": [
                    {
                        "model": result.model,
                        "settings": dict(result.params),
                        "recall": result.measures.mean_recall,
                        "ndcg": result.ndcg,
                    }
                    for result in self.selection.tried
                ],
                "failed": list(self.selection.failed),
                "skipped": list(self.selection.skipped),
                "seconds_limit_reached": self.selection.seconds_limit_reached,
            },
        }

    def _model_as_json(self, name: str) -> dict[str, Any]:
        trial = self.trials[name]
        measures = trial.measures
        return {
            "recall": measures.mean_recall,
            "ndcg": measures.mean_ndcg,
            "coverage": measures.coverage,
            "novelty": measures.novelty,
            "intra_list_diversity": measures.intra_list_diversity,
            "popularity_bias": measures.popularity_bias,
            "fit_seconds": trial.fit_seconds,
            "score_seconds": trial.score_seconds,
            "peak_memory_mb": trial.peak_memory_mb,
            "settings": dict(trial.params),
        }

    def as_table(self) -> Table:
        """The table for the terminal."""
        k = self.selection.k
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("model", no_wrap=True)
        for title in (
            f"recall@{k}",
            f"ndcg@{k}",
            "coverage",
            "novelty",
            "diversity",
            "bias",
            "fit s",
            "score s",
            "peak MB",
        ):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("settings")
        for name, trial in self.trials.items():
            measures = trial.measures
            table.add_row(
                f"{name} (chosen)" if name == self.chosen else name,
                *(f"{value:.4f}" for value in (measures.mean_recall, measures.mean_ndcg, measures.coverage)),
                f"{measures.novelty:.1f}",
                *(f"{value:.2f}" for value in (measures.intra_list_diversity, measures.popularity_bias)),
                *(f"{value:.1f}" for value in (trial.fit_seconds, trial.score_seconds)),
                f"{trial.peak_memory_mb:,.0f}",
                escape(format_params(trial.params)) or "-",
                style="bold" if name == self.chosen else "",
            )
        return table
