"""The gate before the server: queue, errors in the API's shape, counts. The server is a stub."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from eval.release import gate as gate_module
from eval.release.gate import Gate
from eval.release.request import CHAT, PLAIN
from eval.release.stream import StopCut

HELLO = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}


class Stub:
    """Answers with the body that it was asked with, when it is let."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.free.set()
        self.bodies: list[dict[str, Any]] = []
        self.status = 200
        self.pieces = [b'{"usage": {"prompt_tokens": 3, ', b'"completion_tokens": 7}}']

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        length = dict(scope["headers"])[b"content-length"]
        assert int(length) == len(message["body"])
        self.bodies.append(json.loads(message["body"]))
        await self.free.wait()
        start = {"type": "http.response.start", "status": self.status, "headers": []}
        await send(start)
        if self.status >= 400:
            await send({"type": "http.response.body", "body": b'{"detail": "pinned"}'})
            return
        for place, piece in enumerate(self.pieces):
            more = place + 1 < len(self.pieces)
            await send({"type": "http.response.body", "body": piece, "more_body": more})


def count(path: str, body: dict[str, Any]) -> int:
    text = body["prompt"] if path == PLAIN else body["messages"][-1]["content"]
    return len(text.split())


def chunk(text: str, end: str | None = None) -> bytes:
    delta = {"content": text} if text else {}
    event: dict[str, Any] = {"choices": [{"index": 0, "delta": delta, "finish_reason": end}]}
    if end:
        event["usage"] = {"prompt_tokens": 3, "completion_tokens": 7}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


def streamed(response: httpx.Response) -> tuple[str, list[str]]:
    """Text and finish reasons of a stream that ends as the API's do."""
    events = response.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]
    choices = [
        choice
        for event in events[:-2]
        for choice in json.loads(event.removeprefix("data: "))["choices"]
    ]
    ends = [choice["finish_reason"] for choice in choices if choice["finish_reason"]]
    return "".join(choice["delta"].get("content", "") for choice in choices), ends


def ask(gate: Gate, body: Any = HELLO, path: str = CHAT, method: str = "POST") -> httpx.Response:
    async def run() -> httpx.Response:
        return await client(gate).request(method, path, **_content(body))

    return asyncio.run(run())


def client(gate: Gate) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url="http://local")


def _content(body: Any) -> dict[str, Any]:
    return {"content": body} if isinstance(body, (str, bytes)) else {"json": body}


@pytest.fixture
def stub() -> Stub:
    return Stub()


@pytest.fixture
def gate(stub: Stub) -> Gate:
    return Gate(stub, count, "m", context=20, limit=4)


