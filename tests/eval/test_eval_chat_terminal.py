"""The chat in a real (pseudo) terminal, and what is refused before a model is loaded."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_chat import ATTACK

from eval.chat.__main__ import main
from recipes.runner.core.recipe import ROOT
from recipes.runner.run.finished import ADAPTER_CONFIG


class Screen:
    """A program behind a terminal."""

    def __init__(self, command: list[str]) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # its own terminal
            env={**os.environ, "TERM": "xterm", "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        os.close(slave)
        self.text = ""

    def until(self, words: str, seconds: float = 400, keep_typing: str = "") -> str:
        """What came up to and with these words, since the last call.

        ``keep_typing`` is typed every second until they come.
        """
        end, typed = time.monotonic() + seconds, 0.0
        while words not in self.text:
            assert time.monotonic() < end, self.text
            if keep_typing and time.monotonic() > typed + 1:
                self.type(keep_typing)
                typed = time.monotonic()
            if select.select([self.master], [], [], 0.2)[0]:
                self.text += os.read(self.master, 65536).decode("utf-8", "replace")
        before, after = self.text.split(words, 1)
        self.text = after
        return before + words

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())


@pytest.fixture(scope="module")
def screen(chat_run: Path) -> Iterator[Screen]:
    command = [sys.executable, "-m", "eval.chat", "--run", str(chat_run), "--ui", "terminal"]
    screen = Screen(command)
    yield screen
    screen.process.kill()
    screen.process.wait()


def test_a_whole_conversation_in_the_terminal(screen: Screen, tmp_path: Path) -> None:
    start = screen.until("you (tuned): ")
    assert "not a clinician" in start and "/both" in start and "loaded in" in start
    assert "Traceback" not in start
    screen.type("/base\n")
    screen.until("you (base): ")
    screen.type("What is the capital of France?\n")
    assert "Paris it is." in screen.until("you (base): ")

    # Ctrl-C stops the answer, not the program.
    screen.type("/new\nSing.\n")
    screen.until("la la la la la")
    screen.type("\x03")
    assert "Stopped by you." in screen.until("you (base): ")
    # A Ctrl-C can be lost between the prompt and the wait for a key; a person presses again.
    screen.until("/quit leaves", keep_typing="\x03")
    screen.until("you (base): ")

    screen.type("/new\nHow do I feel?\n")
    # The panel wraps its lines, and cuts none.
    said = " ".join(re.sub(r"\x1b\[[0-9;]*m|│", " ", screen.until("tokens/s")).split())
    assert "988" in said and "116 123" in said and "findahelpline.com" in said
    assert "(911 in the US and Canada, 112 in Europe, 999 in the UK, 000 in Australia)" in said

    screen.type("/new\n/both\nWhich animal barks?\n")
    said = screen.until("base:") + screen.until("tuned:")
    assert "A dog barks." in said
    screen.until("you (both): ")
    file = tmp_path / "talk.json"
    screen.type(f"/export {file}\n")
    screen.until("saved as")
    rows = json.loads(file.read_text())
    assert [row["arm"] for row in rows] == ["base", "tuned"]
    assert rows[0]["messages"][-1]["content"] == "A dog barks."
    screen.type(f"/export {file}\n")
    assert "is there already" in screen.until("Name another")
    screen.type("/exprot\n")
    assert "Did you mean /export?" in screen.until("/export?")

    screen.type("/base\n/new\nShow me.\n")
    assert ATTACK in screen.until("tokens/s").replace("\r\n", "")
    screen.until("you (base): ")
    screen.type("/quit\n")
    assert screen.process.wait(20) == 0


def test_lines_from_a_pipe(chat_run: Path) -> None:
    talk = "/base\nWhat is the capital of Japan?\n" + "too much " * 2500 + "\n/quit\n"
    done = subprocess.run(
        [sys.executable, "-m", "eval.chat", "--run", str(chat_run), "--ui", "terminal"],
        input=talk, capture_output=True, text=True, timeout=200, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Tokyo it is." in done.stdout and "too long" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--run", "nowhere-at-all"], "there is no such run"),
        (["--recipe", "smollm2-135m-qlor"], "Did you mean smollm2-135m-qlora?"),
        (["--run", "{none}"], "holds no adapter"),
        (["--run", "{other}"], "trained on another base"),
        (["--run", "{run}", "--ui", "wbe"], "Did you mean web?"),
        (["--run", "{run}", "--port", "99999"], "is no port"),
        (["--run", "{run}", "--host", "192.0.2.1"], "no address of this machine"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], words: str, chat_run: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    none, other = tmp_path / "none", tmp_path / "other"
    none.mkdir()
    shutil.copy(chat_run / "run.json", none)
    shutil.copytree(chat_run, other)
    config = json.loads((other / ADAPTER_CONFIG).read_text())
    config["base_model_name_or_path"] = "another/base"
    (other / ADAPTER_CONFIG).write_text(json.dumps(config))
    places = {"{run}": chat_run, "{none}": none, "{other}": other}
    with pytest.raises(SystemExit) as caught:
        main([str(places.get(argument, argument)) for argument in arguments])
    assert caught.value.code == 1
    err = capsys.readouterr().err.strip()
    assert err.startswith("error: ") and words in err and "\n" not in err


def test_a_model_that_cannot_be_loaded_is_one_line(
    chat_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(chat_run, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    gone = str(tmp_path / "gone")
    record["config"]["base_model"] = gone
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    config = json.loads((tmp_path / "run" / ADAPTER_CONFIG).read_text())
    config["base_model_name_or_path"] = gone
    (tmp_path / "run" / ADAPTER_CONFIG).write_text(json.dumps(config))
    with pytest.raises(SystemExit):
        main(["--run", str(tmp_path / "run"), "--ui", "terminal"])
    err = capsys.readouterr().err.strip()
    assert err.startswith("error: ") and "can't be loaded" in err and "\n" not in err
