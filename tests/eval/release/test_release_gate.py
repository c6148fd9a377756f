"""The gate before the server: queue, errors in the API's shape, counts. The server is a stub."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from eval.release.gate import CHAT, PLAIN, Gate

HELLO = {"model": "m", "messages": [{"role": "user", "content": "one two three"}]}


class Stub:
    """Answers with the body that it was asked with, when it is let."""

    def __init__(self) -> None:
        self.free = asyncio.Event()
        self.free.set()
        self.bodies: list[dict[str, Any]] = []
        self.status = 200

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
        first = b'data: {"choices": []}\n\n'
        await send({"type": "http.response.body", "body": first, "more_body": True})
        usage = b'data: {"usage": {"prompt_tokens": 3, "completion_tokens": 7}}\n\n'
        await send({"type": "http.response.body", "body": usage})


def count(path: str, body: dict[str, Any]) -> int:
    text = body["prompt"] if path == PLAIN else body["messages"][-1]["content"]
    return len(text.split())


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
        ({**HELLO, "messages": [{"role": "user"}]}, "messages", "can't be read: 'content'"),
        ({**HELLO, "max_tokens": 0}, "max_tokens", "from 1 on"),
        ({**HELLO, "max_tokens": "9"}, "max_tokens", "from 1 on"),
        ({**HELLO, "n": 2}, "n", "n=2 is not supported"),
        ({**HELLO, "logprobs": True}, "logprobs", "logprobs=true is not supported"),
        ({**HELLO, "response_format": {"type": "json_object"}}, "response_format", "not supported"),
        ({**HELLO, "generation_config": "{}"}, "generation_config", "not supported"),
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
