"""A Hub on 127.0.0.1: enough of its HTTP API for `create_repo` and `create_commit`."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class FakeHub:
    """What was asked of it.

    Attributes:
        url: its address, for HF_ENDPOINT.
        private: of each repository that was made.
        files: content of each committed file; large files are uploaded first and named by digest.
        requests: every method and path.
        refuse: answer 403 to everything.
    """

    url: str = ""
    private: dict[str, bool] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    refuse: bool = False


def start() -> tuple[FakeHub, ThreadingHTTPServer]:
    """Start one in a thread; the caller shuts the server down."""
    hub = FakeHub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._handle()

        do_POST = do_PUT = do_GET

        def log_message(self, *args: Any) -> None:
            return

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.split("?")[0]
            hub.requests.append(f"{self.command} {path}")
            if hub.refuse or ("authorization" not in self.headers and "/blob/" not in path):
                self._answer(403, {"error": "no"})
            elif path.startswith("/blob/"):
                hub.blobs[path.split("/")[-1]] = body
                self._answer(200, {})
            else:
                self._answer(200, _reply(hub, path, body))

        def _answer(self, code: int, value: dict[str, Any]) -> None:
            content = json.dumps(value).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    return hub, server


def _reply(hub: FakeHub, path: str, body: bytes) -> dict[str, Any]:
    if path == "/api/repos/create":
        asked = json.loads(body)
        name = f"{asked['organization']}/{asked['name']}"
        hub.private.setdefault(name, asked["visibility"] == "private")
        return {"url": f"{hub.url}/{name}"}
    if path.endswith("/preupload/main"):
        return {
            "files": [
                {**file, "shouldIgnore": False,
                 "uploadMode": "lfs" if file["path"].endswith(".safetensors") else "regular"}
                for file in json.loads(body)["files"]
            ]
        }  # fmt: skip
    if path.endswith("/info/lfs/objects/batch"):
        return {
            "transfer": "basic",
            "objects": [
                {**item, "actions": {"upload": {"href": f"{hub.url}/blob/{item['oid']}"}}}
                for item in json.loads(body)["objects"]
            ],
        }
    if path.endswith("/commit/main"):
        for line in body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                hub.files[value["path"]] = base64.b64decode(value["content"])
            if entry["key"] == "lfsFile":
                hub.files[value["path"]] = hub.blobs[value["oid"]]
        return {"commitUrl": f"{hub.url}/commit/1", "commitOid": "1" * 40}
    name = re.fullmatch(r"/api/models/([^/]+/[^/]+)", path)
    if name:
        return {"id": name[1], "private": hub.private.get(name[1], True)}
    return {}
