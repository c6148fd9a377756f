"""What stands before `transformers serve`: a bounded queue, the API's errors, counts for /metrics.

The server answers one request after another and takes in as many as come; a prompt longer than the
model's context, or a field that it doesn't know, changes the answer in silence. So requests pass
here first, as plain ASGI; what is let through is the server's to answer.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from eval.release.request import CHAT, PLAIN, Refused, check_fields
from eval.release.stream import Events, whole_answer

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

LONGEST_ANSWER = 1024  # tokens, where a request names no limit
_LARGEST_BODY = 4 << 20  # bytes
_BODY_WITHIN = 30  # seconds; a client that sends none would keep its place in the queue


@dataclass
class Counts:
    """What /metrics tells, since the start."""

    requests: Counter[int] = field(default_factory=Counter)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0

    def text(self, pending: int, limit: int) -> str:
        """In Prometheus' text format."""
        lines = ["# TYPE serve_requests_total counter"]
        lines += [
            f'serve_requests_total{{code="{code}"}} {count}'
            for code, count in sorted(self.requests.items())
        ]
        for name, kind, value in (
            ("serve_requests_in_flight", "gauge", pending),
            ("serve_queue_limit", "gauge", limit),
            ("serve_prompt_tokens_total", "counter", self.prompt_tokens),
            ("serve_completion_tokens_total", "counter", self.completion_tokens),
            ("serve_request_seconds_total", "counter", f"{self.seconds:.3f}"),
        ):
            lines += [f"# TYPE {name} {kind}", f"{name} {value}"]
        return "\n".join(lines) + "\n"


