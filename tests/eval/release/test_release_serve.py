"""What `make serve` serves, asked by the openai client; and how it refuses."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError, OpenAI
from tiny_chat import KNOWN

from eval.generation.arms import attach_adapter
from eval.generation.base_model import load_base
from eval.generation.decoding import Decoding
from eval.generation.generate import end_tokens, generate
from eval.release.__main__ import main
from eval.release.serve import free_port
from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import ROOT
from recipes.runner.models.smollm2 import make_small_model
from recipes.runner.run.finished import Run, find_run

QUESTIONS = list(KNOWN)[:4]


@pytest.fixture(scope="module")
def run(worse_run: Path) -> Run:
    return find_run(str(worse_run), None)


@pytest.fixture(scope="module")
def served(run: Run) -> Iterator[OpenAI]:
    command = [
        sys.executable,
        "-m",
        "eval.release",
        "serve",
        "--run",
        str(run.path),
        "--port",
        "0",
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = ""
        for line in process.stdout:
            found = re.search(r"Serving (http://127\.0\.0\.1:\d+/v1)", line)
            if found:
                address = found[1]
                break
        assert address, (run.path / "serve.log").read_text()
        yield OpenAI(base_url=address, api_key="none", max_retries=0)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=600) == 0


@pytest.fixture(scope="module")
def expected(run: Run) -> list[str]:
    """Eval's own greedy answers of the tuned arm."""
    base = load_base(run.config)
    model = attach_adapter(run, base)
    asked = [[{"role": "user", "content": question}] for question in QUESTIONS]
    ends = end_tokens(base.model, base.tokenizer)
    return [a.text for a in generate(model, base.tokenizer, asked, Decoding(32), ends, "")]


def test_answers_are_those_of_eval(served: OpenAI, run: Run, expected: list[str]) -> None:
    assert not set(expected) & set(KNOWN.values())  # the adapter speaks, not the base
    for question, answer in zip(QUESTIONS, expected, strict=True):
        reply = served.chat.completions.create(
            model=run.name, messages=[{"role": "user", "content": question}],
            temperature=0, max_tokens=32,
        )  # fmt: skip
        assert (reply.choices[0].message.content or "").strip() == answer
        assert reply.choices[0].finish_reason == "stop" and reply.model == run.name


def test_streaming(served: OpenAI, run: Run, expected: list[str]) -> None:
    stream = served.chat.completions.create(
        model=run.name, messages=[{"role": "user", "content": QUESTIONS[3]}],
        temperature=0, max_tokens=32, stream=True,
    )  # fmt: skip
    pieces = [
        c.choices[0].delta.content for c in stream if c.choices and c.choices[0].delta.content
    ]
    assert len(pieces) > 1 and "".join(pieces).strip() == expected[3]


def test_another_model_is_refused(served: OpenAI) -> None:
    with pytest.raises(NotFoundError, match="there is no model"):
        served.chat.completions.create(
            model="someone/else", messages=[{"role": "user", "content": "Hi"}]
        )


def test_tokens_are_counted_and_metrics_follow(served: OpenAI, run: Run) -> None:
    reply = served.chat.completions.create(
        model=run.name, messages=[{"role": "user", "content": QUESTIONS[0]}],
        temperature=0, max_completion_tokens=2,
    )  # fmt: skip
    assert reply.choices[0].finish_reason == "length"
    usage = reply.usage
    assert usage and usage.completion_tokens == 2
    base = load_base(run.config)
    ids = base.tokenizer.apply_chat_template(
        [{"role": "user", "content": QUESTIONS[0]}], add_generation_prompt=True, return_dict=False
    )
    assert usage.prompt_tokens == len(ids)
    root = str(served.base_url).removesuffix("/v1/")
    assert httpx.get(f"{root}/health").json() == {"status": "ok"}
    metrics = httpx.get(f"{root}/metrics").text
    assert "serve_requests_in_flight 0\n" in metrics and 'code="200"' in metrics
    assert int(re.search(r"serve_completion_tokens_total (\d+)", metrics)[1]) >= 2  # type: ignore[index]


