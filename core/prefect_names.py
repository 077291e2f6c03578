"""Names that flows, services and notifications share, in Prefect and in the environment of its processes."""

from __future__ import annotations

# `moovitamix` extracts and publishes data. `moovitamix-models` trains, recommends and evaluates: it needs more memory
# and cores.
WORK_POOL = "moovitamix"
MODELS_WORK_POOL = "moovitamix-models"
WORK_POOLS = (WORK_POOL, MODELS_WORK_POOL)
# Every run has this tag, whether a deployment or a command started it.
RUN_TAG = "moovitamix"
# How long Prefect's server, or another local service, may take to start on a busy machine.
SECONDS_TO_START = 300.0
# This variable marks the processes of local services, so that `make down` finds them after the supervisor was killed.
SERVICES_MARK = "MOOVITAMIX_SERVICES"
# The watchdog counts a run as lost after 60 to 90 s without a heartbeat.
FLOW_HEARTBEAT = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
