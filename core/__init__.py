"""What every part stands on: settings, errors, column names, the database. Imports nothing of ours but `core`.

Importing it keeps requests to this machine away from proxies: every program of ours does so before any other library
reads the environment.
"""

import os

from core.proxies import keep_loopback_direct

keep_loopback_direct(os.environ)
