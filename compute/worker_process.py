"""The process of a worker imports this before it joins, so that its log has no traceback and no content of blocks."""

from __future__ import annotations

import logging

from core.tracebacks import hide_tracebacks


class _WithoutContent(logging.Filter):
    """Shortens the record of a failed block, which would quote the block and the error. The flow reports the error."""

    def filter(self, record: logging.LogRecord) -> bool:
        if str(record.msg).startswith("Compute Failed"):
            record.msg, record.args = "a block failed; the flow that sent it reports the error", ()
        return True


hide_tracebacks()
logging.getLogger("distributed.worker").addFilter(_WithoutContent())
