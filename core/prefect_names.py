"""Names in Prefect, and in the environment of its processes, that flows, services and notifications share."""

from __future__ import annotations

WORK_POOL = "moovitamix"
# All our runs have this tag, those of deployments and those of commands.
RUN_TAG = "moovitamix"
# This variable marks the processes of local services, so that those of a killed supervisor can be found.
SERVICES_MARK = "MOOVITAMIX_SERVICES"
# The watchdog counts a run as lost after 60 to 90 s without a heartbeat.
FLOW_HEARTBEAT = {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}