def test_past_the_queue_it_is_429_and_those_in_it_are_answered(stub: Stub, gate: Gate) -> None:
    async def run() -> list[httpx.Response]:
        stub.free.clear()
        async with client(gate) as asking:
            waiting = [asyncio.create_task(asking.post(CHAT, json=HELLO)) for _ in range(4)]
            while len(stub.bodies) < 4:
                await asyncio.sleep(0.01)
            refused = await asking.post(CHAT, json=HELLO)
            metrics = await asking.get("/metrics")
            assert "serve_requests_in_flight 4\n" in metrics.text
            stub.free.set()
            return [refused, *await asyncio.gather(*waiting), await asking.post(CHAT, json=HELLO)]

    refused, *answered = asyncio.run(run())
    assert refused.status_code == 429 and int(refused.headers["retry-after"]) > 0
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert [response.status_code for response in answered] == [200] * 5
    assert gate.pending == 0 and len(stub.bodies) == 5


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ("{", None, "no JSON"),
        ("[1]", None, "no JSON object"),
        ({"model": "m"}, "messages", "messages is missing"),
        ({**HELLO, "messages": []}, "messages", "messages is missing"),
        ({**HELLO, "messages": "hi"}, "messages", "messages must be a list"),
        ({**HELLO, "messages": [{"role": "user"}]}, "messages", "content must be a text"),
        ({**HELLO, "messages": [{"role": "wizard", "content": "x"}]}, "messages", "have a role"),
        (
            {
                **HELLO,
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
                ],
            },
            "messages",
            "this model reads no other",
        ),
        ("[" * 100_000, None, "no JSON"),
        ({**HELLO, "max_tokens": 0}, "max_tokens", "from 1 on"),
        ({**HELLO, "max_tokens": "9"}, "max_tokens", "from 1 on"),
        ({**HELLO, "n": 2}, "n", "n=2 is not supported"),
        ({**HELLO, "logprobs": True}, "logprobs", "logprobs=true is not supported"),
        ({**HELLO, "response_format": {"type": "json_object"}}, "response_format", "not supported"),
        ({**HELLO, "generation_config": "{}"}, "generation_config", "not supported"),
        # A chat template of the request's own would be longer than what is counted.
        ({**HELLO, "chat_template_kwargs": {"chat_template": "x"}}, "chat_template_kwargs", "not"),
        ({**HELLO, "max_tokens": -3}, "max_tokens", "from 1 on"),
        ({**HELLO, "max_tokens": True}, "max_tokens", "from 1 on"),
        ({**HELLO, "temperature": "hot"}, "temperature", "a number from 0 to 2"),
        ({**HELLO, "temperature": -1}, "temperature", "a number from 0 to 2"),
        (
            '{"messages": [{"role": "user", "content": "a"}], "temperature": NaN}',
            "temperature",
            "0",
        ),
        ({**HELLO, "top_p": 0}, "top_p", "above 0 to 1"),
        ({**HELLO, "frequency_penalty": -1}, "frequency_penalty", "from 0 to 2"),
        ({**HELLO, "seed": "one"}, "seed", "a whole number"),
        ({**HELLO, "seed": 2**64}, "seed", "a whole number"),
        ({**HELLO, "stop": 5}, "stop", "a text, or a list"),
        ({**HELLO, "stop": [""]}, "stop", "none of them empty"),
        ({**HELLO, "stop": list("abcde")}, "stop", "up to 4"),
        ({**HELLO, "stream": "yes"}, "stream", "true or false"),
        ({**HELLO, "logit_bias": {"a": 1}}, "logit_bias", "map token ids"),
        ({**HELLO, "reasoning_effort": "high"}, "reasoning_effort", "not supported"),
    ],
)
def test_a_bad_request_says_what_is_wrong(
    stub: Stub, gate: Gate, body: Any, param: str | None, words: str
) -> None:
    response = ask(gate, body)
    error = response.json()["error"]
    assert response.status_code == 400 and not stub.bodies
    assert error["param"] == param and words in error["message"]
    assert error["type"] == "invalid_request_error"
    assert set(error) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("words", "limits", "status"),
    [
        (20, {}, 400),  # no room for one token
        (21, {}, 400),
        (19, {}, 200),
        (11, {"max_tokens": 10}, 400),
        (10, {"max_tokens": 10}, 200),
        (11, {"max_completion_tokens": 10}, 400),
    ],
)
def test_what_does_not_fit_into_the_context_is_refused(
    stub: Stub, gate: Gate, words: int, limits: dict[str, int], status: int
) -> None:
    long = {"model": "m", "messages": [{"role": "user", "content": "a " * words}], **limits}
    response = ask(gate, long)
    assert response.status_code == status
    if status == 400:
        error = response.json()["error"]
        assert error["code"] == "context_length_exceeded" and error["param"] == "messages"
        assert f"20 tokens, and the prompt has {words}" in error["message"]
    else:
        asked = next(iter(limits.values()), 20 - words)
        assert stub.bodies[0]["max_tokens"] == asked


def test_a_plain_prompt_is_counted_too(stub: Stub, gate: Gate) -> None:
    assert ask(gate, {"model": "m", "prompt": "a " * 30}, PLAIN).status_code == 400
    assert ask(gate, {"model": "m", "prompt": "a b"}, PLAIN).status_code == 200


