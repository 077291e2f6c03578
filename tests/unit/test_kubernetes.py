"""The Kubernetes manifests follow the schemas of Kubernetes and Prefect, and hold no secrets."""

from __future__ import annotations

import asyncio
import copy
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.server.schemas.actions import WorkPoolCreate
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

from core.prefect_names import WORK_POOLS
from core.settings import Settings
from services.deploy import _job_template
from tests.unit.test_deployment_files import PROJECT_SERVICES, ROOT, SERVICES

FOLDER = ROOT / "deploy/kubernetes"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
# The oldest and the newest release that is supported today.
RELEASES = ("1.34", "1.37")
MANIFESTS: dict[tuple[str, str], dict[str, Any]] = {
    (manifest["kind"], manifest["metadata"]["name"]): manifest
    for name in KUSTOMIZATION["resources"]
    for manifest in yaml.safe_load_all((FOLDER / name).read_text())
}
CONFIG_MAPS = ("moovitamix-settings", "moovitamix-compute", "moovitamix-console")
SETTINGS: dict[str, str] = {
    name: value
    for (kind, config_map), manifest in MANIFESTS.items()
    if kind == "ConfigMap" and config_map in CONFIG_MAPS
    for name, value in manifest["data"].items()
}


async def _job(pool: str) -> dict[str, Any]:
    """The job that Prefect's worker creates for a run in the pool."""
    template = _job_template(FOLDER / "pools" / f"{pool}.yaml")
    # The templates refer to nothing on a server, so this client sends no request.
    client = PrefectClient("http://127.0.0.1:9/api")
    configuration = await KubernetesWorkerJobConfiguration.from_template_and_values(template, {}, client=client)
    run = FlowRun.model_validate({"flow_id": "7b3a2f4e-5d26-4b35-9e0b-7a3d3d2f3b11", "name": "amber-fox"})
    configuration.prepare_for_flow_run(run)
    return dict(configuration.job_manifest)


JOBS = {pool: asyncio.run(_job(pool)) for pool in WORK_POOLS}


def _pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """The name and the specification of each pod."""
    for (kind, name), manifest in MANIFESTS.items():
        if kind in ("Deployment", "StatefulSet", "Job"):
            yield f"{kind} {name}", manifest["spec"]["template"]["spec"]
    for pool, job in JOBS.items():
        yield f"pool {pool}", job["spec"]["template"]["spec"]


PODS = dict(_pods())
CONTAINERS: dict[str, dict[str, Any]] = {name: pod["containers"][0] for name, pod in PODS.items()}


@pytest.mark.parametrize("release", RELEASES)
def test_manifests_and_jobs_of_work_pools_follow_the_schemas(release: str) -> None:
    for job in map(copy.deepcopy, JOBS.values()):
        for name in ("completions", "parallelism"):  # Prefect requires them there, and Kubernetes ignores them
            del job["spec"]["template"]["spec"][name]
        kubernetes_validate.validate(job, release, strict=True)
    for manifest in MANIFESTS.values():
        kubernetes_validate.validate(manifest, release, strict=True)


def test_schemas_refuse_an_unknown_field() -> None:
    manifest = MANIFESTS["Deployment", "serving"]
    wrong = manifest | {"spec": manifest["spec"] | {"replica": 2}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, RELEASES[-1], strict=True)


@pytest.mark.parametrize("pool", WORK_POOLS)
def test_prefect_accepts_the_job_template(pool: str) -> None:
    template = _job_template(FOLDER / "pools" / f"{pool}.yaml")
    WorkPoolCreate(name=pool, type="kubernetes", base_job_template=template)


def test_all_files_are_applied() -> None:
    (generated,) = KUSTOMIZATION["configMapGenerator"]
    applied = {*KUSTOMIZATION["resources"], *generated["files"], "kustomization.yaml"}
    assert applied == {str(file.relative_to(FOLDER)) for file in FOLDER.rglob("*.yaml")}
    assert set(generated["files"]) == {f"pools/{pool}.yaml" for pool in WORK_POOLS}


def test_job_and_manifests_use_the_same_image() -> None:
    (image,) = KUSTOMIZATION["images"]
    published = f"{image['newName']}:{image['newTag']}"
    assert {container["image"] for name, container in CONTAINERS.items() if name.startswith("pool")} == {published}
    assert {container["image"] for name, container in CONTAINERS.items() if not name.startswith("pool")} == {
        image["name"],
        SERVICES["redis"]["image"],
    }