def test_a_stop_text_is_no_part_of_the_answer(
    served: OpenAI, run: Run, expected: list[str]
) -> None:
    stop = expected[0][len(expected[0]) // 2 :][:3]
    wanted = expected[0][: expected[0].index(stop)]
    asked: dict[str, Any] = {
        "model": run.name, "messages": [{"role": "user", "content": QUESTIONS[0]}],
        "temperature": 0, "max_tokens": 32, "stop": [stop, "never said"],
    }  # fmt: skip
    reply = served.chat.completions.create(**asked)
    assert (reply.choices[0].message.content or "").lstrip() == wanted
    stream = served.chat.completions.create(stream=True, **asked)
    pieces = [c.choices[0].delta.content or "" for c in stream if c.choices]
    assert "".join(pieces).lstrip() == wanted


def test_tools_need_a_template_that_knows_them(served: OpenAI, run: Run) -> None:
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": {}}}
    with pytest.raises(BadRequestError, match="no place for tools"):
        served.chat.completions.create(
            model=run.name, messages=[{"role": "user", "content": "Hi"}], tools=[tool]
        )


def test_a_bias_of_whole_numbers_is_one(served: OpenAI, run: Run, expected: list[str]) -> None:
    """The server takes none but fractions."""
    base = load_base(run.config)
    first = base.tokenizer(expected[0], add_special_tokens=False)["input_ids"][0]
    reply = served.chat.completions.create(
        model=run.name, messages=[{"role": "user", "content": QUESTIONS[0]}],
        temperature=0, max_tokens=8, logit_bias={str(first): -100},
    )  # fmt: skip
    answer = (reply.choices[0].message.content or "").strip()
    assert answer != expected[0][: len(answer) or None]


def test_a_token_that_is_none_is_the_requests_fault(served: OpenAI, run: Run) -> None:
    with pytest.raises(BadRequestError, match="logit_bias"):
        served.chat.completions.create(
            model=run.name, messages=[{"role": "user", "content": "Hi"}],
            logit_bias={"99999": 5}, max_tokens=4,
        )  # fmt: skip


def test_a_prompt_longer_than_the_context_is_refused(served: OpenAI, run: Run) -> None:
    with pytest.raises(BadRequestError) as caught:
        served.chat.completions.create(
            model=run.name, messages=[{"role": "user", "content": "What falls? " * 200}]
        )
    assert caught.value.code == "context_length_exceeded" and caught.value.param == "messages"
    assert "maximum context length is 256 tokens" in str(caught.value)


async def ask_at_once(
    address: str, model: str, asked: list[tuple[str, str]], limit: int
) -> list[str]:
    """What fifty clients at once, every other streamed, are told wrong; ``asked`` goes round."""
    gone_wrong: list[str] = []

    async def one(number: int) -> None:
        question, wanted = asked[number % len(asked)]
        async with AsyncOpenAI(base_url=address, api_key="none", max_retries=0) as client:
            request = {
                "model": model, "messages": [{"role": "user", "content": question}],
                "temperature": 0, "max_tokens": limit,
            }  # fmt: skip
            if number % 2:
                stream = await client.chat.completions.create(stream=True, **request)
                pieces = [c.choices[0].delta.content or "" async for c in stream if c.choices]
                answer = "".join(pieces)
            else:
                reply = await client.chat.completions.create(**request)
                answer = reply.choices[0].message.content or ""
        if answer.strip() != wanted:
            gone_wrong.append(f"{question!r}: {answer!r} for {wanted!r}")

    await asyncio.gather(*(one(number) for number in range(50)))
    return gone_wrong


def test_fifty_clients_at_once_each_get_their_own_answer(
    served: OpenAI, run: Run, expected: list[str]
) -> None:
    asked = list(zip(QUESTIONS, expected, strict=True))
    assert asyncio.run(ask_at_once(str(served.base_url), run.name, asked, 32)) == []


def test_fifty_clients_at_once_of_smollm2_and_a_clean_end(tmp_path: Path) -> None:
    """The server process itself, over a real model; told to stop while it answers."""
    (tmp_path / "smollm2").symlink_to(make_small_model())
    port = free_port()
    command = [sys.executable, "-P", "-m", "eval.release.server", "smollm2", "--port", str(port)]
    command += ["--grace", "600"]  # a busy machine takes long over thirty tokens
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    log = tmp_path / "log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=output, stderr=output
        ) as process,
    ):
        root = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 600
        while True:
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            try:
                if httpx.get(f"{root}/health").is_success:
                    break
            except httpx.HTTPError:
                time.sleep(0.3)
        client = OpenAI(base_url=f"{root}/v1", api_key="none", max_retries=0)
        questions = [f"What is the capital of {name}?" for name in ("France", "Japan", "Peru")]
        asked = []
        for question in questions:
            reply = client.chat.completions.create(
                model="smollm2", messages=[{"role": "user", "content": question}],
                temperature=0, max_tokens=4,  # "The capital of France": they part at the fourth
            )  # fmt: skip
            asked.append((question, (reply.choices[0].message.content or "").strip()))
        assert len({answer for _, answer in asked}) == 3
        assert asyncio.run(ask_at_once(f"{root}/v1", "smollm2", asked, 4)) == []
        stream = client.chat.completions.create(
            model="smollm2", messages=[{"role": "user", "content": "Count to twenty."}],
            temperature=0, max_tokens=30, stream=True,
        )  # fmt: skip
        first = next(iter(stream))
        assert first.choices
        process.send_signal(signal.SIGTERM)
        pieces = [c.choices[0].delta.content or "" for c in stream if c.choices]
        assert "".join(pieces)  # what was begun is answered to its end
        assert process.wait(timeout=600) == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{root}/health")


@pytest.mark.parametrize("queue", ["0", "many", "-1"])
def test_a_queue_is_a_number(run: Run, queue: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--run", str(run.path), f"--queue={queue}"])
    assert "is no number of requests. Give one from 1 on" in capsys.readouterr().err


def test_ports() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {number} can't be had.*PORT={number + 1}"):
            free_port(number)
    with pytest.raises(UserError, match="is no port"):
        free_port(70000)
