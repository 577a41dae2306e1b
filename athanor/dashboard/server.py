"""`athanor dashboard`: the server, where it listens, and what it says of the way in."""

import ipaddress
import json
import platform
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from rich.console import Console

from athanor.dashboard.application import Access, make_application
from athanor.dashboard.token import VARIABLE, given_token, new_token
from athanor.places import Places
from spaces.errors import InputError

LOOPBACK = "127.0.0.1"
ENDING_SECONDS = 3  # for answers under way when the server is asked to end


@dataclass(frozen=True, slots=True)
class DashboardOptions:
    """What a person wants of the dashboard.

    Attributes:
        host, port: to listen on; port 0 takes a free one.
        token_file: that holds the token.
        names: by which it is reached besides addresses, localhost and this machine's own name.
        writable: notes and artifacts may be written.
    """

    host: str = LOOPBACK
    port: int = 8080
    token_file: Path | None = None
    names: Sequence[str] = ()
    writable: bool = False


class DashboardServer(uvicorn.Server):
    """A server of the application; it has its socket, so that its address is known.

    Raises:
        InputError: the address cannot be listened on, or others than this machine could reach it
            and no token was given.
    """

    def __init__(self, places: Places, options: DashboardOptions) -> None:
        token = given_token(options.token_file)
        self.token_given = token is not None
        if token is None and not _is_loopback(options.host):
            raise InputError(
                f"--host {options.host} lets others in, which needs a token of yours: --token-file "
                f"or {VARIABLE}"
            )
        self.token = token or new_token()
        self.socket = _listen(options.host, options.port)
        self.store = places.open(reads_only=True)
        self.writer = places.open() if options.writable else None
        own = platform.node().lower()
        names = {own, own.partition(".")[0], *(name.lower() for name in options.names)}
        app = make_application(
            places,
            self.store,
            access=Access(self.token, hosts=names, writable=options.writable),
            writer=self.writer,
            ending=lambda: self.should_exit,
        )
        super().__init__(
            uvicorn.Config(
                app,
                access_log=False,  # nothing of a request is written down
                log_level="warning",
                server_header=False,
                proxy_headers=False,
                ws="none",
                timeout_graceful_shutdown=ENDING_SECONDS,
            )
        )

    @property
    def address(self) -> str:
        """The address for a browser of this machine."""
        host, port = self.socket.getsockname()[:2]
        if ipaddress.ip_address(host).is_unspecified:
            host = LOOPBACK
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def serve_until_interrupted(self) -> None:
        """Serve; whatever ends it, give the store back."""
        try:
            self.run(sockets=[self.socket])
        finally:
            self.socket.close()
            self.store.close()
            if self.writer is not None:
                self.writer.close()


def serve_dashboard(
    places: Places, options: DashboardOptions, *, console: Console, as_json: bool
) -> None:
    """Serve until interrupted; say how to get in."""
    server = DashboardServer(places, options)
    link = server.address if server.token_given else server.token.link(server.address)
    if as_json:
        print(json.dumps({"address": server.address, "link": link}), flush=True)
    else:
        how = "with the token" if server.token_given else "which logs you in"
        console.print(
            f"{link} ({how}; Ctrl-C ends it)", highlight=False, markup=False, soft_wrap=True
        )
    server.serve_until_interrupted()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family)
    except OSError as failure:
        raise InputError(
            f"--host and --port must be free to listen on, but {host} {port} is not: "
            f"{failure.strerror}"
        ) from None
    # asyncio does it only for sockets of a named protocol; without it answers come 40 ms late
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
