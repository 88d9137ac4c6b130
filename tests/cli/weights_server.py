"""A web server on this machine that gives out a weights file, whole or in the ways in which the world does not."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """What is given out under which path, and what was asked for so far."""

    url: str
    content: bytes
    asked: list[str] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    let_go: threading.Event = field(default_factory=threading.Event)


@contextlib.contextmanager
def serving(content: bytes) -> Iterator[Served]:
    """/good gives the content, /cut half of it, /long promises too much, /slow never ends, /moved sends on to /good."""
    served = Served("", content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            whole = served.content
            if self.path == "/moved":
                self.send_response(302)
                self.send_header("Location", "/good")
                self.end_headers()
                return
            if self.path == "/nowhere":
                self.send_error(404)
                return
            length = {"/long": 2**40, "/page": 5}.get(self.path, len(whole))
            self.send_response(200)
            if self.path != "/unannounced":
                self.send_header("Content-Length", str(length))
            self.end_headers()
            with contextlib.suppress(OSError):  # a reader may go away
                self._give({"/page": b"<html", "/long": b""}.get(self.path, whole))

        def _give(self, body: bytes) -> None:
            if self.path in ("/cut", "/slow"):
                body = body[: len(body) // 2]
            self.wfile.write(body)
            self.wfile.flush()
            served.begun.set()
            if self.path == "/slow":
                served.let_go.wait(60)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield served
    finally:
        served.let_go.set()
        server.shutdown()
        server.server_close()
        thread.join()