def test_neutral_values_pass_and_the_newer_name_of_a_limit_is_known(stub: Stub, gate: Gate) -> None:
    ask(gate, {**HELLO, "n": 1, "logprobs": None, "max_completion_tokens": 5})
    (body,) = stub.bodies
    assert body == {**HELLO, "max_tokens": 5}


def test_the_servers_own_errors_get_the_apis_shape(stub: Stub, gate: Gate) -> None:
    stub.status = 400
    response = ask(gate)
    assert response.status_code == 400
    assert response.json()["error"]["message"] == "pinned"


def test_metrics_count_what_was_answered(stub: Stub, gate: Gate) -> None:
    ask(gate)
    ask(gate, "{")
    text = ask(gate, "", "/metrics", "GET").text
    assert 'serve_requests_total{code="200"} 1\n' in text
    assert 'serve_requests_total{code="400"} 1\n' in text
    assert "serve_prompt_tokens_total 3\n" in text and "serve_completion_tokens_total 7\n" in text
    assert "serve_queue_limit 4\n" in text


def test_only_what_is_meant_to_be_reached_is(stub: Stub, gate: Gate) -> None:
    for path in ("/reset", "/load_model", "/v1/responses", "/v1/audio/transcriptions"):
        assert ask(gate, {}, path).status_code == 404
    assert ask(gate, HELLO, CHAT, "GET").status_code == 405
    models = ask(gate, "", "/v1/models", "GET").json()
    assert [entry["id"] for entry in models["data"]] == ["m"]
    assert ask(gate, "a" * (5 << 20)).status_code == 413
    assert not stub.bodies


def test_another_model_is_not_found(stub: Stub, gate: Gate) -> None:
    response = ask(gate, {**HELLO, "model": "someone/else"})
    assert response.status_code == 404 and not stub.bodies
    assert response.json()["error"]["code"] == "model_not_found"


def test_a_bias_of_tokens_is_for_chats(stub: Stub, gate: Gate) -> None:
    response = ask(gate, {"prompt": "a b", "logit_bias": {"3": 1}}, PLAIN)
    assert response.status_code == 400 and response.json()["error"]["param"] == "logit_bias"
    assert ask(gate, {**HELLO, "logit_bias": {"3": -100}}).status_code == 200


def test_almost_no_temperature_is_none(stub: Stub, gate: Gate) -> None:
    ask(gate, {**HELLO, "temperature": 1e-30})
    assert stub.bodies[0]["temperature"] == 0


def test_a_client_that_sends_no_body_leaves_the_queue(
    stub: Stub, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_module, "_BODY_WITHIN", 0.05)

    async def nothing() -> Any:
        await asyncio.sleep(60)

    async def run() -> list[Any]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        await gate({"type": "http", "method": "POST", "path": CHAT, "headers": []}, nothing, send)
        return sent

    sent = asyncio.run(run())
    assert sent[0]["status"] == 408 and gate.pending == 0


def test_a_stream_ends_as_the_apis_do(stub: Stub, gate: Gate) -> None:
    whole = chunk("one") + chunk(" two") + chunk("", "length")
    stub.pieces = [whole[:20], whole[20:60], whole[60:]]  # cut anywhere
    response = ask(gate, {**HELLO, "stream": True})
    assert streamed(response) == ("one two", ["length"])
    assert response.text.count('"model": "m"') == 3  # as it was asked for
    assert gate.counts.completion_tokens == 7


def test_an_error_in_a_stream_has_the_apis_shape(stub: Stub, gate: Gate) -> None:
    stub.pieces = [chunk("one"), b'data: {"error": "it said "no""}\n\n']
    events = ask(gate, {**HELLO, "stream": True}).text.split("\n\n")
    error = json.loads(events[1].removeprefix("data: "))["error"]
    assert error["message"] == 'it said "no"' and error["type"] == "server_error"


