"""What `make serve` serves, asked by the openai client; and how it refuses."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from openai import BadRequestError, OpenAI
from tiny_chat import KNOWN

from eval.generation.arms import attach_adapter
from eval.generation.base_model import load_base
from eval.generation.decoding import Decoding
from eval.generation.generate import end_tokens, generate
from eval.release.serve import free_port
from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import ROOT
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
        assert process.wait(timeout=60) == 0


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
        assert reply.choices[0].finish_reason == "stop"


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
    with pytest.raises(BadRequestError, match="pinned"):
        served.chat.completions.create(
            model="someone/else", messages=[{"role": "user", "content": "Hi"}]
        )


def test_ports() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {number} can't be had.*PORT={number + 1}"):
            free_port(number)
    with pytest.raises(UserError, match="is no port"):
        free_port(70000)
