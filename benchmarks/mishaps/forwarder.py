"""A line to a server that can be cut without anybody being told."""

import select
import socket
import threading
from types import TracebackType

CHUNK = 1 << 16
LOOK_SECONDS = 0.1


class Forwarder:
    """Passes what comes in on to a port of this machine, while it is open.

    Attributes:
        open: while it is false, bytes and new connections wait: neither end hears anything.
    """

    def __init__(self, target: int) -> None:
        self.open = True
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self._peers: dict[socket.socket, socket.socket] = {}
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Forwarder":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        failure: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closed.set()
        self._thread.join()
        for each in (self._listener, *self._peers):
            each.close()

    def _run(self) -> None:
        while not self._closed.is_set():
            if not self.open:
                self._closed.wait(LOOK_SECONDS)
                continue
            ready, _, _ = select.select([self._listener, *self._peers], [], [], LOOK_SECONDS)
            for each in ready:
                if each is self._listener:
                    self._connect()
                elif each in self._peers:
                    self._pass_on(each)

    def _connect(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
            return
        self._peers[client], self._peers[server] = server, client

    def _pass_on(self, source: socket.socket) -> None:
        target = self._peers[source]
        try:
            data = source.recv(CHUNK)
            if data:
                target.sendall(data)
                return
        except OSError:
            pass
        for each in (source, target):
            self._peers.pop(each).close()