class Gate:
    """An ASGI application around the server's own."""

    def __init__(
        self,
        app: App,
        count_tokens: Callable[[str, dict[str, Any]], int],
        model: str,
        context: int,
        limit: int,
    ) -> None:
        """Stand before ``app``.

        Args:
            app: the server's application.
            count_tokens: path and body of a request to the tokens of its prompt; raises whatever
                it likes for a body that has no prompt.
            model: the name under which the one model is asked for.
            context: tokens that prompt and answer have together.
            limit: requests that may wait or be answered at a time.
        """
        self.app, self.count_tokens = app, count_tokens
        self.model, self.context, self.limit = model, context, limit
        self.pending = 0
        self.counts = Counts()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer, refuse, or pass on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path, method = scope["path"], scope["method"]
        if method == "GET" and path == "/health":
            await self.app(scope, receive, send)
        elif method == "GET" and path == "/metrics":
            text = self.counts.text(self.pending, self.limit).encode()
            await _answer(send, 200, text, b"text/plain; version=0.0.4")
        elif method == "GET" and path == "/v1/models":
            entry = {"id": self.model, "object": "model", "created": 0, "owned_by": "local"}
            await _send_json(send, 200, {"object": "list", "data": [entry]})
        elif path in (CHAT, PLAIN):
            await self._ask(scope, receive, send)
        else:
            error = Refused(f"there is no {method} {path} here", 404)
            await _send_json(send, error.status, error.body)

    async def _ask(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        began = time.monotonic()
        seen = _Seen(send, scope["path"], self.model)
        try:
            if scope["method"] != "POST":
                raise Refused(f"{scope['method']} is not allowed here", 405)
            if self.pending >= self.limit:
                raise Refused(
                    f"{self.pending} requests wait already; try again a little later",
                    429, code="rate_limit_exceeded", headers=((b"retry-after", b"5"),),
                )  # fmt: skip
            self.pending += 1
            try:
                body = await self._checked(scope["path"], receive)
                seen.expect(bool(body.get("stream")), body.get("stop") or [])
                content = json.dumps(body).encode()
                answering = asyncio.ensure_future(
                    self.app(_with_length(scope, content), _replay(content, receive), seen)
                )
                try:
                    await asyncio.shield(answering)
                except asyncio.CancelledError:
                    # Told to stop, and the time for answers under way is over. Said before the
                    # server's own part ends, which waits for a thread that generates.
                    await seen.break_off(Refused("the server is shutting down; ask again", 503))
                    answering.cancel()
                    raise
            finally:
                self.pending -= 1
        except Refused as error:
            seen.status = error.status
            await _send_json(send, error.status, error.body, error.headers)
        finally:
            self.counts.requests[seen.status] += 1
            self.counts.seconds += time.monotonic() - began
            self.counts.prompt_tokens += seen.prompt_tokens
            self.counts.completion_tokens += seen.completion_tokens

    async def _checked(self, path: str, receive: Receive) -> dict[str, Any]:
        """The request as the server gets it."""
        try:
            async with asyncio.timeout(_BODY_WITHIN):
                body = json.loads(await _read(receive))
            json.dumps(body, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # a ValueError too
            raise Refused("the body holds half a surrogate pair, which is no text") from None
        except TimeoutError:
            raise Refused(f"the body did not come within {_BODY_WITHIN} s", 408) from None
        except (ValueError, RecursionError):
            raise Refused("the body is no JSON") from None
        if not isinstance(body, dict):
            raise Refused("the body is no JSON object")
        asked = check_fields(path, body, self.model)
        tokens = await self._count(path, body)
        room = self.context - tokens
        if room < (asked or 1):
            wanted = f" and {asked} for the answer" if asked else ""
            raise Refused(
                f"This model's maximum context length is {self.context} tokens, and the prompt has"
                f" {tokens}{wanted}. Shorten the prompt, or ask for fewer tokens.",
                param="messages" if path == CHAT else "prompt",
                code="context_length_exceeded",
            )
        body["max_tokens"] = asked or min(LONGEST_ANSWER, room)
        return body

    async def _count(self, path: str, body: dict[str, Any]) -> int:
        param = "messages" if path == CHAT else "prompt"
        if not body.get(param):
            raise Refused(f"{param} is missing", param=param)
        try:
            return await asyncio.to_thread(self.count_tokens, path, body)
        except Refused:
            raise
        except Exception as error:  # a chat template raises what it likes
            said = " ".join(str(error).split())[:200] or type(error).__name__
            raise Refused(f"{param} can't be read: {said}", param=param) from None


class _Seen:
    """Passes an answer on as the API writes it, and notes status and usage."""

    def __init__(self, send: Send, path: str, model: str) -> None:
        self._send, self._path, self._model = send, path, model
        self._held = b""
        self._end = b""
        self._events: Events | None = None
        self._stops: list[str] = []
        self._start: Message = {}
        self._over = False
        self.status = 500
        self.prompt_tokens = self.completion_tokens = 0

    def expect(self, streamed: bool, stops: list[str]) -> None:
        """Say what kind of answer was asked for, and before which texts it ends."""
        self._stops = stops
        self._events = Events(self._path, stops, self._model) if streamed else None

    async def break_off(self, error: Refused) -> None:
        """Say in the API's shape why an answer is not whole: as a stream's end, or in its place."""
        if self._over:
            return
        if self._events and self._start:
            written = self._events.break_off(error)
            await self._send({"type": "http.response.body", "body": written, "more_body": False})
        else:
            await _send_json(self._send, error.status, error.body)
        self.status = error.status

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self._start = int(message["status"]), message
            if self.status < 400 and self._events:
                await self._send(message)
            return
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        piece, more = message.get("body", b""), message.get("more_body", False)
        self._over = not more
        if self.status < 400 and self._events:
            await self._pass_on(self._events, piece, more)
            return
        self._held += piece
        if not more:
            await self._answer_whole()

    async def _pass_on(self, events: Events, piece: bytes, more: bool) -> None:
        # The last part of a stream ends with the usage.
        self._end = (self._end + piece)[-4096:] if piece else self._end
        written = events.feed(piece)
        if not more:
            self._note_usage()
            written += events.end()
        await self._send({"type": "http.response.body", "body": written, "more_body": more})

    async def _answer_whole(self) -> None:
        if self.status >= 400:
            error = Refused(_detail(self._held), self.status)
            await _send_json(self._send, self.status, error.body)
            return
        self._end = self._held[-4096:]
        self._note_usage()
        content = whole_answer(self._path, self._held, self._stops, self._model)
        kept = [(k, v) for k, v in self._start["headers"] if k != b"content-length"]
        length = (b"content-length", str(len(content)).encode())
        await self._send({**self._start, "headers": [*kept, length]})
        await self._send({"type": "http.response.body", "body": content})

    def _note_usage(self) -> None:
        start = self._end.rfind(b'"usage":')
        if start < 0:
            return
        text = self._end[start + len(b'"usage":') :].decode(errors="replace").lstrip()
        try:
            usage, _ = json.JSONDecoder().raw_decode(text)
            self.prompt_tokens = int(usage["prompt_tokens"])
            self.completion_tokens = int(usage["completion_tokens"])
        except (ValueError, KeyError, TypeError):
            return


def _detail(body: bytes) -> str:
    """What FastAPI says of an error, as one line."""
    try:
        detail = json.loads(body).get("detail")
    except (ValueError, AttributeError):
        detail = body.decode(errors="replace")[:200]
    return detail if isinstance(detail, str) and detail else json.dumps(detail)[:500]


async def _read(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused("the client left", 499)
        body += message.get("body", b"")
        if len(body) > _LARGEST_BODY:
            raise Refused(f"the body has more than {_LARGEST_BODY >> 20} MiB", 413)
        if not message.get("more_body", False):
            return body


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once, then what the client does: leaving stops its answer."""
    given = False

    async def next_message() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return next_message


def _with_length(scope: MutableMapping[str, Any], body: bytes) -> MutableMapping[str, Any]:
    named = [(k, v) for k, v in scope["headers"] if k not in (b"content-length", b"content-type")]
    own = [(b"content-length", str(len(body)).encode()), (b"content-type", b"application/json")]
    return {**scope, "headers": [*named, *own]}


async def _send_json(
    send: Send, status: int, content: Any, headers: tuple[tuple[bytes, bytes], ...] = ()
) -> None:
    await _answer(send, status, json.dumps(content).encode(), b"application/json", headers)


async def _answer(
    send: Send,
    status: int,
    body: bytes,
    kind: bytes,
    headers: tuple[tuple[bytes, bytes], ...] = (),
) -> None:
    length = (b"content-length", str(len(body)).encode())
    start = [(b"content-type", kind), length, *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
