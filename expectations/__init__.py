"""Whether a staged batch may be published: one suite a table, run where the rows are, before anyone can see them.

`thresholds` is light. Everything else imports Great Expectations, which takes seconds: import it where an audit runs.
"""

import os

# Read when Great Expectations is imported: no usage statistics leave this machine.
os.environ.setdefault("GX_ANALYTICS_ENABLED", "False")
