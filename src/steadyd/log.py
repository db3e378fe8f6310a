"""Log lines on standard error: logfmt or JSON, with journald's priority where it listens."""

import json
import logging
import os
import sys

LEVELS = ("debug", "info", "warn", "error")
_PRIORITY = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}  # sd-daemon(3)


class Format(logging.Formatter):
    """One line a record; what others wrote in it cannot start a new one."""

    def __init__(self, kind: str, priority: bool) -> None:
        super().__init__()
        self._json, self._priority = kind == "json", priority

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        level = {"WARNING": "warn", "CRITICAL": "error"}.get(
            record.levelname, record.levelname.lower()
        )
        fields = {"level": level, "msg": record.getMessage()}
        if not self._priority:
            at = self.formatTime(record, "%Y-%m-%dT%H:%M:%S")
            fields = {"ts": f"{at}.{int(record.msecs):03d}", **fields}
        if record.exc_info:
            fields["trace"] = self.formatException(record.exc_info)
        prefix = f"<{_PRIORITY.get(record.levelname, 6)}>" if self._priority else ""
        if self._json:
            return prefix + json.dumps(fields, ensure_ascii=False)
        return prefix + " ".join(f"{key}={_quoted(value)}" for key, value in fields.items())


def setup(level: str = "info", kind: str = "logfmt") -> None:
    """Send all log lines of at least `level` to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Format(kind, "JOURNAL_STREAM" in os.environ))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel({"warn": "WARNING"}.get(level, level.upper()))


def _quoted(text: str) -> str:
    if text and all(c.isalnum() or c in "-_.:/+" for c in text):
        return text
    return json.dumps(text, ensure_ascii=False)
