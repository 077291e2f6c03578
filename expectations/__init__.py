"""Audits of staged batches: one suite of expectations per table, evaluated in the database before publication.

`thresholds` imports quickly. The other modules import Great Expectations, which takes seconds: import them only where
an audit runs.
"""

import core  # noqa: F401  it disables telemetry before Great Expectations is imported
