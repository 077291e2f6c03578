"""The base of all other packages: settings, errors, endpoints, database sessions. It imports none of them.

Importing `core` sets the network variables of this process and its children, before another library reads them.
Requests to this machine use no proxy, no request sends a login from ~/.netrc, and no library sends telemetry.
"""

import os

from core.proxies import keep_loopback_direct

keep_loopback_direct(os.environ)
# Docker Compose passes unset variables as empty strings. The library for object stores would use them.
for _name in [
    name for name, value in os.environ.items() if name.startswith(("AWS_", "AZURE_", "GOOGLE_")) and not value
]:
    del os.environ[_name]
# `requests` would replace the token of a request with a login from this file.
os.environ["NETRC"] = os.devnull
os.environ.update(DO_NOT_TRACK="1", GX_ANALYTICS_ENABLED="False", PREFECT_SERVER_ANALYTICS_ENABLED="false")
