"""`athanor watch`: a job's progress, followed from anywhere until it ends."""

import json
from typing import Any

from athanor.console import make_console
from athanor.interruption import Interruption
from athanor.progress import Progress
from athanor.progress_view import ProgressView
from athanor.statement import print_statement
from athanor.tables import status_json
from search.store import StudyStore

LOOK_SECONDS = 1.0
CLOCKS = ("seconds_used", "processor_seconds", "seconds_since_seen")  # move without any news


def watch_job(store: StudyStore, job_id: str, *, quiet: bool, as_json: bool) -> int:
    """Show a job until it has ended; return the exit status: 0 if it is done."""
    store.jobs.get(job_id)
    console = make_console()
    told: dict[str, Any] = {}
    try:
        with Interruption() as interruption, ProgressView(console, quiet=quiet or as_json) as view:
            store.patience.wait, store.patience.tell = interruption.wait, view.say
            while True:
                progress, workers = Progress.read(store, job_id), store.beats.at_work(job_id)
                view.show(progress, workers)
                if as_json:
                    told = _tell_news(told, status_json(progress, workers, {}))
                if progress.job.ended:
                    break
                if interruption.wait(LOOK_SECONDS):
                    return 130
    finally:
        store.close()
    if progress.job.state == "done" and not quiet and not as_json:
        print_statement(console, progress)
    elif progress.job.error and not as_json:
        view.say(f"{progress.job.state}: {progress.job.error}")
    return 0 if progress.job.state == "done" else 1


def _tell_news(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """Print a line of JSON unless only clocks have moved on since; return what counts as told."""
    news = {key: _without_clocks(value) for key, value in now.items() if key not in CLOCKS}
    if news != before:
        print(json.dumps(now), flush=True)
    return news


def _without_clocks(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_clocks(each) for key, each in value.items() if key not in CLOCKS}
    return [_without_clocks(each) for each in value] if isinstance(value, list) else value