@pytest.mark.parametrize("name", PODS)
def test_pod_has_limits_and_no_privileges(name: str) -> None:
    pod, container = PODS[name], CONTAINERS[name]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {"cpu", "memory"} <= container["resources"]["requests"].keys()
    assert "memory" in container["resources"]["limits"]
    may_call_kubernetes = pod.get("serviceAccountName") == "prefect-worker"
    assert may_call_kubernetes or pod["automountServiceAccountToken"] is False


@pytest.mark.parametrize("name", [name for name in PODS if name.startswith(("Deployment", "StatefulSet"))])
def test_long_running_pod_has_probes(name: str) -> None:
    assert {"readinessProbe", "livenessProbe"} <= CONTAINERS[name].keys()


@pytest.mark.parametrize("name", [name for name in CONTAINERS if CONTAINERS[name].get("args", [""])[0] == "python"])
def test_program_of_a_container_exists(name: str) -> None:
    assert CONTAINERS[name]["args"][1] == "-m"
    assert importlib.util.find_spec(CONTAINERS[name]["args"][2]) is not None


def test_pods_run_the_commands_of_the_compose_file() -> None:
    """Except workers, which start jobs, and the port of Redis."""
    composed = {name: service["command"] for name, service in PROJECT_SERVICES.items()}
    for name in ("prefect-server", "prefect-services", "serving", "stream", "alerts", "data-docs"):
        assert CONTAINERS[f"Deployment {name}"]["args"] == composed[name], name
    assert CONTAINERS["Deployment console"]["args"] == composed["serving"]
    assert CONTAINERS["Job migrate"]["args"] == composed["migrate"]
    assert CONTAINERS["Job deploy"]["args"][:3] == composed["deploy"]


def test_prefect_server_has_postgres_and_the_settings_of_the_compose_file() -> None:
    settings = MANIFESTS["ConfigMap", "moovitamix-prefect-server"]["data"]
    composed = {name: re.sub(r"\$\{RUN_RETENTION_DAYS:-(\d+)\}", r"\1", value) for name, value in _prefect_settings()}
    database = composed.pop("PREFECT_SERVER_DATABASE_CONNECTION_URL")
    assert database.startswith("postgresql+asyncpg://")
    assert {name: settings[name] for name in composed} == composed


def _prefect_settings() -> Iterator[tuple[str, str]]:
    for name, value in SERVICES["prefect-server"]["environment"].items():
        if name.startswith("PREFECT_") and name != "PREFECT_SERVER_UI_API_URL":
            yield name, value


def test_settings_exist_and_share_no_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = {name.upper() for name in Settings.model_fields}
    assert {name for name in SETTINGS if not name.startswith(("PREFECT_", "TMPDIR"))} <= names
    for name, value in SETTINGS.items():
        file = tmp_path / name
        file.touch()
        monkeypatch.setenv(name, str(file) if name.endswith("_FILE") else value)
    settings = Settings(_env_file=None)
    assert {settings.landing_url, settings.models_url} <= set(SETTINGS.values())
    claims = [
        volume for name, pod in PODS.items() for volume in pod.get("volumes", []) if "persistentVolumeClaim" in volume
    ]
    assert [claim["persistentVolumeClaim"]["claimName"] for claim in claims] == ["alerts"]


def test_secrets_are_references_that_the_docs_list() -> None:
    assert [kind for kind, _ in MANIFESTS if kind == "Secret"] == []
    variables = {**SETTINGS, **MANIFESTS["ConfigMap", "moovitamix-prefect-server"]["data"]}
    assert [name for name in variables if re.search("PASSWORD|TOKEN|SECRET|AUTH|ALERT_URLS|DATABASE_URL", name)] == []
    sources = [source for container in CONTAINERS.values() for source in container.get("envFrom", [])]
    names = {source["secretRef"]["name"] for source in sources if "secretRef" in source}
    names |= {
        volume["secret"]["secretName"]
        for pod in PODS.values()
        for volume in pod.get("volumes", [])
        if "secret" in volume
    }
    documented = re.findall(r"^\| `(moovitamix-[\w-]+)` \|", (ROOT / "docs/kubernetes.md").read_text(), re.M)
    assert sorted(names) == sorted(documented)


