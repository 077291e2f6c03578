"""What every part stands on: settings, errors, column names, the database. Imports nothing of ours but `core`.

Importing it settles how this process and its children use the network, before any other library reads the environment:
requests to this machine take no proxy, none carries a login of ~/.netrc, and no library sends telemetry.
"""

import os

from core.proxies import keep_loopback_direct

keep_loopback_direct(os.environ)
# `requests` puts a login of this file even before the token that a request has of its own.
os.environ["NETRC"] = os.devnull
os.environ.update(DO_NOT_TRACK="1", GX_ANALYTICS_ENABLED="False", PREFECT_SERVER_ANALYTICS_ENABLED="false")
