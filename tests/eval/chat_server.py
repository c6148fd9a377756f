"""An OpenAI-compatible endpoint on 127.0.0.1, real HTTP, whose words a test decides."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Say = Callable[[dict[str, Any]], Any]


class ChatServer(ThreadingHTTPServer):
    """Serves until it is closed; use it in a ``with``.

    Args:
        say: the answer to a request's body; or (status, raw text) or
            (status, raw text, headers) for another reply.
    """

    daemon_threads = True

    def __init__(self, say: Say) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.say = say
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def __exit__(self, *_: object) -> None:
        """Stop serving, and close."""
        self.shutdown()
        self.server_close()

    @property
    def url(self) -> str:
        """The API's base."""
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: ChatServer

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        """One chat completion."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(body)
        self.server.keys.append(self.headers.get("Authorization"))
        said = self.server.say(body)
        if isinstance(said, str):
            choice = {"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
            said = 200, json.dumps({"choices": [choice], "usage": {"completion_tokens": 7}})
        data = said[1].encode()
        try:
            self.send_response(said[0])
            for name, value in (said[2] if len(said) > 2 else {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except (BrokenPipeError, ConnectionResetError):
            # The client no longer waits, as in a test of its timeout.
            self.close_connection = True
