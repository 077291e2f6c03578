"""The settings of the commands `moovitamix stream ...`: those of the local services."""

from __future__ import annotations

import logging

from core.errors import SettingsError
from core.settings import Settings
from core.temporary_files import keep_temporary_files_in
from services.local_services import load_local_services


def load_stream_settings() -> Settings:
    """Settings with the address of the local broker, if `make up` starts one.

    Raises SettingsError if streaming is off.
    """
    logging.getLogger("librdkafka").setLevel(logging.CRITICAL)  # an exception says that the broker does not answer
    services = load_local_services()
    settings = services.settings.model_copy(update={"stream_bootstrap_servers": services.bootstrap_servers})
    keep_temporary_files_in(settings.data_dir)
    if not settings.is_streaming:
        raise SettingsError(
            "streaming is off: STREAM_BOOTSTRAP_SERVERS is empty, and `make up` starts no local broker; "
            "set it to the addresses of the brokers, then run again"
        )
    return settings
