"""Experiments: two models that are served side by side, and the comparison after each evaluated day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from serving.console.console_request import ConsolePageMissing, ConsoleRequest
from serving.console.rendering import minute, number


async def show_experiments(request: ConsoleRequest) -> Response:
    """The experiments, the newest first."""
    data = await request.read({"experiments": "experiments.find_experiments"}, experiment_id=None)
    return request.page("experiments.html", "experiments", "Experiments", experiments=data["experiments"])


async def show_experiment(request: ConsoleRequest) -> Response:
    """One experiment: the figures of `moovitamix experiment status`, and of the days before."""
    experiment_id = request.path_id("experiment_id", "experiment")
    queries = {"experiments": "experiments.find_experiments", "looks": "experiments.find_looks"}
    data = await request.read(queries, experiment_id=experiment_id)
    if not data["experiments"]:
        raise ConsolePageMissing("No experiment has this number.")
    experiment, looks = data["experiments"][0], data["looks"]
    return request.page(
        "experiment.html",
        "experiments",
        f"Experiment {experiment_id}",
        experiment=experiment,
        facts=_facts(experiment, looks[0] if looks else None),
        metrics=_metrics(looks[0]["result"], request.settings.retrain_evaluated_at) if looks else [],
        problems=looks[0]["result"]["problems"] if looks else [],
        verdict=looks[0]["result"]["verdict"] if looks else None,
        looks=[_look(look) for look in looks],
        k=request.settings.retrain_evaluated_at,
    )


def _facts(experiment: Mapping[str, Any], look: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    facts = [
        ("Started", minute(experiment["started_at"])),
        ("Ended", minute(experiment["ended_at"])),
        ("Share of the treatment", f"{experiment['treatment_share']:.0%}"),
    ]
    if look is not None:
        facts += [
            ("Users of the control", number(look["result"]["control_users"])),
            ("Users of the treatment", number(look["result"]["treatment_users"])),
            ("Looks", number(look["looks"])),
            ("Last day included", minute(look["day"])),
        ]
    return facts


def _metrics(result: Mapping[str, Any], k: int) -> list[tuple[str, str, str, str, str, str]]:
    """Name, role, control, treatment, difference and bounds of each metric that has values of both variants."""
    rows = [
        _compared_row(name, role, result[key])
        for name, role, key in (
            (f"ndcg@{k}", "decides", "ndcg"),
            ("useful", "decides", "useful"),
            ("plays a day", "guardrail", "plays"),
        )
        if result[key] is not None
    ]
    for name, key in (("without recommendations of their own", "without_list"), (f"coverage@{k}", "coverage")):
        if result[key] is not None:
            control, treatment = result[key]
            difference = f"{100 * (treatment - control):+.1f} points"
            rows.append((name, "guardrail", f"{control:.1%}", f"{treatment:.1%}", difference, "-"))
    control, treatment = result["failed_users"]
    rows.append(("users with failed requests", "guardrail", number(control), number(treatment), "-", "-"))
    return rows


def _compared_row(name: str, role: str, compared: Mapping[str, Any]) -> tuple[str, str, str, str, str, str]:
    means = f"{compared['control']:.4f}", f"{compared['treatment']:.4f}"
    return name, role, *means, f"{compared['difference']:+.4f}", _bounds(compared)


def _bounds(compared: Mapping[str, Any] | None) -> str:
    if compared is None or compared["lower"] is None:
        return "-"
    return f"{compared['lower']:+.4f} to {compared['upper']:+.4f}"


def _look(look: Mapping[str, Any]) -> dict[str, Any]:
    """One line of the table of looks."""
    result = look["result"]
    return {
        "day": look["day"],
        "users": result["control_users"] + result["treatment_users"],
        "ndcg": _bounds(result["ndcg"]),
        "useful": _bounds(result["useful"]),
        "problems": len(result["problems"]),
        "verdict": result["verdict"],
    }
