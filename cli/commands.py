"""The commands of `moovitamix`: arguments, help and examples. Each command runs a module like `python -m`.

The arguments repeat those of `python -m <module>`, so that help, completion and argument checks import no module. A
test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Group, Parameter
from cyclopts.validators import Number

from cli.modules import run_module
from core.api_scopes import Scope
from core.endpoints import Endpoint

Command = Callable[..., Any]
_FLOWS = Group("Flows", sort_key=1)
_SERVICES = Group("Local services", sort_key=2)
_DATABASE = Group("Database", sort_key=3)
_TOOLS = Group("Tools", sort_key=4)
_SHELL = Group("Help", sort_key=5)

app = App(
    name="moovitamix",
    help="MoovitaMix: from the music API to audited data and recommendations.",
    help_epilogue="Run `moovitamix COMMAND --help` for the options of a command and an example.",
    help_format="plaintext",
    default_parameter=Parameter(negative=()),
    version_flags=[],
    group_commands=_SHELL,
)
app["--help"].group = _SHELL
app.register_install_completion_command(help="Install completion for your shell.", group=_SHELL)


def _command(group: Group, example: str, parent: App = app, name: str | None = None) -> Callable[[Command], Command]:
    return parent.command(name=name, group=group, help_epilogue=f"Example:\n\n    {example}")


def _validate_day(_type: Any, value: str | None) -> None:
    from core.dates import parse_day

    if value is not None:
        parse_day(value)


def _validate_time(_type: Any, value: str | None) -> None:
    from core.dates import parse_time

    if value is not None:
        parse_time(value)


def _argument(help_text: str, *validators: Any) -> Parameter:
    return Parameter(help=help_text, validator=validators)


def _flag(help_text: str) -> Parameter:
    return Parameter(help=help_text, show_default=False)


Json = Annotated[bool, _flag("Print the result as one JSON document.")]
Positive = Number(gt=0)
Share = Number(gte=0, lte=1)


@_command(_FLOWS, "moovitamix ingest --day 2026-11-22 --endpoint tracks")
def ingest(
    *,
    day: Annotated[
        str | None, _argument("Day of the batches, YYYY-MM-DD. Default: today in UTC.", _validate_day)
    ] = None,
    endpoint: Annotated[list[Endpoint] | None, Parameter(help="Only this endpoint. Repeatable.")] = None,
    refresh: Annotated[bool, _flag("Extract again what is already published.")] = False,
    json: Json = False,
) -> int:
    """Extract, audit and publish the snapshots of one day."""
    return run_module("flows.ingest", day=day, endpoint=endpoint, refresh=refresh, json=json)


@_command(_FLOWS, "moovitamix monitor")
def monitor(*, json: Json = False) -> int:
    """Measure the quality of published recommendations, day by day, and raise drift alarms."""
    return run_module("flows.monitor", json=json)


@_command(_FLOWS, "moovitamix recommend")
def recommend(*, json: Json = False) -> int:
    """Publish new recommendations from the champion, without a training."""
    return run_module("flows.recommend", json=json)


@_command(_FLOWS, "moovitamix retrain --as-of 2026-11-22T03:00 --seed 7")
def retrain(
    *,
    as_of: Annotated[
        str | None, _argument("Use plays before this UTC time only. Default: now.", _validate_time)
    ] = None,
    seed: Annotated[int, _argument("Seed of random numbers.", Number(gte=0, lt=2**32))] = 0,
    refresh: Annotated[bool, _flag("Let a challenger that is as good replace an old champion.")] = False,
    json: Json = False,
) -> int:
    """Train the candidate models, and publish the best if it beats the champion."""
    return run_module("flows.retrain", as_of=as_of, seed=seed, refresh=refresh, json=json)


@_command(_FLOWS, "moovitamix rollback 12 --why 'the new recommendations repeat artists'")
def rollback(
    publication_id: Annotated[
        int | None, _argument("Default: the publication before the live one.", Number(gte=1))
    ] = None,
    /,
    *,
    why: Annotated[str, Parameter(help="Reason, stored with the publication.")] = "rolled back by hand",
    json: Json = False,
) -> int:
    """Make an earlier publication live again."""
    return run_module("flows.rollback", publication_id, why=why, json=json)


experiment = App(name="experiment", help="Serve two models side by side, and promote the better one.", group=_FLOWS)
app.command(experiment)


@_command(_FLOWS, "moovitamix experiment start 12 --share 0.5 --why 'does the new model win?'", experiment, "start")
def start_experiment(
    publication_id: Annotated[int, _argument("A publication of the model to test.", Number(gte=1))],
    /,
    *,
    share: Annotated[float, _argument("Share of users who get it.", Number(gte=0.01, lte=0.99))] = 0.5,
    why: Annotated[str, Parameter(help="Reason, stored with the experiment.")] = "started by hand",
    json: Json = False,
) -> int:
    """Serve the live model and that of a publication side by side."""
    return run_module("flows.experiment", "start", publication_id, share=share, why=why, json=json)


@_command(_FLOWS, "moovitamix experiment stop --promote --why 'ndcg rose by 8 %'", experiment, "stop")
def stop_experiment(
    *,
    promote: Annotated[bool, _flag("Make the tested model live.")] = False,
    anyway: Annotated[bool, _flag("Promote it even if it is not better beyond chance.")] = False,
    why: Annotated[str, Parameter(help="Reason, stored with the experiment.")] = "ended by hand",
    json: Json = False,
) -> int:
    """End the experiment: all users get the same model again."""
    return run_module("flows.experiment", "stop", promote=promote, anyway=anyway, why=why, json=json)


@_command(_FLOWS, "moovitamix experiment status", experiment, "status")
def experiment_status(*, json: Json = False) -> int:
    """Show the newest experiment and its result."""
    return run_module("flows.experiment", "status", json=json)


@_command(_FLOWS, "moovitamix replay tracks-2026-11-22 --accept 'the label withdrew its catalogue' --by 'ticket 4711'")
def replay(
    batch_id: Annotated[str, Parameter(help="Such as tracks-2026-11-22.")],
    /,
    *,
    accept: Annotated[str | None, Parameter(help="Publish the blocked batch as it is, for this reason.")] = None,
    by: Annotated[str | None, Parameter(help="Who accepts it: a ticket or a team, no e-mail address.")] = None,
    json: Json = False,
) -> int:
    """Audit and publish a landed batch again, without extracting it."""
    return run_module("flows.replay", batch_id, accept=accept, by=by, json=json)


@_command(
    _TOOLS,
    "moovitamix confirm listen_history-2026-11-22 sessions --why 'launch in Brazil' --by 'ticket 4713'",
)
def confirm(
    batch_id: Annotated[str, Parameter(help="Such as listen_history-2026-11-22.")],
    figure: Annotated[str, Parameter(help="Such as sessions.")],
    /,
    *,
    why: Annotated[str, Parameter(help="Reason, stored with the decision.")],
    by: Annotated[str, Parameter(help="Who confirms it: a ticket or a team, no e-mail address.")],
) -> int:
    """Confirm that an unusual figure of a batch is correct."""
    return run_module("cli.confirm_figure", batch_id, figure, why=why, by=by)


@_command(_FLOWS, "moovitamix erase 13582629 --reason 'asked to be forgotten' --requested-by 'ticket 4712'")
def erase(
    user_id: Annotated[int | None, Parameter(help="Id of the user at the source.")] = None,
    /,
    *,
    reason: Annotated[str, Parameter(help="Why. Stored in ops.erasures.")] = "",
    requested_by: Annotated[str, Parameter(help="A reference such as a ticket, no e-mail address.")] = "",
    allow_again: Annotated[bool, _flag("Erase nothing: remove the user from the suppression list.")] = False,
    again: Annotated[bool, _flag("Erase every suppressed user who came back, as after a restore.")] = False,
    json: Json = False,
) -> int:
    """Erase a user everywhere, and keep them out."""
    return run_module(
        "flows.erase", user_id, reason=reason or None, requested_by=requested_by or None,
        allow_again=allow_again, again=again, json=json,
    )  # fmt: skip


@_command(_FLOWS, "moovitamix maintain --retention-days 7")
def maintain(
    *,
    retention_days: Annotated[
        int | None, _argument("Days to keep. Default: RETENTION_DAYS.", Number(gte=1, lte=36_500))
    ] = None,
    json: Json = False,
) -> int:
    """Delete raw pages, staging tables, Data Docs and rejected messages that are older than the retention."""
    return run_module("flows.maintain", retention_days=retention_days, json=json)


Model = Literal[
    "popularity", "popularity_by_genre", "content", "als", "ease", "chebyshev",
    "ease_als", "chebyshev_als", "ease_content", "chebyshev_content",
]  # fmt: skip


@_command(_TOOLS, "moovitamix evaluate --train train.csv --test test.csv --model ease als")
def evaluate(
    *,
    train: Annotated[Path, Parameter(help="Training data: Parquet or CSV with user_id, track_id and, if any, plays.")],
    test: Annotated[Path, Parameter(help="Holdout, in the same format.")],
    tracks: Annotated[Path | None, Parameter(help="Item attributes: track_id with artist, genres or both.")] = None,
    time_column: Annotated[
        str | None, Parameter(help="Column of train with the time of a play, to split by time (played_at, if any).")
    ] = None,
    k: Annotated[int, _argument("Number of recommended tracks.", Number(gte=1))] = 20,
    model: Annotated[list[Model] | None, Parameter(help="Only these models.", consume_multiple=True)] = None,
    json: Json = False,
    seed: Annotated[int, _argument("Seed of the splits.", Number(gte=0))] = 0,
    time_limit: Annotated[float, _argument("Seconds after which a model is excluded.", Positive)] = 900,
    memory_mb: Annotated[float, _argument("MiB of memory above which a model is excluded.", Positive)] = 2048,
    diversity: Annotated[float, _argument("Strength of the re-ranking for more coverage.", Number(gte=0, lte=1))] = 0,
    trials: Annotated[int, _argument("Trials of the model search.", Number(gte=1))] = 40,
    budget: Annotated[float, _argument("Safety limit of the model search in seconds.", Positive)] = 3600,
) -> int:
    """Compare the models on your own plays."""
    files = {name: file and file.absolute() for name, file in {"train": train, "test": test, "tracks": tracks}.items()}
    return run_module(
        "recommender.evaluate", **files, time_column=time_column, k=k, model=model, json=json, seed=seed,
        time_limit=time_limit, memory_mb=memory_mb, diversity=diversity, trials=trials, budget=budget,
    )  # fmt: skip


keys = App(name="keys", help="Create, list and revoke API keys of the serving API.", group=_TOOLS)
app.command(keys)


@_command(_TOOLS, "moovitamix keys create --name mobile-app --scope recommendations:read --days 365", keys)
def create(
    *,
    name: Annotated[str, Parameter(help="Owner of the key, such as mobile-app.")],
    scope: Annotated[list[Scope], Parameter(help="What the key may do. Repeatable.")],
    days: Annotated[int | None, _argument("Days until it expires. Default: never.", Number(gte=1, lte=36_500))] = None,
) -> int:
    """Create a key and print it once."""
    return run_module("serving.keys", "create", name=name, scope=scope, days=days)


@_command(_TOOLS, "moovitamix keys list", keys, "list")
def list_keys() -> int:
    """List all keys, without secrets."""
    return run_module("serving.keys", "list")


@_command(_TOOLS, "moovitamix keys revoke 3f9c0a51b7de", keys)
def revoke(key_id: Annotated[str, Parameter(help="Id of the key: the part between mm_ and the secret.")], /) -> int:
    """Stop a key from working, within seconds."""
    return run_module("serving.keys", "revoke", key_id)


alerts = App(name="alerts", help="Test notifications, and run the watchdog.", group=_TOOLS)
app.command(alerts)


@_command(_TOOLS, "moovitamix alerts test", alerts)
def test() -> int:
    """Send a test notification to each of ALERT_URLS."""
    return run_module("notifications.send_test")


@_command(_TOOLS, "moovitamix alerts watch --once", alerts)
def watch(
    *,
    once: Annotated[bool, _flag("Check and notify once, then exit.")] = False,
    healthy: Annotated[bool, _flag("Exit with 0 if a watchdog ran lately, else with 1.")] = False,
    serving: Annotated[str, Parameter(help="URL of the serving API, where `make up` does not run it.")] = "",
) -> int:
    """Run the watchdog."""
    return run_module("notifications.watchdog", once=once, healthy=healthy, serving=serving or None)


@_command(_TOOLS, "moovitamix health --output health.html")
def health(*, output: Annotated[Path, Parameter(help="File to write, such as health.html.")]) -> int:
    """Write the health page to a file. Exit code 0 means healthy."""
    return run_module("serving.dashboard", output=output.absolute())


@_command(_TOOLS, "moovitamix contract-changes data-contract-1.0.0.yaml", name="contract-changes")
def contract_changes(
    old: Annotated[Path, Parameter(help="The contract before, such as that of the last release.")],
    /,
    *,
    new: Annotated[Path | None, Parameter(help="The contract now. Default: that of this folder.")] = None,
) -> int:
    """Report breaking changes between two versions of the data contract."""
    return run_module("cli.contract_changes", old.absolute(), new=new and new.absolute())


mock = App(
    name="mock",
    group=_TOOLS,
    help_epilogue=(
        "Example:\n\n    moovitamix mock --port 8123 --day 2026-09-01 --outage 2026-08-30 --fault error_share=0.1"
    ),
)
app.command(mock)


@mock.default
def run_mock(
    *,
    host: Annotated[str, Parameter(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, _argument("0 chooses a free port.", Number(gte=0, lte=65_535))] = 8000,
    token: Annotated[str | None, Parameter(help="Answer only requests with this bearer token.")] = None,
    seed: Annotated[int, _argument("Seed of the simulated data.", Number(gte=0, lte=2**31))] = 7,
    users: Annotated[int, _argument("Users on the base day.", Number(gte=1))] = 1000,
    tracks: Annotated[int, _argument("Tracks on the base day.", Number(gte=1))] = 1000,
    sessions: Annotated[int, _argument("Sessions on the base day.", Number(gte=0))] = 1000,
    plays_per_session: Annotated[int, _argument("Different tracks in a session.", Number(gte=1, lte=100))] = 5,
    day: Annotated[
        str | None, _argument("Simulated day. Default: today; it follows the calendar.", _validate_day)
    ] = None,
    base_day: Annotated[str | None, _argument("Day on which the sizes hold. Default: --day.", _validate_day)] = None,
    start: Annotated[
        str | None, _argument("First day of the history. Default: 548 days before.", _validate_day)
    ] = None,
    plays_file: Annotated[Path | None, Parameter(help="Keep sessions that users start meanwhile in this file.")] = None,
    growth: Annotated[float, _argument("New users and tracks a day, as a share.", Share)] = 0.002,
    new_sessions: Annotated[float, _argument("New sessions a day, as a share.", Share)] = 0.01,
    updates: Annotated[float, _argument("Rows that change a day, as a share.", Share)] = 0.005,
    removals: Annotated[float, _argument("Rows that are removed a day, as a share.", Share)] = 0.0005,
    taste_shift: Annotated[str | None, Parameter(help="DAY=SHARE: a share of users has new tastes from then on.")] = (
        None
    ),
    catalogue_shift: Annotated[str | None, Parameter(help="DAY=SHARE: new tracks take that share of plays.")] = None,
    outage: Annotated[
        str | None, _argument("Plays from 12:00 of this day are missing on the next day.", _validate_day)
    ] = None,
    fault: Annotated[list[str] | None, Parameter(help="[ENDPOINT[/PAGE]:]NAME=VALUE. Repeatable.")] = None,
    fault_seed: Annotated[int, _argument("Seed of the faults.", Number(gte=0, lte=2**31))] = 0,
) -> int:
    """Run the mock API. `moovitamix mock play` lets its users listen."""
    return run_module(
        "mock_server", host=host, port=port, token=token, seed=seed, users=users, tracks=tracks, sessions=sessions,
        plays_per_session=plays_per_session, day=day, base_day=base_day, start=start, growth=growth,
        plays_file=plays_file, new_sessions=new_sessions, updates=updates, removals=removals, taste_shift=taste_shift,
        catalogue_shift=catalogue_shift, outage=outage, fault=fault, fault_seed=fault_seed,
    )  # fmt: skip


@_command(_TOOLS, "moovitamix mock play --rate 20 --seconds 60", mock)
def play(
    *,
    api: Annotated[str, Parameter(help="URL of the mock API.")] = "http://127.0.0.1:8000",
    bootstrap_servers: Annotated[str, Parameter(help="Addresses of the Kafka broker.")] = "127.0.0.1:9092",
    topic: Annotated[str, Parameter(help="Topic of listening sessions.")] = "moovitamix.listens",
    rate: Annotated[float, _argument("Sessions per second.", Positive)] = 10.0,
    seconds: Annotated[float, _argument("How long to play.", Positive)] = 60.0,
    growing: Annotated[float, _argument("Share of sessions sent first with one track.", Share)] = 0.0,
    repeated: Annotated[float, _argument("Share of sessions sent twice.", Share)] = 0.0,
    malformed: Annotated[float, _argument("Share of sessions after a malformed message.", Share)] = 0.0,
    user_id: Annotated[int | None, Parameter(help="Send one session of this user instead.")] = None,
    track_id: Annotated[list[int] | None, Parameter(help="Track of that session. Repeatable.")] = None,
) -> int:
    """Let users of the mock listen, and send their sessions to the topic."""
    return run_module(
        "mock_server.play", api=api, bootstrap_servers=bootstrap_servers, topic=topic, rate=rate, seconds=seconds,
        growing=growing, repeated=repeated, malformed=malformed, user_id=user_id, track_id=track_id,
    )  # fmt: skip


stream = App(name="stream", group=_SERVICES, help_epilogue="Example:\n\n    moovitamix stream")
app.command(stream)


@stream.default
def run_stream() -> int:
    """Consume listening sessions from Kafka or Pub/Sub, and recommend from them at once."""
    return run_module("streaming")


@_command(_SERVICES, "moovitamix stream status --json", stream, "status")
def stream_status(*, json: Json = False) -> int:
    """Show topic, offsets, lag, sessions and consumers. Exit code 1 means that a part does not answer."""
    return run_module("cli.stream_status", json=json)


@_command(_SERVICES, "moovitamix stream audit --hours 2", stream, "audit")
def stream_audit(
    *,
    hours: Annotated[
        float | None,
        _argument("Audit the last hours. Default: since the last audit, at most 24.", Number(gt=0, lte=24)),
    ] = None,
    json: Json = False,
) -> int:
    """Audit streamed sessions and fresh recommendations. Lists that fail are deleted."""
    return run_module("cli.stream_audit", hours=hours, json=json)


@_command(_SERVICES, "moovitamix stream replay --from 2026-11-22T03:00", stream, "replay")
def stream_replay(
    *,
    from_: Annotated[
        str,
        Parameter(name="--from", help="UTC time of the first message, as 2026-11-22T03:00.", validator=_validate_time),
    ],
    json: Json = False,
) -> int:
    """Consume messages again, from a time on. Messages that are stored already change nothing."""
    return run_module("cli.stream_replay", **{"from": from_}, json=json)


compute = App(name="compute", help="Run scheduler and workers of a Dask cluster.", group=_SERVICES)
app.command(compute)
Host = Annotated[str, Parameter(help="Address to listen on. Other than loopback needs TLS.")]
ContactAddress = Annotated[
    str | None, Parameter(help="Address for other processes, as tls://host:port. Default: where it listens.")
]


@_command(_SERVICES, "moovitamix compute scheduler --host 0.0.0.0", compute)
def scheduler(
    *,
    host: Host = "127.0.0.1",
    port: Annotated[int, _argument("0 chooses a free port.", Number(gte=0, lte=65_535))] = 8786,
    contact_address: ContactAddress = None,
) -> int:
    """Run the Dask scheduler until SIGTERM or Ctrl-C."""
    return run_module("compute.scheduler", host=host, port=port, contact_address=contact_address)


@_command(_SERVICES, "moovitamix compute worker --trials 2", compute)
def worker(
    *,
    host: Host = "127.0.0.1",
    port: Annotated[int, _argument("0 chooses a free port.", Number(gte=0, lte=65_535))] = 0,
    contact_address: ContactAddress = None,
    threads: Annotated[int | None, _argument("Blocks at once. Default: one per core.", Number(gte=1))] = None,
    trials: Annotated[int, _argument("Trials of models at once, each up to RETRAIN_MEMORY_MB.", Number(gte=0))] = 1,
    memory_mb: Annotated[float | None, _argument("MiB at which its process is ended. Default: none.", Positive)] = None,
) -> int:
    """Run a worker of the cluster of DASK_SCHEDULER."""
    return run_module(
        "compute.worker", host=host, port=port, contact_address=contact_address, threads=threads, trials=trials,
        memory_mb=memory_mb,
    )  # fmt: skip


@_command(_SERVICES, "moovitamix compute certificates certificates", compute)
def certificates(
    folder: Annotated[Path, Parameter(help="Folder to write to.")],
    /,
    *,
    days: Annotated[int, _argument("Days until they expire.", Number(gte=1, lte=36_500))] = 825,
) -> int:
    """Make the certificates of a cluster: an authority, and one for scheduler, workers and flows."""
    return run_module("compute.certificates", folder.absolute(), days=days)


@_command(_SERVICES, "moovitamix up")
def up() -> int:
    """Start Postgres, the APIs, Prefect and its worker on this machine."""
    return run_module("services", "up")


@_command(_SERVICES, "moovitamix down")
def down() -> int:
    """Stop all of them. The data stays."""
    return run_module("services", "down")


@_command(_SERVICES, "moovitamix status")
def status() -> int:
    """Show which services run, and where."""
    return run_module("services", "status")


@_command(_DATABASE, "moovitamix psql -c 'select count(*) from mart.fact_listens'")
def psql(
    *,
    owner: Annotated[bool, _flag("Connect as the owner of the schema, who may change everything.")] = False,
    command: Annotated[str | None, Parameter(name=["--command", "-c"], help="Run this statement, then exit.")] = None,
) -> int:
    """Open the database as the read-only analyst role."""
    return run_module("cli.psql", owner=owner, command=command)


@_command(_DATABASE, "moovitamix backup before-upgrade.tar")
def backup(file: Annotated[Path | None, Parameter(help="Default: DATA_DIR/backups/<time>.tar.")] = None, /) -> int:
    """Write the database and the models to one file."""
    return run_module("services.backup", "make", file and file.absolute())


@_command(_DATABASE, "moovitamix restore before-upgrade.tar --force")
def restore(
    file: Annotated[str, Parameter(help="File or URL written by `moovitamix backup`.")],
    /,
    *,
    force: Annotated[bool, _flag("Replace what the database holds.")] = False,
) -> int:
    """Restore the database and the models from a backup."""
    return run_module("services.backup", "restore", _absolute(file), force=force)


@_command(_DATABASE, "moovitamix verify before-upgrade.tar")
def verify(file: Annotated[str, Parameter(help="File or URL written by `moovitamix backup`.")], /) -> int:
    """Restore a backup beside the database, and compare it with what was backed up."""
    return run_module("services.backup", "verify", _absolute(file))


def _absolute(file: str) -> str:
    """A URL unchanged, or the absolute path of a file."""
    return file if "://" in file else str(Path(file).absolute())


@_command(_DATABASE, "moovitamix migrate")
def migrate() -> int:
    """Bring the schema up to date."""
    return run_module("core.migrate")


@_command(_TOOLS, "moovitamix doctor --json")
def doctor(*, json: Json = False) -> int:
    """Check settings, ports, database, roles, disk, source API and Prefect. Exit code 1 means problems."""
    return run_module("cli.doctor", json=json)
