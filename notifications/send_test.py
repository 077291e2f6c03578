"""`python -m notifications.send_test`: sends one test alert to each of `ALERT_URLS`, and says which took it.

Exit 0: all did; 1: one did not, or there is none; 2: wrong settings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from core.clock import utc_now
from core.errors import SettingsError
from core.settings import load_settings
from core.terminal import prepare_terminal
from core.tracebacks import without_tracebacks
from notifications.delivery import addresses, send
from notifications.notification import Notification


def main(arguments: Sequence[str] | None = None) -> int:
    """Try every address."""
    prepare_terminal()
    argparse.ArgumentParser(prog="python -m notifications.send_test", description=__doc__).parse_args(arguments)
    try:
        settings = load_settings(data_dir_is_written=False)
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    to = addresses(settings)
    if not to:
        print("error: ALERT_URLS is empty; set it in .env, as docs/notifications.md says", file=sys.stderr)
        return 1
    alert = Notification(
        key="test",
        severity="warning",
        what="a test: alerts reach you",
        since=utc_now(),
        kept="everything; nothing is wrong.",
        next="nothing to do.",
    )
    taken = [send(address, alert.subject, alert.body) for address in to]
    for address, good in zip(to, taken, strict=True):
        kind = address.url.partition("://")[0]
        print(f"{address.name} ({kind}): {'taken' if good else 'NOT taken'}", flush=True)
    return 0 if all(taken) else 1


if __name__ == "__main__":
    sys.exit(without_tracebacks(main))