@pytest.mark.parametrize(
    ("pieces", "stop", "text"),
    [
        (["one two", " three"], "two", "one "),
        (["one t", "w", "o three"], ["xyz", "two"], "one "),
        (["one t", "w", "elve"], "two", "one twelve"),
        (["one t"], "two", "one t"),
        (["two"], "two", ""),
    ],
)
def test_an_answer_ends_before_a_stop_text(
    stub: Stub, gate: Gate, pieces: list[str], stop: Any, text: str
) -> None:
    stub.pieces = [*(chunk(piece) for piece in pieces), chunk("", "stop")]
    assert streamed(ask(gate, {**HELLO, "stream": True, "stop": stop})) == (text, ["stop"])
    message = {"role": "assistant", "content": "".join(pieces)}
    stub.pieces = [
        json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
    ]
    reply = ask(gate, {**HELLO, "stop": stop})
    assert reply.json()["choices"][0]["message"]["content"] == text
    assert int(reply.headers["content-length"]) == len(reply.content)


def test_nothing_is_held_back_that_is_no_beginning() -> None:
    cut = StopCut(["\n\nUser:"])
    assert [cut.feed(piece) for piece in ("a\n", "\nU", "nder", "\n")] == ["a", "", "\n\nUnder", ""]
    assert cut.rest() == "\n"


def test_a_plain_answer_ends_before_a_stop_text_too(stub: Stub, gate: Gate) -> None:
    def plain(text: str, end: str | None = None) -> bytes:
        choice = {"index": 0, "text": text, "finish_reason": end}
        return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"

    asked = {"prompt": "a b", "stop": ["\n\n", "END"], "stream": True}
    for pieces, text in ((["one", " EN", "D two"], "one "), (["one EN"], "one EN")):
        stub.pieces = [*(plain(piece) for piece in pieces), plain("", "length")]
        events = ask(gate, asked, PLAIN).text.split("\n\n")[:-2]
        choices = [json.loads(event.removeprefix("data: "))["choices"][0] for event in events]
        assert "".join(choice["text"] for choice in choices) == text
        assert choices[-1]["finish_reason"] == ("stop" if text == "one " else "length")
    answer = {"choices": [{"text": "one END two", "finish_reason": "length"}]}
    stub.pieces = [json.dumps(answer).encode()]
    reply = ask(gate, {**asked, "stream": False}, PLAIN).json()["choices"][0]
    assert reply == {"text": "one ", "finish_reason": "stop"}


@pytest.mark.parametrize(
    "field", ['"content": "%s"', '"content": "Hi"}], "stop": ["%s"], "x": [{"y": 1']
)
def test_half_a_surrogate_pair_is_no_text(stub: Stub, gate: Gate, field: str) -> None:
    body = '{"messages": [{"role": "user", ' + field % "\\ud83d" + "}]}"
    assert json.loads(body)
    response = ask(gate, body)
    assert response.status_code == 400 and not stub.bodies
    assert "half a surrogate pair" in response.json()["error"]["message"]
    assert ask(gate, body.replace("\\ud83d", "\\ud83d\\ude2d")).status_code == 200


@pytest.mark.parametrize("stream", [True, False])
def test_what_is_broken_off_at_the_end_says_so(stream: bool) -> None:
    """uvicorn cancels what is not answered when the time for it is over."""
    reached = asyncio.Event()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if stream:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": chunk("Yes") + b'data: {"ha',
                        "more_body": True})  # fmt: skip
        reached.set()
        await asyncio.Event().wait()

    async def run() -> tuple[Gate, list[Any]]:
        gate = Gate(endless, count, "m", context=20, limit=4)
        body = json.dumps({**HELLO, "stream": stream}).encode()
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {"type": "http", "path": CHAT, "method": "POST", "headers": []}
        task = asyncio.create_task(gate(scope, receive, send))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return gate, sent

    gate, sent = asyncio.run(run())
    start, *bodies = sent
    assert start["status"] == (200 if stream else 503) and not bodies[-1].get("more_body")
    text = b"".join(message["body"] for message in bodies).decode()
    if stream:
        first, error, *end = text.split("\n\n")
        assert "Yes" in first and end == ["data: [DONE]", ""]
        text = error.removeprefix("data: ")
    assert json.loads(text)["error"]["message"] == "the server is shutting down; ask again"
    assert gate.pending == 0 and gate.counts.requests == {503: 1}
