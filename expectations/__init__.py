"""Whether a staged batch may be published: one suite a table, run where the rows are, before anyone can see them.

`thresholds` is light. Everything else imports Great Expectations, which takes seconds: import it where an audit runs.
"""

import core  # noqa: F401  it turns telemetry off, before Great Expectations is imported
