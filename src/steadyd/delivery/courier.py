"""The short-lived process that sends: the only user of apprise.

Reads jobs as lines of JSON from standard input and answers each with a line on standard output,
in whatever order they end. Ends with its standard input. A target that hangs holds one thread
until its deadline and never the others.

    job     {"id", "url", "title", "body", "type", "timeout"}
    answer  {"id", "status": "SUCCESS" | "FAILURE" | "TIMEOUT" | "UNKNOWN_URL", "why"}
"""

import json
import logging
import os
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import apprise

from steadyd.delivery.redact import redact

THREADS = 16
# Lines of apprise's log that tell the cause; the others repeat headers and payloads.
TELLING = ("Socket Exception:", "Response Details:", "SMTP Exception:", "WARNING")
LONGEST = 300
_HEAD = re.compile(r"^[\d-]+ [\d:,]+ - [A-Z]+ - ")  # of each line
_ERRNO = re.compile(r"\[Errno -?\d+\] [^'\")]+")

_writing = threading.Lock()


def send(job: dict[str, Any], asset: apprise.AppriseAsset) -> dict[str, str]:
    """Send one job; return its answer, with nothing of the URL in it."""
    target = apprise.Apprise(asset=asset)
    url = str(job["url"])
    if not target.add(url):
        why = "apprise does not know this kind of URL, or a part of it is missing"
        return {"id": job["id"], "status": "UNKNOWN_URL", "why": why}
    result = target.notify(
        job["body"],
        title=job["title"],
        notify_type=job["type"],
        body_format="text",
        timeout=job["timeout"],
        log_level=logging.DEBUG,
    )
    told = [line for line in map(str, result.logs()) if any(word in line for word in TELLING)]
    why = "; ".join(dict.fromkeys(redact(_cause(line), url)[:LONGEST] for line in told[-3:]))
    return {"id": job["id"], "status": result.status.name, "why": why}


def _cause(line: str) -> str:
    """Return what a line of apprise's log says, on one line; of a failed call what failed it."""
    said = _HEAD.sub("", " ".join(line.split()))
    failed = _ERRNO.search(said)
    return failed[0] if failed else said.rstrip(".")


def main() -> None:
    """Serve standard input until it ends."""
    logging.getLogger("apprise").setLevel(logging.DEBUG)  # with log_level=, or no cause is told
    logging.getLogger("apprise").propagate = False
    asset = apprise.AppriseAsset(
        app_id="steadyd",
        app_desc="steadyd",
        secure_logging=True,
        http_redirects=False,
        storage_mode=apprise.PersistentStoreMode.MEMORY,
    )
    pool = ThreadPoolExecutor(THREADS)
    pending = [pool.submit(_serve, line, asset) for line in sys.stdin]
    for job in pending:
        job.result()
    sys.stdout.flush()
    os._exit(0)  # a thread that hangs in a target must not keep the process


def _serve(line: str, asset: apprise.AppriseAsset) -> None:
    job = json.loads(line)
    try:
        answer = send(job, asset)
    except Exception as error:  # a fault in one plugin must be told, and must not end the others
        why = redact(f"{type(error).__name__}: {error}", str(job["url"]))[:LONGEST]
        answer = {"id": job["id"], "status": "FAILURE", "why": why}
    with _writing:
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
