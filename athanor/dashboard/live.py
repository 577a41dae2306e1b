"""Pages that renew themselves: server-sent events, each the whole content as it is now."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from spaces.errors import JobError

RENEW_SECONDS = 1.0
# A browser that is gone is noticed when something is sent to it.
SILENT_SECONDS = 15.0
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def live(content: Callable[[], str], *, ending: Callable[[], bool]) -> StreamingResponse:
    """Send content, rendered in a thread, whenever it has changed, until the server ends."""
    return StreamingResponse(
        _events(content, ending), media_type="text/event-stream", headers=HEADERS
    )


async def _events(content: Callable[[], str], ending: Callable[[], bool]) -> AsyncIterator[str]:
    sent, silent = "", 0.0
    while not ending():
        try:
            now = await run_in_threadpool(content)
        except (SQLAlchemyError, StorageInternalError):
            now = sent  # the database is away: what is shown stays until it is back
        except JobError:
            return  # the job was deleted
        if now != sent:
            yield f"data: {json.dumps(now)}\n\n"
            sent, silent = now, 0.0
        elif silent >= SILENT_SECONDS:
            yield ": still here\n\n"
            silent = 0.0
        await asyncio.sleep(RENEW_SECONDS)
        silent += RENEW_SECONDS
