"""`athanor dashboard`: the Optuna dashboard on the study store, for this machine alone."""

from collections.abc import Iterable
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from optuna_dashboard import wsgi
from rich.console import Console

from search.store import StudyStore
from spaces.errors import InputError

LOOPBACK = "127.0.0.1"  # the dashboard has no authentication, so nobody else may reach it


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Leave polls out of the terminal."""


class _Pages:
    """The dashboard's pages; its cache is thrown away when it holds a study that was deleted.

    Without a cache every page would read the whole study again. SQLite gives the number of a
    deleted study to the next one, whose trials would be taken for the deleted one's.
    """

    def __init__(self, store: StudyStore) -> None:
        self._store = store
        self._names = store.study_names()
        self._pages = wsgi(store.storage())

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        names = self._store.study_names()
        if any(names.get(number) != name for number, name in self._names.items()):
            self._pages = wsgi(self._store.storage())
        self._names = names
        pages: Iterable[bytes] = self._pages(environ, start_response)
        return pages


def make_dashboard(store: StudyStore, *, port: int) -> WSGIServer:
    """Return a server of the dashboard on loopback; port 0 takes a free one.

    Raises:
        InputError: the port is taken.
    """
    try:
        return make_server(LOOPBACK, port, _Pages(store), handler_class=_QuietHandler)
    except OSError as failure:
        raise InputError(f"--port must be free, but {port} is not: {failure.strerror}") from None


def serve_dashboard(store: StudyStore, *, port: int, console: Console) -> None:
    """Serve until interrupted."""
    with make_dashboard(store, port=port) as server:
        console.print(f"http://{LOOPBACK}:{server.server_port}/dashboard (Ctrl-C ends it)")
        server.serve_forever()
