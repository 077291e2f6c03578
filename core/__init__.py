"""The base of all other packages: settings, errors, endpoints, database sessions. It imports no other package of ours.

Importing `core` sets the network variables of this process and its children, before another library reads them.
Requests to this machine use no proxy, no request sends a login from ~/.netrc, and no library sends telemetry.
"""

import os

from core.proxies import keep_loopback_direct

keep_loopback_direct(os.environ)
# `requests` would replace the token of a request with a login from this file.
os.environ["NETRC"] = os.devnull
os.environ.update(DO_NOT_TRACK="1", GX_ANALYTICS_ENABLED="False", PREFECT_SERVER_ANALYTICS_ENABLED="false")
