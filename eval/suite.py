"""Suites: what is asked, how it is checked, which figure decides, and which gates hold."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, Field, model_validator

from eval.checks.registry import AnyCheck
from eval.scoring.metrics import known_metric, metric_of
from recipes.runner.core.errors import UserError
from recipes.runner.core.nearest import did_you_mean
from recipes.runner.core.yaml_model import Strict, read_model

SUITES = Path(__file__).parent / "suites"
HELD_OUT = "held_out"
Dimension = Literal[
    "active_listening",
    "empathy_and_validation",
    "safety_and_trust",
    "non_judgement",
    "clarity_and_encouragement",
    "boundaries",
    "holistic_approach",
]
Row = TypeVar("Row")
MetricName = Annotated[str, AfterValidator(known_metric)]


class Primary(Strict):
    """The one figure that decides a suite.

    Attributes:
        metric: one of `eval.scoring.metrics`.
        margin: the smallest difference that would matter, in the metric's own unit.
    """

    metric: MetricName
    margin: float = Field(gt=0)


class NoNewRedLines(Strict):
    """Fails when tuned crosses a red line at a prompt where base did not cross it."""

    gate: Literal["no_new_red_lines"]


class NonInferiority(Strict):
    """Holds when the one-sided 95% bound of tuned minus base lies above minus ``margin``."""

    gate: Literal["non_inferiority"]
    margin: float | None = Field(default=None, gt=0)


class Threshold(Strict):
    """Holds when the mean of a metric over tuned's answers is within the bounds."""

    gate: Literal["threshold"]
    metric: MetricName
    tags: tuple[str, ...] = ()
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _has_a_bound(self) -> Threshold:
        if self.at_least is None and self.at_most is None:
            raise ValueError("give at_least or at_most")
        return self


AnyGate = Annotated[NoNewRedLines | NonInferiority | Threshold, Field(discriminator="gate")]


class Prompt(Strict):
    """One conversation to be had: the user's turns; the model under test answers each."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    turns: tuple[Annotated[str, Field(min_length=1)], ...] = Field(min_length=1)
    tags: tuple[str, ...] = ()
    reference: str | None = None
    checks: tuple[AnyCheck, ...] = ()


class Suite(Strict):
    """One suite file."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    about: str
    system: str | None = None
    max_new_tokens: int = Field(default=96, ge=1, le=4096)
    primary: Primary
    rubric: tuple[Dimension, ...] = ()
    checks: tuple[AnyCheck, ...] = ()
    gates: tuple[AnyGate, ...] = ()
    prompts: tuple[Prompt, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _holds_together(self) -> Suite:
        twice = [i for i, n in Counter(p.id for p in self.prompts).items() if n > 1]
        if twice:
            raise ValueError(f"the prompt id '{twice[0]}' is there twice")
        tags = {tag for prompt in self.prompts for tag in prompt.tags}
        wanted = {tag for check in self.checks for tag in check.tags}
        wanted |= {tag for gate in self.gates for tag in getattr(gate, "tags", ())}
        for tag in sorted(wanted - tags):
            raise ValueError(f"no prompt has the tag '{tag}'. {did_you_mean(tag, tags, 'Tags')}")
        for metric in (self.primary.metric, *(getattr(g, "metric", "") for g in self.gates)):
            if metric:
                self._can_have(metric)
        if self.name == HELD_OUT:
            raise ValueError(f"the name {HELD_OUT} is taken by the held-out conversations")
        return self

    def _can_have(self, name: str) -> None:
        """Refuse a metric that no prompt of this suite can have a value of."""
        metric, checks = metric_of(name), self._all_checks()
        member = metric.member(name)
        named = {check.name for check in checks}
        if metric.needs == "check" and member not in named:
            raise ValueError(f"{name}: {did_you_mean(member, named, 'Checks here')}")
        if metric.needs == "scored check" and not any(check.scored for check in checks):
            raise ValueError(f"{name}: no check is scored")
        if metric.needs == "judge" and member not in (*self.rubric, "overall"):
            raise ValueError(f"{name} is not in the rubric")
        references = any(prompt.reference for prompt in self.prompts)
        if metric.needs in ("reference", "embedding") and not references:
            raise ValueError(f"{name}: no prompt has a reference")

    def _all_checks(self) -> list[AnyCheck]:
        return [*self.checks, *(check for prompt in self.prompts for check in prompt.checks)]

    def checks_of(self, prompt: Prompt) -> list[AnyCheck]:
        """The suite's checks and the prompt's own."""
        return [*self.checks, *prompt.checks]


def suite_names() -> list[str]:
    """Names of the suites that are shipped or were added, sorted."""
    return sorted(path.stem for path in SUITES.glob("*.yaml"))


def load_suite(name_or_path: str) -> Suite:
    """Read one suite by its name in ``eval/suites`` or by its path.

    Raises:
        UserError: no such suite.
        UserErrors: every fault in it, each with its line.
    """
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = SUITES / f"{name_or_path}.yaml"
    if not path.is_file():
        raise UserError(
            f"there is no suite '{name_or_path}'",
            "--suites",
            did_you_mean(name_or_path, suite_names(), "Suites"),
        )
    return read_model(path, Suite, "Start from another suite")


def load_suites(names: list[str] | None, limit: int | None = None) -> list[Suite]:
    """The named suites, or all; with ``limit``, so many prompts of each, evenly spread."""
    suites = [load_suite(name) for name in names or suite_names()]
    twice = [name for name, n in Counter(s.name for s in suites).items() if n > 1]
    if twice:
        raise UserError(f"two suites are named '{twice[0]}'", "--suites", "Rename one")
    if limit is None:
        return suites
    return [s.model_copy(update={"prompts": spread(s.prompts, limit)}) for s in suites]


def spread(rows: tuple[Row, ...], limit: int) -> tuple[Row, ...]:
    """``limit`` of the rows at even distances, so that every kind is among them."""
    count = min(limit, len(rows))
    return tuple(rows[index * len(rows) // count] for index in range(count))
