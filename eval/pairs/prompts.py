"""What is asked for preference rows: training prompts, or prompts that the user gives; no suite's.

Suites judge the model that these rows train, so nothing near a prompt of theirs may be among them,
by the rule that keeps training data clean (`datasets_prep.contamination`).
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datasets_prep.contamination import Prompts
from datasets_prep.settings import ContaminationSettings
from eval.suite import SUITES, load_suite
from recipes.runner.core.errors import UserError, UserErrors
from recipes.runner.core.paths import ROOT, display_path
from recipes.runner.run.fingerprint import digest
from recipes.runner.run.finished import Run

Message = dict[str, str]
_ROLES = ("system", "user", "assistant")
_FORM = 'Write {"prompt": "..."} or {"messages": [...]} that ends with the user'


@dataclass(frozen=True)
class Asked:
    """One prompt.

    Attributes:
        id: from what is said, so that the same prompt has the same id everywhere.
        messages: role and content; the last is the user's.
        where: the file and line it comes from.
        reference: what a person answered, where that is known.
        checks: what its answers are held to beside the checks of every answer.
    """

    id: str
    messages: tuple[tuple[str, str], ...]
    where: str
    reference: str | None = None
    checks: tuple[Any, ...] = field(default=(), compare=False)

    @property
    def chat(self) -> list[Message]:
        """As a chat template takes it."""
        return [{"role": role, "content": content} for role, content in self.messages]

    @property
    def said(self) -> str:
        """All that the user said, as checks of meaning read it."""
        return " ".join(content for role, content in self.messages if role == "user")


@dataclass(frozen=True)
class Gathered:
    """Prompts, and how many were left out because a suite asks them."""

    prompts: list[Asked]
    of_suites: int


def training_prompts(run: Run, limit: int | None, seed: int) -> Gathered:
    """The prompts that a run was trained on: each conversation up to its last user turn.

    Args:
        run: a run that was trained on local rows of messages.
        limit: how many at most, drawn by the seed; None for all.
        seed: see ``limit``.

    Raises:
        UserError: its training data are no such file, or hold no prompt.
    """
    found: list[Asked] = []
    for entry in run.config.get("datasets") or []:
        path = Path(str(entry.get("path")))
        path = path if path.is_absolute() else ROOT / path
        if not path.is_file():
            raise UserError("the run's training data are no file here", display_path(path),
                            "Make them again, or give PROMPTS=file")  # fmt: skip
        found += list(_of_rows(path, strict=False))
    asked = _without_suites(_distinct(found))
    if not asked.prompts:
        raise UserError("its training data hold no prompt", display_path(run.path))
    return Gathered(_some(asked.prompts, limit, seed), asked.of_suites)


def given_prompts(path: Path, limit: int | None = None, seed: int = 42) -> Gathered:
    """The prompts of a file: a suite (``.yaml``), JSON lines, or a text with one a line.

    Raises:
        UserErrors: every line that is no prompt, and every one that a suite asks.
        UserError: no such file, or one without a prompt.
    """
    if not path.is_file():
        raise UserError("there is no such file", str(path), "Give PROMPTS a file")
    if path.suffix in (".yaml", ".yml"):
        if path.resolve().is_relative_to(SUITES.resolve()):
            what = "is a suite of the evaluation, and suites judge what is trained"
            raise UserError(what, display_path(path), "Give prompts of your own")
        suite = load_suite(str(path))
        system = (("system", suite.system),) if suite.system else ()
        found = [
            _asked((*system, ("user", p.turns[0])), f"{display_path(path)}: {p.id}", p.reference,
                   tuple(suite.checks_of(p)))
            for p in suite.prompts if len(p.turns) == 1
        ]  # fmt: skip
    elif path.suffix == ".txt":
        lines = _text(path).splitlines()
        found = [
            _asked((("user", line.strip()),), f"{display_path(path)}:{number}")
            for number, line in enumerate(lines, 1)
            if line.strip()
        ]
    else:
        found = list(_of_rows(path, strict=True))
    found = _distinct(found)
    if not found:
        raise UserError("holds no prompt", display_path(path), _FORM)
    known = Prompts.of_suites(ContaminationSettings())
    near = [(one, why) for one in found if (why := _near(known, one))]
    if near:
        todo = "Take it out: suites judge what is trained on it"
        raise UserErrors([UserError(f"is {why}", one.where, todo) for one, why in near])
    return Gathered(_some(found, limit, seed), 0)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        what = f"is not UTF-8: byte {error.object[error.start]:#04x} cannot be read"
        raise UserError(what, f"{display_path(path)}:{line}", "Convert the file") from None


def _of_rows(path: Path, strict: bool) -> Iterator[Asked]:
    faults = []
    for number, line in enumerate(_text(path).split("\n"), 1):
        if not line.strip():
            continue
        where = f"{display_path(path)}:{number}"
        try:
            messages, reference = _messages(json.loads(line), strict)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            faults.append(UserError(f"is no prompt: {error}", where, _FORM))
            continue
        if messages:
            yield _asked(messages, where, reference)
    if faults:
        raise UserErrors(faults)


def _messages(row: Any, strict: bool) -> tuple[tuple[tuple[str, str], ...], str | None]:
    """The turns of a row up to its last user turn, and what was answered to that."""
    if not isinstance(row, dict):
        raise ValueError("no mapping of keys")
    if isinstance(row.get("prompt"), str):
        if not row["prompt"].strip():
            raise ValueError("prompt is empty")
        return (("user", row["prompt"].strip()),), None
    turns = row.get("messages", row.get("prompt"))
    if not isinstance(turns, list):
        raise ValueError("it has neither prompt nor messages")
    said = [(str(turn["role"]), str(turn["content"])) for turn in turns]
    if strange := next((role for role, _ in said if role not in _ROLES), None):
        if strict:
            raise ValueError(f"there is no role {strange}")
        return (), None  # a row with tools: not asked again
    last = max((i for i, (role, _) in enumerate(said) if role == "user"), default=None)
    if last is None:
        raise ValueError("nobody asks: it has no user turn")
    answer = said[last + 1][1] if last + 1 < len(said) else None
    return tuple(said[: last + 1]), answer


def _asked(
    messages: tuple[tuple[str, str], ...],
    where: str,
    reference: str | None = None,
    checks: tuple[Any, ...] = (),
) -> Asked:
    return Asked(digest(list(messages))[:16], messages, where, reference, checks)


def _distinct(found: list[Asked]) -> list[Asked]:
    return list({one.id: one for one in found}.values())


def _some(found: list[Asked], limit: int | None, seed: int) -> list[Asked]:
    if limit is None or limit >= len(found):
        return found
    drawn = random.Random(seed).sample(range(len(found)), limit)
    return [found[index] for index in sorted(drawn)]


def _near(known: Prompts, asked: Asked) -> str | None:
    """Why a prompt is near one of a suite; what assistants say in it counts as training's does."""
    reason = known.near({"messages": asked.chat})
    if reason is None or not reason.startswith(("a prompt", "near")):
        return f"near a suite: {reason}" if reason else None
    return reason


def _without_suites(found: list[Asked]) -> Gathered:
    known = Prompts.of_suites(ContaminationSettings())
    kept = [one for one in found if not _near(known, one)]
    return Gathered(kept, len(found) - len(kept))