def _environment_sources(name: str) -> set[str]:
    """The names of the ConfigMaps and secrets whose keys are variables of the container."""
    return {reference["name"] for source in CONTAINERS[name].get("envFrom", []) for reference in source.values()}


def test_only_pods_that_compute_have_the_certificates_of_dask() -> None:
    """With them, a program can execute code on the workers, which hold the login of ingest."""
    computing = {"Deployment dask-scheduler", "Deployment dask-worker", *(f"pool {pool}" for pool in WORK_POOLS)}
    assert {
        name for name, pod in PODS.items() if any(volume["name"] == "dask" for volume in pod.get("volumes", []))
    } == computing
    assert {name for name in CONTAINERS if "moovitamix-compute" in _environment_sources(name)} == computing
    assert not [name for name in MANIFESTS["ConfigMap", "moovitamix-settings"]["data"] if name.startswith("DASK_")]


def test_only_the_console_can_start_runs_of_prefect() -> None:
    """The internet reaches the API, so the API must not have the login of Prefect."""
    settings = MANIFESTS["ConfigMap", "moovitamix-console"]["data"]
    port = MANIFESTS["Service", "prefect-server"]["spec"]["ports"][0]["port"]
    assert settings["CONSOLE_PREFECT_API_URL"] == f"http://prefect-server:{port}/api"
    assert {name for name in CONTAINERS if "moovitamix-console" in _environment_sources(name)} == {"Deployment console"}
    assert "moovitamix-prefect" not in _environment_sources("Deployment serving")
    unset = {name.upper() for name in Settings.model_fields if name.startswith("console_")} - settings.keys()
    assert unset == {"CONSOLE_PREFECT_LOGIN", "CONSOLE_OIDC_CLIENT_SECRET"}, "secrets"


def test_dask_worker_can_read_pages_for_an_ingest() -> None:
    """From the source, into the object store, at the rate that the database counts."""
    needed = _environment_sources("pool moovitamix") - {"moovitamix-alerts"}
    assert needed <= _environment_sources("Deployment dask-worker")


def test_memory_of_a_dask_worker_includes_a_trial() -> None:
    container = CONTAINERS["Deployment dask-worker"]
    worker_mb = int(container["args"][container["args"].index("--memory-mb") + 1])
    trial_mb = Settings.model_fields["retrain_memory_mb"].default
    limit = container["resources"]["limits"]["memory"]
    assert worker_mb + trial_mb + 512 <= int(limit.removesuffix("Gi")) * 1024, "512 for the process that watches them"


def test_pods_whose_address_is_public_are_reachable_from_outside() -> None:
    """Data Docs only from the Ingress controller, because they have no login."""
    assert {"DATA_DOCS_WEB_URL", "PREFECT_UI_URL"} <= SETTINGS.keys()
    policies = {name: manifest["spec"] for (kind, name), manifest in MANIFESTS.items() if kind == "NetworkPolicy"}
    (selector,) = policies["public"]["podSelector"]["matchExpressions"]
    assert selector["values"] == ["serving", "console", "prefect-server"]
    assert policies["data-docs"]["podSelector"] == {"matchLabels": {"app": "data-docs"}}
    (rule,) = policies["data-docs"]["ingress"]
    assert rule["ports"] == [{"port": port["containerPort"]} for port in CONTAINERS["Deployment data-docs"]["ports"]]
    assert rule["from"][0]["namespaceSelector"]["matchLabels"]


def test_job_of_owner_commands_reaches_the_files_that_an_erasure_changes() -> None:
    assert {"moovitamix-owner", "moovitamix-objects"} <= _environment_sources("Job migrate")


def test_each_job_has_one_login_of_the_database() -> None:
    logins = {
        pool: [
            source["secretRef"]["name"]
            for source in job["spec"]["template"]["spec"]["containers"][0]["envFrom"]
            if source.get("secretRef", {}).get("name")
            in ("moovitamix-owner", "moovitamix-ingest", "moovitamix-recommender")
        ]
        for pool, job in JOBS.items()
    }
    assert logins == {"moovitamix": ["moovitamix-ingest"], "moovitamix-models": ["moovitamix-recommender"]}
