"""The application: our pages, the Optuna dashboard's, metrics and health, behind the guard."""

from collections.abc import AsyncIterator, Callable, Container
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from threading import Thread
from typing import Any, cast

from a2wsgi import WSGIMiddleware
from markupsafe import Markup
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from athanor.dashboard.fresh import Fresh
from athanor.dashboard.guard import Guard
from athanor.dashboard.headers import REPORT_POLICY, SafeHeaders
from athanor.dashboard.live import live
from athanor.dashboard.metrics import metrics_text
from athanor.dashboard.optuna_pages import OptunaPages
from athanor.dashboard.overview import Watcher
from athanor.dashboard.pages import HERE, render
from athanor.dashboard.study_pages import Page, StudyPages
from athanor.dashboard.token import Token
from athanor.places import Places
from search.store import StudyStore
from search.store.patience import reason
from spaces.errors import JobError

SHOWN = 50  # trials on a job's page
KEPT = 100  # jobs' pages
WARM_TRIALS = 20_000  # that are read before anybody asks for them, the newest studies' first
SMALL = 1024  # bytes: less than that is not worth packing
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Access:
    """Who may do what.

    Attributes:
        hosts: names by which the dashboard may be called, besides addresses and localhost.
        writable: notes and artifacts may be written.
    """

    token: Token
    hosts: Container[str] = ()
    writable: bool = False


class Application:
    """What the routes lead to."""

    def __init__(self, places: Places, store: StudyStore, *, ending: Callable[[], bool]) -> None:
        self._places, self._store, self._ending = places, store, ending
        self._watcher = Watcher(store, places)
        self._overview = self._fresh(
            lambda: render("overview.html", overview=self._watcher.overview())
        )
        self._jobs: dict[str, Fresh] = {}
        self.studies = StudyPages(store)

    def routes(self, optuna: OptunaPages) -> list[Route | Mount]:
        """Return all routes; whatever is not ours is the Optuna dashboard's."""
        return [
            Route("/", self.overview),
            Route("/events", self.overview_events),
            Route("/jobs/{job}", self.job),
            Route("/jobs/{job}/events", self.job_events),
            Route("/jobs/{job}/report", self.report),
            Route("/metrics", self.metrics),
            Route("/healthz", self.alive),
            Route("/readyz", self.ready),
            Route("/api/studies", self.list_studies),
            Route("/api/studies/{number:int}", self.study),
            Mount("/assets", StaticFiles(directory=HERE / "static")),
            Mount("/", cast(ASGIApp, WSGIMiddleware(cast(Any, optuna)))),
        ]

    def warm(self) -> None:
        """Read the newest studies before anybody asks for them."""
        trials = 0
        with suppress(SQLAlchemyError, StorageInternalError):  # whoever asks will be told
            self.studies.forget_deleted()
            for number in self.studies.newest():
                if trials >= WARM_TRIALS or self._ending():
                    return
                self.studies.study(number)
                trials += self.studies.trials(number)

    async def overview(self, request: Request) -> Response:
        """All jobs and workers."""
        content = await run_in_threadpool(self._overview.text)
        return _page("Athanor", content, events="/events")

    async def overview_events(self, request: Request) -> Response:
        """The same, whenever it has changed."""
        return live(self._overview.text, ending=self._ending)

    async def job(self, request: Request) -> Response:
        """One job."""
        job = request.path_params["job"]
        content = await run_in_threadpool(self._job(job).text)
        return _page(f"{job} · Athanor", content, events=f"/jobs/{job}/events")

    async def job_events(self, request: Request) -> Response:
        """The same, whenever it has changed."""
        job = self._job(request.path_params["job"])
        await run_in_threadpool(job.text)  # there must be one
        return live(job.text, ending=self._ending)

    def _job(self, job_id: str) -> Fresh:
        """Return a job's page, which is kept for those who open it next."""
        if len(self._jobs) > KEPT:
            self._jobs.clear()
        return self._jobs.setdefault(
            job_id,
            self._fresh(lambda: render("job.html", page=self._watcher.job(job_id), shown=SHOWN)),
        )

    def _fresh(self, make: Callable[[], str]) -> Fresh:
        return Fresh(make, mark=self._store.changes.mark)

    async def report(self, request: Request) -> Response:
        """The report that `athanor report` has written."""
        job = await run_in_threadpool(self._store.jobs.get, request.path_params["job"])
        path = self._places.files(job.id).report
        if not path.is_file():
            return JSONResponse({"reason": f"no report of {job.id} yet"}, status_code=404)
        headers = {"Content-Security-Policy": REPORT_POLICY}
        return FileResponse(path, media_type="text/html", headers=headers)

    async def metrics(self, request: Request) -> Response:
        """Figures for Prometheus."""
        text = await run_in_threadpool(metrics_text, self._store, self._watcher)
        return Response(text, headers={"Content-Type": PROMETHEUS})

    async def alive(self, request: Request) -> Response:
        """Whether the process answers."""
        return Response("ok\n", media_type="text/plain")

    async def ready(self, request: Request) -> Response:
        """Whether the store answers."""
        try:
            await run_in_threadpool(self._store.jobs.states)
        except (SQLAlchemyError, OSError):
            return Response("not ready\n", status_code=503, media_type="text/plain")
        return Response("ok\n", media_type="text/plain")

    async def list_studies(self, request: Request) -> Response:
        """The list of the Optuna dashboard's first page."""
        return _answer(request, await run_in_threadpool(self.studies.list))

    async def study(self, request: Request) -> Response:
        """What a page of the Optuna dashboard shows of a study, and asks for again and again."""
        after = request.query_params.get("after", "0")
        if not after.isdecimal():
            return JSONResponse({"reason": "`after` must be a number from 0"}, status_code=400)
        number = request.path_params["number"]
        page = await run_in_threadpool(self._read_study, number, int(after))
        if page is None:
            return JSONResponse({"reason": f"study_id={number} is not found"}, status_code=404)
        return await run_in_threadpool(_answer, request, page)

    def _read_study(self, number: int, after: int) -> Page | None:
        self.studies.forget_deleted()
        return self.studies.study(number, after=after)


