"""A stand-in for an MLflow server that can be down: answers the calls that the sender makes, and keeps what it got."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeServer:
    """Listens on a free port of this machine; while `down`, every call is answered with 503 and nothing is kept."""

    def __init__(self) -> None:
        self.down = False
        self.refused_calls = 0
        self.calls: list[tuple[str, dict[str, Any]]] = []
        # Of a call: what it is answered with, one after the other, before it is answered as usual. None: it is taken,
        # and the connection closed without an answer.
        self.instead: dict[str, list[tuple[int, dict[str, Any]] | None]] = {}
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                name = self.path.split("?")[0].split("/mlflow/")[-1]
                if fake.down:
                    fake.refused_calls += 1
                    status, reply = 503, {}
                else:
                    sent = json.loads(body) if body else {}
                    fake.calls.append((name, sent))
                    others = fake.instead.get(name)
                    answer = others.pop(0) if others else (200, fake.reply(name))
                    if answer is None:
                        self.close_connection = True
                        return
                    status, reply = answer
                content = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_DELETE = _answer

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def reply(self, name: str) -> dict[str, Any]:
        experiment = {
            "experiment_id": "1",
            "name": "tests",
            "lifecycle_stage": "active",
            "artifact_location": "/nowhere",
        }
        run = {"info": {"run_id": "f" * 32, "experiment_id": "1", "status": "RUNNING", "artifact_uri": "/nowhere"}}
        replies: dict[str, dict[str, Any]] = {
            "experiments/get-by-name": {"experiment": experiment},
            "runs/create": {"run": run},
            "runs/get": {"run": run},
            "runs/update": {"run_info": run["info"]},
        }
        return replies.get(name, {})

    def metrics(self) -> list[dict[str, Any]]:
        """Return all metrics that arrived, in order, replays included."""
        return [metric for name, sent in self.calls if name == "runs/log-batch" for metric in sent.get("metrics", [])]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
