"""The Optuna dashboard's own application, on a storage that is thrown away with deleted studies."""

from collections.abc import Iterable
from pathlib import Path
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from optuna.artifacts import FileSystemArtifactStore
from optuna_dashboard import _importance, wsgi

from athanor.dashboard.study_pages import StudyPages
from search.store import StudyStore


class OptunaPages:
    """Whatever we do not answer ourselves.

    Args:
        writer: a store that may be written to, if anybody may write.
    """

    def __init__(
        self, pages: StudyPages, *, artifacts: Path, writer: StudyStore | None = None
    ) -> None:
        self._pages, self._writer = pages, writer
        self._artifacts = FileSystemArtifactStore(artifacts)
        self._storage = pages.storage
        self._app: WSGIApplication = wsgi(self._storage, artifact_store=self._artifacts)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer a request."""
        environ.setdefault("HTTP_ACCEPT_ENCODING", "")  # static files fail without it
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            assert self._writer is not None, "the guard lets nobody write"
            app = wsgi(self._writer.storage(), artifact_store=self._artifacts)
        else:
            app = self._reader()
        answer: Iterable[bytes] = app(environ, start_response)
        return answer

    def _reader(self) -> WSGIApplication:
        self._pages.forget_deleted()
        if self._pages.storage is not self._storage:
            _importance.param_importance_cache.clear()  # of all applications, by a study's number
            self._storage = self._pages.storage
            self._app = wsgi(self._storage, artifact_store=self._artifacts)
        return self._app
