"""Sends a test notification to each address of `ALERT_URLS`, and prints which accepted it.

Exit code 0: all accepted it; 1: an address did not accept it, or there is no address; 2: wrong settings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from core.clock import utc_now
from core.exit_codes import returns_exit_code, run_main
from core.settings import load_settings
from core.terminal import prepare_terminal
from notifications.delivery import addresses, send
from notifications.notification import Notification


@returns_exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Send the test, and return the exit code."""
    prepare_terminal()
    argparse.ArgumentParser(prog="python -m notifications.send_test", description=__doc__).parse_args(arguments)
    settings = load_settings(data_dir_is_written=False)
    configured = addresses(settings)
    if not configured:
        print("error: ALERT_URLS is empty; set it in .env, see docs/notifications.md", file=sys.stderr)
        return 1
    notification = Notification(
        key="test",
        severity="warning",
        summary="a test: notifications reach you",
        since=utc_now(),
        unaffected="everything; nothing is wrong.",
        next="nothing to do.",
    )
    results = [send(address, notification.subject, notification.body) for address in configured]
    for address, accepted in zip(configured, results, strict=True):
        kind = address.url.partition("://")[0]
        print(f"{address.name} ({kind}): {'accepted' if accepted else 'NOT accepted'}", flush=True)
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(run_main(main))
