"""`athanor dashboard`: the Optuna dashboard on the study store, for this machine alone."""

from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna_dashboard import wsgi
from rich.console import Console

from search.store import StudyStore
from spaces.errors import InputError

LOOPBACK = "127.0.0.1"  # the dashboard has no authentication, so nobody else may reach it


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Leave polls out of the terminal."""


def make_dashboard(store: StudyStore, *, port: int) -> WSGIServer:
    """Return a server of the dashboard on loopback; port 0 takes a free one.

    The storage is cached: without a cache every page reads the whole study again.

    Raises:
        InputError: the port is taken.
    """
    try:
        return make_server(LOOPBACK, port, wsgi(store.storage), handler_class=_QuietHandler)
    except OSError as failure:
        raise InputError(f"--port must be free, but {port} is not: {failure.strerror}") from None


def serve_dashboard(store: StudyStore, *, port: int, console: Console) -> None:
    """Serve until interrupted."""
    with make_dashboard(store, port=port) as server:
        console.print(f"http://{LOOPBACK}:{server.server_port}/dashboard (Ctrl-C ends it)")
        server.serve_forever()
