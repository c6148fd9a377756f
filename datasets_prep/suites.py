"""What the evaluation asks: its suites are read as files, as this package stands below it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets_prep.settings import ContaminationSettings
from recipes.runner.core.errors import UserError
from recipes.runner.core.paths import ROOT
from recipes.runner.core.yaml_file import read_yaml

SUITES = ROOT / "eval" / "suites"


@dataclass(frozen=True)
class Prompt:
    """One user turn that the evaluation asks.

    Attributes:
        name: the suite and the prompt's id.
        text: the turn.
        before: the turn before it, if any: "Why?" is this prompt only behind that.
    """

    name: str
    text: str
    before: str = ""


def suite_files(settings: ContaminationSettings) -> list[Path]:
    """The files of the suites.

    Raises:
        UserError: there is no such suite.
    """
    if settings.suites == "all":
        return sorted(SUITES.glob("*.yaml"))
    files = [Path(name) if name.endswith((".yaml", ".yml")) else SUITES / f"{name}.yaml"
             for name in settings.suites]  # fmt: skip
    for file in files:
        if not file.is_file():
            known = ", ".join(path.stem for path in sorted(SUITES.glob("*.yaml")))
            raise UserError(f"no suite '{file}'", "contamination.suites", f"Known: {known}")
    return files


def listed_in(files: Iterable[Path]) -> list[tuple[str, dict[str, Any]]]:
    """What suites list, each with its name."""
    found = []
    for file in files:
        listed = read_yaml(file, "Write a suite").content.get("prompts")
        for prompt in listed if isinstance(listed, list) else []:
            if isinstance(prompt, dict):
                found.append((f"{file.stem}/{prompt.get('id')}", prompt))
    return found


def prompts_of(listed: Iterable[tuple[str, dict[str, Any]]]) -> list[Prompt]:
    """Every user turn of what `listed_in` found."""
    found: list[Prompt] = []
    for name, prompt in listed:
        turns = prompt.get("turns")
        before = ""
        for turn in turns if isinstance(turns, list) else []:
            found.append(Prompt(name, str(turn), before))
            before = str(turn)
    return found


def references_of(listed: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, str]:
    """The name of each prompt by the answer that its suite gives it, where it gives one."""
    return {
        prompt["reference"]: name
        for name, prompt in listed
        if isinstance(prompt.get("reference"), str)
    }
