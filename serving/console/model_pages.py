"""Pages about models: trainings with their candidates, publications, decisions, and drift alarms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from starlette.responses import Response

from serving.console.console_request import ConsolePageMissing, ConsoleRequest, read_id
from serving.console.history_plot import HistoryPlot, PlotDay, draw_history
from serving.console.rendering import minute, number, period

_QUALITY_DAYS, _SHORTEST_AXIS = 90, 14
_TRAININGS_SHOWN = 30
_CAUSES = {"asked": "schedule or person", "degradation": "drift alarm", "age": "age of the model"}


async def show_models(request: ConsoleRequest) -> Response:
    """What is live, the quality of recommendations, trainings, publications and decisions."""
    before, k = request.parameter("before"), request.settings.retrain_evaluated_at
    first_day = request.now.date() - timedelta(_QUALITY_DAYS)
    data = await request.read(
        {
            "live": "models.find_live_publication",
            "trainings": "models.find_trainings",
            "periods": "models.find_live_periods",
            "decisions": "models.find_decisions",
            "quality": "models.find_quality",
            "alarms": "models.find_drift_alarms",
        },
        before_id=read_id(before, "training") if before else None,
        metrics=[f"ndcg@{k}"],
        first_day=first_day,
    )
    trainings = [
        training | {"ndcg": _winner(training["metrics"], training["model"]).get("ndcg")}
        for training in data["trainings"][:_TRAININGS_SHOWN]
    ]
    return request.page(
        "models.html",
        "models",
        "Models",
        live=data["live"][0] if data["live"] else None,
        quality=_quality_plot(data["quality"], data["alarms"], request, k),
        trainings=trainings,
        older=trainings[-1]["model_run_id"] if len(data["trainings"]) > _TRAININGS_SHOWN else None,
        periods=data["periods"],
        decisions=data["decisions"],
        alarms=data["alarms"],
        causes=_CAUSES,
        k=k,
    )


async def show_training(request: ConsoleRequest) -> Response:
    """One training with its candidates. Raises ConsolePageMissing."""
    data = await request.read(
        {
            "training": "models.find_training",
            "publications": "models.find_publications_of_training",
            "live": "models.find_live_publication",
        },
        model_run_id=request.path_id("model_run_id", "training"),
    )
    if not data["training"]:
        raise ConsolePageMissing("No training has this number.")
    training = data["training"][0]
    metrics: Mapping[str, Any] = training["metrics"]
    candidates = _candidates(metrics, training["model"])
    facts = [
        ("Started", minute(training["started_at"])),
        ("Took", period(training["started_at"], training["finished_at"])),
        ("Cause", _CAUSES.get(training["cause"], training["cause"])),
        ("Plays until", minute(training["data_as_of"])),
        ("Model", training["model"]),
        ("Holdout", metrics.get("exam", "-")),
        ("Seed", training["seed"]),
        ("Code version", training["code_version"]),
    ]
    return request.page(
        "training.html",
        "models",
        f"Training {training['model_run_id']}",
        training=training,
        facts=facts,
        is_live=bool(data["live"]) and data["live"][0]["model_run_id"] == training["model_run_id"],
        candidates=candidates,
        has_intervals=any(candidate["interval"] != "-" for candidate in candidates),
        excluded=sorted(dict(metrics.get("out") or {}).items()),
        comparisons=_comparisons(metrics),
        publications=data["publications"],
        k=metrics.get("k", request.settings.retrain_evaluated_at),
    )


def _winner(metrics: Mapping[str, Any], model: str) -> Mapping[str, Any]:
    """The figures of the trained model; those of the first candidate if they lack it."""
    models: Mapping[str, Any] = metrics.get("models") or {}
    return models.get(model) or next(iter(models.values()), {})


def _candidates(metrics: Mapping[str, Any], model: str) -> list[dict[str, Any]]:
    """The winner, then the other candidates, the one with the highest `ndcg_choosing` first."""
    models: Mapping[str, Any] = metrics.get("models") or {}
    winner = model if model in models else next(iter(models), "")
    rows = [
        {
            "name": name,
            "is_winner": name == winner,
            "interval": _interval(figures),
            "settings": _settings_text(figures),
            **{
                column: figures.get(column)
                for column in ("ndcg", "recall", "coverage", "novelty", "fit_seconds", "peak_memory_mb")
            },
            "choosing": figures.get("ndcg_choosing") or 0.0,
        }
        for name, figures in models.items()
    ]
    return sorted(rows, key=lambda row: (not row["is_winner"], -row["choosing"]))


def _interval(figures: Mapping[str, Any]) -> str:
    lower, upper = figures.get("ndcg_lower"), figures.get("ndcg_upper")
    return "-" if lower is None or upper is None else f"{lower:.4f} to {upper:.4f}"


def _settings_text(figures: Mapping[str, Any]) -> str:
    settings = figures.get("settings") or {}
    parts = [f"{name} {number(value) if isinstance(value, float) else value}" for name, value in settings.items()]
    return ", ".join([*parts, str(figures.get("options") or "")]).strip(", ")


def _comparisons(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    comparisons = []
    for opponent, figures in dict(metrics.get("gate") or {}).items():
        mean, lower, upper = figures.get("mean"), figures.get("lower"), figures.get("upper")
        wins = lower is not None and lower > 0 and not figures.get("why_not")
        if mean is None or lower is None:
            text = str(figures.get("why_not") or "too few users to compare")
        else:
            bound = f"at least {lower:+.4f}" if upper is None else f"{lower:+.4f} to {upper:+.4f}"
            text = f"{mean:+.4f} ({bound}), {figures.get('listeners', 0):,} users"
        comparisons.append({"opponent": opponent, "wins": wins, "text": text})
    return comparisons


def _quality_plot(
    rows: Sequence[Mapping[str, Any]], alarms: Sequence[Mapping[str, Any]], request: ConsoleRequest, k: int
) -> HistoryPlot | None:
    if not rows:
        return None
    alarmed = {alarm["day"] for alarm in alarms if alarm["metric"] == f"ndcg@{k}"}
    days = [
        PlotDay(
            row["day"],
            row["value"],
            row["lower"],
            row["upper"],
            failed=row["day"] in alarmed,
            critical=True,
            note=f"{row['day']}: {row['value']:.3f}, {row['users']:,} users"
            + ("; drift alarm" if row["day"] in alarmed else ""),
        )
        for row in rows
    ]
    name = f"Quality of the last {_QUALITY_DAYS} days: ndcg@{k}"
    today = request.now.date()
    return draw_history(name, days, min(days[0].day, today - timedelta(_SHORTEST_AXIS)), today)
