"""Recommend: publish new recommendations from the champion, without a training.

They include new plays and users, and exclude removed tracks. `python -m flows.recommend` runs without a Prefect server.
Exit code 0: the recommendations are live; 1: they are not, and the previous ones stay live; 2: wrong usage or settings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from prefect import flow

from core.clock import clock_of
from core.exit_codes import run_main
from core.roles import RECOMMENDER
from core.settings import load_settings
from core.tracebacks import keep_logs_readable
from core.version import code_version
from expectations.thresholds import load_thresholds
from flows.command_line import run_command
from flows.failures import handle_failures
from flows.json_results import add_json_option
from flows.recommendation_tasks import load_champion, read_marts, record_training_failure, stage_audit_and_publish
from flows.run import Run, open_run
from flows.state_messages import describe_publication, ends_with
from flows.training_reports import print_publication, show_publication
from recommender.models.champion import Champion
from recommender.models.popularity import GenrePopularity
from recommender.models.recipe import Recipe
from recommender.publishing import experiments, model_runs
from recommender.publishing.model_runs import TrainingOutcome
from recommender.publishing.scoring import MartData, PublishedRecommendations, ScoringModel

_NO_MODEL_YET = "no model is trained yet: popularity by genre is used until the first training"


@flow(name="recommend", flow_run_name="recommend", validate_parameters=False)
@ends_with(describe_publication)
@handle_failures
def recommend() -> PublishedRecommendations:
    """Publish recommendations for all users from the champion; before the first training, popularity by genre.

    Raises BatchBlocked if the audit fails, ModelFileError if the champion cannot be read, InteractionsError if there
    are no plays. Then the live recommendations stay.
    """
    keep_logs_readable()
    settings, thresholds = load_settings(), load_thresholds()
    with open_run(settings, thresholds, "recommend", None, clock_of(settings), role=RECOMMENDER) as run:
        run.ensure_auditor()
        champion, marts = model_runs.find_champion(run.connection), read_marts(run)
        scorer = _scorer(run, champion, marts)
        replacing, why = (champion.live_id, "refreshed") if champion else (None, _NO_MODEL_YET)
        try:
            experiment = experiments.find_running(run.connection, champion)
            published = stage_audit_and_publish(run, scorer, marts, replacing=replacing, why=why, experiment=experiment)
        except BaseException as error:
            if champion is None:
                record_training_failure(run, scorer.model_run_id, scorer.recipe, error)
            raise
        run.outcome = "published"
        show_publication("recommend", published, run.docs, settings.data_docs_web_url)
        print_publication(published)
        return published


def _scorer(run: Run, champion: Champion | None, marts: MartData) -> ScoringModel:
    if champion is not None:
        return ScoringModel(champion.model_run_id, champion.recipe, load_champion(run, champion))
    recipe = Recipe(GenrePopularity.name)
    model_run_id = model_runs.start_model_run(
        run.connection,
        recipe=recipe,
        seed=0,
        data_as_of=marts.data_as_of,
        batches=marts.batches,
        code_version=code_version(run.settings),
        now=run.clock(),
    )
    return ScoringModel(model_run_id, recipe, GenrePopularity(), TrainingOutcome(recipe, "fallback", _NO_MODEL_YET))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the flow from a command line, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m flows.recommend", description=__doc__)
    add_json_option(parser)
    options = parser.parse_args(arguments)
    return run_command(recommend, name="recommend", as_json=options.json, audits=True)


if __name__ == "__main__":
    sys.exit(run_main(main))
