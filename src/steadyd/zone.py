"""The time zone of the host."""

import os
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo


def local_zone() -> tzinfo:
    """Return the zone of the host: TZ, else /etc/localtime, else UTC."""
    name = os.environ.get("TZ", "").removeprefix(":")
    try:
        if name:
            return ZoneInfo(name)
        with open("/etc/localtime", "rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return UTC
