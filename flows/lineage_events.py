"""Builds the OpenLineage events of a run. Imported only if a transport is configured.

Each step of STEPS is a job with the data sets that it reads and writes; its parent is the run of its flow. Events have
counts, columns and audit results, but no value of a row.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, Run, RunEvent, RunState
from openlineage.client.generated.column_lineage_dataset import (
    ColumnLineageDatasetFacet,
    Fields,
    InputField,
    Transformation,
)
from openlineage.client.generated.data_quality_assertions_dataset import Assertion, DataQualityAssertionsDatasetFacet
from openlineage.client.generated.data_quality_metrics_input_dataset import DataQualityMetricsInputDatasetFacet
from openlineage.client.generated.dataset_version_dataset import DatasetVersionDatasetFacet
from openlineage.client.generated.documentation_dataset import DocumentationDatasetFacet
from openlineage.client.generated.documentation_job import DocumentationJobFacet
from openlineage.client.generated.error_message_run import ErrorMessageRunFacet
from openlineage.client.generated.job_type_job import JobTypeJobFacet
from openlineage.client.generated.output_statistics_output_dataset import OutputStatisticsOutputDatasetFacet
from openlineage.client.generated.parent_run import Job as ParentJob
from openlineage.client.generated.parent_run import ParentRunFacet
from openlineage.client.generated.parent_run import Run as ParentRun
from openlineage.client.generated.schema_dataset import SchemaDatasetFacet, SchemaDatasetFacetFields
from openlineage.client.uuid import generate_new_uuid, generate_static_uuid

from core.audits import AuditReport, ExpectationResult
from core.clock import Clock
from core.database import Connection, readable_errors
from core.endpoints import ENDPOINTS, LISTEN_HISTORY
from core.errors import BatchBlocked, MoovitamixError, summarize_defect
from core.queries import SQL_FOLDER, load_query
from core.settings import Settings
from core.stores import landing_store, model_store
from flows.lineage import LineageSender
from pipeline.batches import Counts
from pipeline.landing import Landing
from pipeline.staging import StagedTables
from recommender.publishing.scoring import PublishedRecommendations

_LOGGER = logging.getLogger(__name__)
PRODUCER = "https://moovitamix.example/recommendations"
COLUMN_LINEAGE: Mapping[str, Mapping[str, Any]] = yaml.safe_load((SQL_FOLDER / "lineage.yaml").read_text())
_DESCRIBED_SCHEMAS = ("warehouse", "mart", "ml", "ops", "stream")
# The text of an error of these flows could name a user.
_FLOWS_WITHOUT_ERROR_TEXT = ("erase",)
_TRAINING_DATA = ("mart.dim_users", "mart.dim_tracks", "mart.user_track_plays", "mart.fact_listens")
_FRESH_TABLES = ("ml.fresh_recommendations", "ml.fresh_recommendation_history", "stream.failed_recommendations")
# What each step reads and writes. `{endpoint}` is the endpoint of its batch; a name with a colon is no table.
STEPS: Mapping[str, tuple[Sequence[str], Sequence[str]]] = {
    "land": (["api:{endpoint}"], ["landing:{endpoint}"]),
    "shape": (["landing:{endpoint}"], ["shaped:{endpoint}"]),
    "stage": (["shaped:{endpoint}", "warehouse.{endpoint}"], ["staging.{endpoint}", "ops.rejected_rows"]),
    "audit": (["staging.{endpoint}"], ["ops.expectation_results", "ops.quarantined_rows"]),
    "publish": (["staging.{endpoint}"], ["warehouse.{endpoint}", "ops.batches"]),
    "read_marts": (_TRAINING_DATA, []),
    "load_champion": (["models:"], []),
    "stage_recommendations": ([*_TRAINING_DATA, "models:"], ["staging.recommendations"]),
    "audit_recommendations": (["staging.recommendations"], ["ml.expectation_results"]),
    "publish_recommendations": (
        ["staging.recommendations"],
        [
            *("ml.recommendations", "ml.similar_tracks", "ml.popular_tracks"),
            *("ml.publications", "ml.live_publications", "ml.current_recommendations"),
        ],
    ),
    "switch_publication": (
        ["ml.publications", "ml.recommendations"],
        ["ml.live_publications", "ml.current_recommendations"],
    ),
    "evaluate_day": (
        ["mart.fact_listens", "ml.recommendations", "ml.feedback"],
        ["ml.quality_metrics", "ml.decisions"],
    ),
    "read_training_data": (_TRAINING_DATA, []),
    "search_models": (_TRAINING_DATA, ["ml.model_runs"]),
    "train_winner": (_TRAINING_DATA, ["models:"]),
    "consume_sessions": (
        ["topic:", "mart.dim_users", "mart.dim_tracks", "warehouse.listen_history"],
        ["stream.sessions", "ops.rejected_rows"],
    ),
    "recommend_to_sessions": (
        [
            *("stream.sessions", "mart.user_track_plays", "mart.dim_users", "mart.dim_tracks"),
            *("ml.reactions", "ml.recommendations", "models:"),
        ],
        _FRESH_TABLES,
    ),
    "audit_sessions": (["stream.sessions"], ["stream.expectation_results"]),
    "audit_fresh_recommendations": (["ml.fresh_recommendations"], ["stream.expectation_results"]),
    "delete_failed_lists": (["stream.expectation_results"], _FRESH_TABLES),
    "erase_data": ([], []),  # the tables and landings from which rows went, which only the run knows
    "prune_batches": ([], [f"{place}{endpoint}" for place in ("landing:", "staging.") for endpoint in ENDPOINTS]),
    "prune_stream": ([], ["ops.rejected_rows", "stream.minutes", "stream.expectation_results"]),
    "prune_experiments": ([], ["ml.experiment_outcomes", "ml.experiment_exposures"]),
}
_STREAMING_STEPS = ("consume_sessions", "recommend_to_sessions")
_DELETIONS = ("delete_failed_lists", "erase_data", "prune_batches", "prune_stream", "prune_experiments")


class LineageRecorder:
    """Sends the events of one run of a flow. Its methods never raise."""

    def __init__(
        self,
        sender: LineageSender,
        *,
        namespace: str,
        flow: str,
        flow_run_id: str | None,
        run_id: int | None,
        connection: Connection,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._sender, self._clock, self._namespace, self._flow = sender, clock, namespace, flow
        self._settings, self._database = settings, _database(connection)
        self._started_at = clock()
        self._run_id = flow_run_id or _new_run_id(flow, run_id, self._started_at)
        self._tables = {schema: _table_facets(connection, schema) for schema in _DESCRIBED_SCHEMAS}
        self._staged_rows: dict[str, int] = {}
        self._send(RunState.START, self._started_at, self._run_id, flow)

    def finish(self, error: BaseException | None) -> None:
        """Send the end of the run, and wait a few seconds until all events are sent."""
        state = RunState.COMPLETE if error is None else RunState.FAIL
        self._send(state, self._clock(), self._run_id, self._flow, error=error)
        self._sender.close()

    def record_step(
        self,
        step: str,
        batch_id: str,
        *,
        started_at: datetime,
        ended_at: datetime,
        result: object = None,
        error: BaseException | None = None,
        written: Sequence[str] = (),
    ) -> None:
        """Send the start and the end of a step with its data sets. `written` are added to those of STEPS."""
        try:
            endpoint = batch_id.partition("-")[0]
            name = ".".join(filter(None, (self._flow, step, endpoint if endpoint in ENDPOINTS else "")))
            run_id = str(generate_static_uuid(started_at, f"{self._run_id} {name} {batch_id}".encode()))
            inputs, outputs = self._data_sets(step, batch_id, endpoint, result, error, written)
            self._send(RunState.START, started_at, run_id, name, inputs=inputs, outputs=outputs, step=step)
            state = RunState.COMPLETE if error is None else RunState.FAIL
            self._send(state, ended_at, run_id, name, inputs=inputs, outputs=outputs, error=error, step=step)
        except Exception as failure:  # lineage must not fail a run
            _LOGGER.warning("no lineage of %s: %s", step, summarize_defect(failure))

    def _send(
        self,
        state: RunState,
        moment: datetime,
        run_id: str,
        job: str,
        *,
        inputs: Sequence[InputDataset] = (),
        outputs: Sequence[OutputDataset] = (),
        error: BaseException | None = None,
        step: str = "",
    ) -> None:
        facets: dict[str, Any] = {}
        if step:
            parent = ParentJob(namespace=self._namespace, name=self._flow)
            facets["parent"] = ParentRunFacet(run=ParentRun(runId=self._run_id), job=parent)
        if error is not None:
            message = self._describe_error(error)
            facets["errorMessage"] = ErrorMessageRunFacet(message=message, programmingLanguage="python")
        event = RunEvent(
            eventType=state,
            eventTime=moment.isoformat(),
            run=Run(runId=run_id, facets=facets),
            job=Job(namespace=self._namespace, name=job, facets=_job_facets(step)),
            inputs=list(inputs),
            outputs=list(outputs),
            producer=PRODUCER,
        )
        self._sender.send(event)

    def _describe_error(self, error: BaseException) -> str:
        if self._flow in _FLOWS_WITHOUT_ERROR_TEXT:
            return type(error).__name__
        return str(error) if isinstance(error, MoovitamixError) else summarize_defect(error)

    def _data_sets(
        self,
        step: str,
        batch_id: str,
        endpoint: str,
        result: object,
        error: BaseException | None,
        also_written: Sequence[str],
    ) -> tuple[list[InputDataset], list[OutputDataset]]:
        read, written = ([name.format(endpoint=endpoint) for name in names] for names in STEPS[step])
        written += [name for name in also_written if name not in written]
        if step == "publish":
            written += self._beside_sessions() if endpoint == LISTEN_HISTORY else []
            written += marts_of({name for name in written if name.startswith("warehouse.")})
        if step in ("publish_recommendations", "switch_publication", "erase_data"):
            written += [mart for mart in marts_of(written) if mart not in written]
        if isinstance(result, StagedTables):
            self._staged_rows[batch_id] = result.counts.rows_staged
        statistics = _statistics(result)
        inputs = [InputDataset(*self._name(name), facets=self._facets(name, batch_id)) for name in read]
        outputs = [OutputDataset(*self._name(name), facets=self._facets(name, batch_id)) for name in written]
        if statistics is not None and outputs and error is None:
            outputs[0].outputFacets = {"outputStatistics": statistics}
        if results := _audit_results(result, error):
            inputs[0].inputFacets = self._quality(results, batch_id)
        return inputs, outputs

    def _beside_sessions(self) -> list[str]:
        """What a batch of sessions writes beside them. It confirms streamed sessions."""
        confirmed = ["stream.sessions", "stream.reconciliations"] if self._settings.is_streaming else []
        return ["warehouse.listen_history_tracks", *confirmed]

    def _quality(self, results: Iterable[ExpectationResult], batch_id: str) -> dict[str, Any]:
        assertions = [
            Assertion(
                assertion=result.expectation,
                success=result.success,
                column=result.column,
                severity="error" if result.severity == "critical" else "warn",
                description=result.description,
            )
            for result in results
        ]
        metrics = DataQualityMetricsInputDatasetFacet(columnMetrics={}, rowCount=self._staged_rows.get(batch_id))
        return {
            "dataQualityAssertions": DataQualityAssertionsDatasetFacet(assertions=assertions),
            "dataQualityMetrics": metrics,
        }

    def _name(self, name: str) -> tuple[str, str]:
        """The namespace and the name of a data set, by the naming rules of OpenLineage."""
        kind, separator, endpoint = name.partition(":")
        if not separator:
            return self._database[0], f"{self._database[1]}.{name}"
        if kind == "api":
            return self._settings.source, f"/{endpoint}"
        if kind == "topic":
            return _topic_name(self._settings)
        if kind == "shaped":
            return "file", f"{self._settings.data_dir}/shaped/{endpoint}"
        store = landing_store(self._settings) if kind == "landing" else model_store(self._settings)
        return _file_name(store.location_of(endpoint) if endpoint else store.location)

    def _facets(self, name: str, batch_id: str) -> dict[str, Any]:
        kind, separator, endpoint = name.partition(":")
        schema, _, table = name.partition(".")
        if not separator and schema in self._tables:
            facets = dict(self._tables[schema].get(table, {}))
            if name in COLUMN_LINEAGE:
                facets["columnLineage"] = self._column_lineage(name)
            return facets
        facets = {"version": DatasetVersionDatasetFacet(datasetVersion=batch_id)} if batch_id else {}
        endpoint = LISTEN_HISTORY if kind == "topic" else endpoint if separator else table
        if endpoint in ENDPOINTS:
            facets["schema"] = _schema_of_endpoint(endpoint, as_stored=kind not in ("api", "landing", "topic"))
        return facets

    def _column_lineage(self, relation: str) -> ColumnLineageDatasetFacet:
        def sources(columns: Iterable[str], transformation: Transformation) -> list[InputField]:
            names = [column.rpartition(".") for column in columns]
            return [
                InputField(*self._name(table), field=column, transformations=[transformation])
                for table, _, column in names
            ]

        lineage = COLUMN_LINEAGE[relation]
        return ColumnLineageDatasetFacet(
            fields={
                column: Fields(inputFields=sources(origins, Transformation(type="DIRECT")))
                for column, origins in lineage["columns"].items()
            },
            dataset=sources(lineage.get("rows", ()), Transformation(type="INDIRECT")),
        )


def marts_of(tables: Iterable[str]) -> list[str]:
    """The marts with a column or row that comes from one of the tables, directly or through another mart."""
    reached = set(tables)
    marts: list[str] = []
    while True:
        following = [mart for mart in COLUMN_LINEAGE if mart not in marts and _sources(mart) & reached]
        if not following:
            return sorted(marts)
        marts += following
        reached |= set(following)


@cache
def _sources(mart: str) -> frozenset[str]:
    lineage = COLUMN_LINEAGE[mart]
    columns = [*lineage.get("rows", ()), *(origin for origins in lineage["columns"].values() for origin in origins)]
    return frozenset(column.rpartition(".")[0] for column in columns)


def _statistics(result: object) -> OutputStatisticsOutputDatasetFacet | None:
    if isinstance(result, Landing):
        return OutputStatisticsOutputDatasetFacet(
            rowCount=result.rows, size=result.size, fileCount=None if result.files is None else len(result.files)
        )
    if isinstance(result, PublishedRecommendations):
        return OutputStatisticsOutputDatasetFacet(rowCount=result.rows)
    counts = getattr(result, "counts", None)
    if not isinstance(counts, Counts):
        return None
    changed = counts.rows_inserted + counts.rows_updated + counts.rows_removed
    return OutputStatisticsOutputDatasetFacet(
        rowCount=counts.rows_staged if isinstance(result, StagedTables) else changed
    )


def _audit_results(result: object, error: BaseException | None) -> Sequence[ExpectationResult]:
    if isinstance(result, AuditReport):
        return result.results
    if isinstance(error, BatchBlocked):
        return error.results
    if isinstance(result, list | tuple) and all(isinstance(part, ExpectationResult) for part in result):
        return result
    return ()


def _schema_of_endpoint(endpoint: str, *, as_stored: bool) -> SchemaDatasetFacet:
    specification = ENDPOINTS[endpoint]  # type: ignore[index]
    kinds = {"id_list": "array<bigint>", "id": "bigint", "time": "timestamp", "text": "string", "duration": "string"}
    fields = [
        SchemaDatasetFacetFields(name=field.name, type=kinds[field.kind], fields=[], ordinal_position=None)
        for field in specification.fields
    ]
    if as_stored:
        fields += [
            SchemaDatasetFacetFields(name=f"{field.name}_seconds", type="integer", fields=[], ordinal_position=None)
            for field in specification.fields
            if field.kind == "duration"
        ]
    return SchemaDatasetFacet(fields=fields)


@readable_errors()
def _table_facets(connection: Connection, schema: str) -> dict[str, dict[str, Any]]:
    """The columns of each table and view with their comments. Raises DatabaseError."""
    rows = connection.execute(load_query("ops/data_model.find_columns"), {"schema": schema}).fetchall()
    facets: dict[str, dict[str, Any]] = {}
    for (relation, comment), columns in groupby(rows, key=lambda row: (row[0], row[2])):
        fields = [
            SchemaDatasetFacetFields(name=name, type=type_name, description=meaning, fields=[], ordinal_position=None)
            for *_, name, type_name, _, _, meaning in columns
        ]
        facets[relation] = {
            "schema": SchemaDatasetFacet(fields=fields),
            "documentation": DocumentationDatasetFacet(description=comment),
        }
    return facets


def _new_run_id(flow: str, run_id: int | None, started_at: datetime) -> str:
    if run_id is None:
        return str(generate_new_uuid())
    return str(generate_static_uuid(started_at, f"{flow}-{run_id}".encode()))


def _job_facets(step: str) -> dict[str, Any]:
    processing = "STREAMING" if step in _STREAMING_STEPS else "BATCH"
    kind = JobTypeJobFacet(processingType=processing, integration="PREFECT", jobType="TASK" if step else "FLOW")
    if step not in _DELETIONS:
        return {"jobType": kind}
    return {"jobType": kind, "documentation": DocumentationJobFacet(description="Deletes rows of its outputs.")}


def _topic_name(settings: Settings) -> tuple[str, str]:
    """The namespace and the name of the topic; with Pub/Sub, of the subscription."""
    if settings.stream_transport == "pubsub":
        _, project, _, subscription = settings.stream_pubsub_subscription.split("/")
        return "pubsub", f"subscription:{project}:{subscription}"
    broker = settings.stream_bootstrap_servers.partition(",")[0].strip()
    return f"kafka://{broker}", settings.stream_topic


def _database(connection: Connection) -> tuple[str, str]:
    """The namespace of the database, and its name. A server on a socket is called localhost."""
    host = connection.info.host
    host = "localhost" if not host or host.startswith(("/", "@")) else host
    return f"postgres://{host}:{connection.info.port}", connection.info.dbname


def _file_name(location: str) -> tuple[str, str]:
    parts = urlsplit(location)
    if parts.scheme and parts.netloc:
        return f"{parts.scheme}://{parts.netloc}", parts.path.strip("/")
    return "file", str(Path(location).absolute())
