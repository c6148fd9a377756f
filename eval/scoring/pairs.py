"""Score answers and pair them: one item a conversation, with what each arm did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from statistics import fmean
from typing import Any

from eval.answers import AnsweredConversation
from eval.checks.across import check_across
from eval.checks.registry import CheckResult, run_checks
from eval.scoring.metrics import Embed, Evidence, measure, metric_of
from eval.suite import Prompt, Suite


@dataclass
class Scored:
    """One arm's conversation with its checks and measures.

    Attributes:
        conversation: what was said.
        checks: what each check found.
        metrics: figures by name; judge figures are added later.
        judge: its scores.
        degenerate: whether the answer fails whole: it loops, says nothing, or is void.
    """

    conversation: AnsweredConversation
    checks: list[CheckResult]
    metrics: dict[str, float]
    judge: dict[str, Any] = field(default_factory=dict)
    degenerate: bool = False

    @cached_property
    def red_lines(self) -> set[str]:
        """Names of the red lines it crossed."""
        return {check.name for check in self.checks if check.red_line and not check.passed}

    @property
    def words(self) -> int:
        """Words of the last answer."""
        return len(self.conversation.last.text.split())

    def to_json(self) -> dict[str, Any]:
        """For results.jsonl."""
        return {
            "answers": [
                {**answer.to_json(), "degenerate": answer.degenerate}
                for answer in self.conversation.answers
            ],
            "checks": [{**asdict(check), "passed": check.passed} for check in self.checks],
            "metrics": {name: round(value, 6) for name, value in self.metrics.items()},
            "judge": self.judge,
        }


@dataclass
class Item:
    """One prompt (and sample) with both arms' conversations."""

    suite: Suite
    prompt: Prompt
    sample: int
    base: Scored
    tuned: Scored

    @property
    def new_red_lines(self) -> set[str]:
        """Red lines that tuned crossed here and base did not."""
        return self.tuned.red_lines - self.base.red_lines

    @property
    def difference(self) -> float | None:
        """Tuned minus base in the suite's primary metric; None when it has no value here."""
        metric = self.suite.primary.metric
        if metric not in self.base.metrics or metric not in self.tuned.metrics:
            return None
        return self.tuned.metrics[metric] - self.base.metrics[metric]

    @property
    def outcome(self) -> str:
        """``better``, ``worse`` or ``same`` for tuned; a new red line is always worse."""
        if self.new_red_lines:
            return "worse"
        up = 1 if metric_of(self.suite.primary.metric).higher_is_better else -1
        change = up * (self.difference or 0.0)
        return "better" if change > 1e-9 else "worse" if change < -1e-9 else "same"

    def to_json(self, settings: dict[str, Any]) -> dict[str, Any]:
        """One line of results.jsonl."""
        return {
            "suite": self.suite.name,
            "id": self.prompt.id,
            "sample": self.sample,
            "tags": list(self.prompt.tags),
            "system": self.suite.system,
            "turns": list(self.prompt.turns),
            "reference": self.prompt.reference,
            "metric": self.suite.primary.metric,
            "difference": self.difference,
            "outcome": self.outcome,
            "new_red_lines": sorted(self.new_red_lines),
            "base": self.base.to_json(),
            "tuned": self.tuned.to_json(),
            "settings": settings,
        }


def score(
    conversation: AnsweredConversation,
    suite: Suite,
    prompt: Prompt,
    embed: Embed | None,
    across: Sequence[CheckResult] = (),
) -> Scored:
    """Run the checks of a prompt, and measure what can be measured.

    Args:
        conversation: one arm's.
        suite: whose checks it is held to.
        prompt: the suite's prompt.
        embed: cosine of two texts; None without an embedding model.
        across: what showed only beside the arm's other answers.
    """
    checks = [*run_checks(suite.checks_of(prompt), conversation, prompt.tags), *across]
    void = any(check.voids and not check.passed for check in checks)
    degenerate = bool(conversation.degenerate) or void
    seen = Evidence(conversation.last.text, checks, prompt.reference, embed, degenerate)
    return Scored(conversation, checks, measure(seen), degenerate=degenerate)


def pair(
    suite: Suite,
    base: Sequence[AnsweredConversation],
    tuned: Sequence[AnsweredConversation],
    embed: Embed | None,
) -> list[Item]:
    """Score both arms and put them side by side, in the suite's order."""
    prompts = {prompt.id: prompt for prompt in suite.prompts}
    items = []
    across = zip(check_across(base), check_across(tuned), strict=True)
    for left, right, (across_left, across_right) in zip(base, tuned, across, strict=True):
        if (left.prompt_id, left.sample) != (right.prompt_id, right.sample):
            raise ValueError("the arms answered different prompts")
        prompt = prompts[left.prompt_id]
        items.append(
            Item(
                suite,
                prompt,
                left.sample,
                score(left, suite, prompt, embed, across_left),
                score(right, suite, prompt, embed, across_right),
            )
        )
    return items


def paired_values(items: Sequence[Item], metric: str) -> tuple[list[float], list[float]]:
    """(base, tuned): a value a conversation, the mean over its samples; without it, left out."""
    by_prompt: dict[str, list[Item]] = {}
    for item in items:
        if metric in item.base.metrics and metric in item.tuned.metrics:
            by_prompt.setdefault(item.prompt.id, []).append(item)
    base = [fmean(i.base.metrics[metric] for i in group) for group in by_prompt.values()]
    tuned = [fmean(i.tuned.metrics[metric] for i in group) for group in by_prompt.values()]
    return base, tuned


def is_yes_no(values: Sequence[float]) -> bool:
    """Whether every value is 0 or 1."""
    return all(value in (0.0, 1.0) for value in values)