def _page(title: str, content: str, *, events: str) -> Response:
    """Return a page that renews its content from an event stream."""
    return HTMLResponse(render("page.html", title=title, content=Markup(content), events=events))


def _answer(request: Request, page: Page) -> Response:
    """Answer with a page, or that the browser has it; packed where that is understood."""
    headers = {"ETag": page.tag, "Vary": "Accept-Encoding"}
    if page.tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    packed = len(page.body) >= SMALL and "gzip" in request.headers.get("accept-encoding", "")
    if packed:
        headers["Content-Encoding"] = "gzip"
    body = page.gzipped if packed else page.body
    return Response(body, media_type="application/json", headers=headers)


def _no_job(request: Request, failure: Exception) -> Response:
    return JSONResponse({"reason": str(failure)}, status_code=404)


def _away(request: Request, failure: Exception) -> Response:
    return JSONResponse({"reason": f"no answer from the store: {reason(failure)}"}, status_code=503)


def make_application(
    places: Places,
    store: StudyStore,
    *,
    access: Access,
    writer: StudyStore | None = None,
    ending: Callable[[], bool] = lambda: False,
) -> ASGIApp:
    """Return the whole application.

    Args:
        store: that reads only.
        writer: another one, for what may be written.
        ending: says when pages that renew themselves should end.
    """
    ours = Application(places, store, ending=ending)
    optuna = OptunaPages(ours.studies, artifacts=places.artifacts, writer=writer)

    @asynccontextmanager
    async def warmed(app: Starlette) -> AsyncIterator[None]:
        Thread(target=ours.warm, daemon=True).start()
        yield

    routed = Starlette(
        routes=ours.routes(optuna),
        lifespan=warmed,
        exception_handlers={
            JobError: _no_job,
            SQLAlchemyError: _away,
            StorageInternalError: _away,
        },
    )
    return SafeHeaders(
        Guard(routed, token=access.token, hosts=access.hosts, writable=access.writable)
    )
