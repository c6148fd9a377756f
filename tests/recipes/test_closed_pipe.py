"""Output that nobody reads any more ends a command without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from recipes.runner.core.errors import CLOSED_PIPE

ROOT = Path(__file__).resolve().parents[2]
_PROGRAM = """
import os, sys
from recipes.runner.core.errors import UserError, user_errors_exit
with user_errors_exit():
    {body}
"""


def run_unread(*command: str) -> tuple[int, str]:
    """Run with a stdout whose reader has gone; the exit code and what stood on stderr."""
    read, write = os.pipe()
    os.close(read)
    # As a user's shell has it: what is printed waits in a buffer.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    try:
        done = subprocess.run(
            command,
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=env,
            check=False,
        )
    finally:
        os.close(write)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("print('one line, written at the end')", CLOSED_PIPE, ""),
        ("print('at once', flush=True)", CLOSED_PIPE, ""),
        ("print('then'); sys.exit(3)", CLOSED_PIPE, ""),
        ("print('then'); raise UserError('no such file', 'x.csv')", CLOSED_PIPE, "x.csv: no such"),
        ("pass", 0, ""),
    ],
)
def test_a_closed_pipe_ends_a_command_cleanly(body: str, code: int, said: str) -> None:
    returned, errors = run_unread(sys.executable, "-c", _PROGRAM.format(body=body))
    if code == CLOSED_PIPE:
        assert "Traceback" not in errors and "Exception ignored" not in errors
    assert returned == code and said in errors
    assert said or not errors


def test_another_error_keeps_its_traceback() -> None:
    code, errors = run_unread(sys.executable, "-c", _PROGRAM.format(body="print('a'); 1 / 0"))
    assert code and "ZeroDivisionError" in errors


def test_another_pipe_is_a_fault_of_the_work() -> None:
    body = "r, w = os.pipe(); os.close(r); os.write(w, b'x')"
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM.format(body=body)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 1 and "BrokenPipeError" in done.stderr


@pytest.mark.parametrize("arguments", [["-m", "recipes", "plan", "falcon7b-qlora"]])
def test_a_real_command_ends_cleanly(arguments: list[str]) -> None:
    assert run_unread(sys.executable, *arguments) == (CLOSED_PIPE, "")


def test_help_ends_cleanly() -> None:
    code, errors = run_unread(sys.executable, "recipes/runner/setup/help.py", "Makefile")
    assert (code, errors) == (-13, "")
