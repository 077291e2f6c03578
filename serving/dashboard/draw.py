"""`python -m serving.dashboard.draw`: charts from standard input to SVG on standard output, as JSON, and then it ends.

A process of its own: the engine that draws keeps 150 MB and two cores for itself, and answering requests must not wait.
"""

from __future__ import annotations

import os
import sys

import orjson

from serving.dashboard.charts import PIXELS, draw

_NICENESS = 5


def main() -> int:
    """From `{key: [name, drawing]}` to `{key: {width: svg}}`."""
    os.nice(_NICENESS)
    asked = orjson.loads(sys.stdin.buffer.read())
    drawn = {key: {width: draw(name, drawing, width) for width in PIXELS} for key, (name, drawing) in asked.items()}
    sys.stdout.buffer.write(orjson.dumps(drawn))
    return 0


if __name__ == "__main__":
    sys.exit(main())
