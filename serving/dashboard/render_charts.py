"""`python -m serving.dashboard.render_charts`: read chart data as JSON, and write SVG as JSON.

It runs as a separate process: the rendering engine uses 150 MB and two cores, and requests must not wait for it.
"""

from __future__ import annotations

import os
import sys

import orjson

from serving.dashboard.altair_charts import PIXELS, render_svg

_NICENESS = 5


def main() -> int:
    """Convert `{key: [name, chart_data]}` to `{key: {width: svg}}`."""
    os.nice(_NICENESS)
    charts = orjson.loads(sys.stdin.buffer.read())
    svgs = {
        key: {width: render_svg(name, chart_data, width) for width in PIXELS}
        for key, (name, chart_data) in charts.items()
    }
    sys.stdout.buffer.write(orjson.dumps(svgs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
