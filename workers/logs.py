"""A worker's log: a JSON object a line, with its time and level, for programs and people.

The pool sends a worker's standard error into a file. What libraries and the system write there by
themselves, such as the last words of a crash, stands between the lines as it is.
"""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

log = logging.getLogger("athanor.worker")


class JsonLines(logging.Formatter):
    """Writes records as JSON, in one line each.

    `time` (UTC), `level`, `worker` and `message`; what else is known (`job`, `step`, `seconds`);
    and `traceback`, if there is one.
    """

    def __init__(self, worker: str) -> None:
        super().__init__()
        self._worker = worker

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat("T", "seconds"),
            "level": record.levelname.lower(),
            "worker": self._worker,
            "message": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def begin_log(worker: str) -> None:
    """Write to standard error from now on: our own lines from `info`, others' from `warning`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines(worker))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)
    log.setLevel(logging.INFO)


def facts(**known: Any) -> dict[str, dict[str, Any]]:
    """Return what goes along with a message, as `log.info(message, extra=facts(job=…))`."""
    return {"facts": known}


def words_of(line: str) -> str:
    """Return what a line of a log says; for an error that is not known, what was raised."""
    try:
        told = json.loads(line)
        message = str(told["message"])
    except (ValueError, TypeError, KeyError):
        return line
    traceback = str(told.get("traceback", "")).splitlines()
    return traceback[-1] if traceback else message
