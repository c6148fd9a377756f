"""People's blind votes, as the report exports them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from pydantic import Field, ValidationError

from eval.scoring.statistics import rank_correlation, win_rate
from eval.suite import HELD_OUT
from recipes.runner.core.errors import UserError
from recipes.runner.core.yaml_model import Strict

VOTES = "votes.json"  # beside the results, once they were read in
Side = Literal["base", "tuned"]
_OUTCOME = {"tuned": 1.0, "tie": 0.5, "base": 0.0}


class Vote(Strict):
    """One pair that a person rated without knowing which was which.

    Attributes:
        left: the arm that stood on the left.
        winner: the arm that was chosen.
    """

    suite: str
    id: str
    sample: int = Field(ge=0)
    left: Side
    winner: Literal["base", "tuned", "tie"]


class Votes(Strict):
    """A file of votes."""

    report: str
    run: str
    votes: tuple[Vote, ...] = Field(min_length=1)


def read_votes(path: Path) -> Votes:
    """Read an exported file.

    Raises:
        UserError: it is missing, or no file of votes.
    """
    if not path.is_file():
        raise UserError("there is no such file", str(path), "Export the votes from report.html")
    try:
        return Votes.model_validate_json(path.read_bytes())
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        what = "nobody rated a pair" if fault["type"] == "too_short" else fault["msg"]
        raise UserError(
            f"holds no votes: {place + ': ' if place else ''}{what}",
            str(path),
            "Export them again from report.html",
        ) from None


def count_votes(
    votes: Votes, rows: Iterable[dict[str, Any]], report_id: str, where: str
) -> dict[str, Any]:
    """Win rate over all votes and by suite, and how often the left side was chosen.

    Raises:
        UserError: the votes are for other answers, or rate a pair twice.
    """
    if votes.report != report_id:
        raise UserError(
            f"these votes are for report {votes.report}, the results here are {report_id}",
            where,
            "Rate the present report.html",
        )
    longer = {
        (row["suite"], row["id"], row["sample"]): float(_words(row["tuned"]) - _words(row["base"]))
        for row in rows
        if row["suite"] != HELD_OUT
    }
    keys = [(vote.suite, vote.id, vote.sample) for vote in votes.votes]
    if unknown := [key for key in keys if key not in longer]:
        raise UserError(f"there is no prompt {'/'.join(map(str, unknown[0]))}", where)
    if len(set(keys)) < len(keys):
        raise UserError("a pair is rated twice", where, "Export the votes again")
    by_suite: dict[str, list[Vote]] = {}
    for vote in votes.votes:
        by_suite.setdefault(vote.suite, []).append(vote)
    decided = [vote for vote in votes.votes if vote.winner != "tie"]
    left = sum(vote.winner == vote.left for vote in decided)
    preferences = [_OUTCOME[vote.winner] for vote in votes.votes]
    lengths = [longer[key] for key in keys]
    return {
        "n": len(votes.votes),
        "win_rate": _wins(votes.votes),
        "suites": {name: _wins(own) for name, own in by_suite.items()},
        "left_rate": left / len(decided) if decided else 0.5,
        "length_difference": fmean(lengths),
        "length_rho": rank_correlation(lengths, preferences),
    }


def _wins(votes: Sequence[Vote]) -> dict[str, Any]:
    """Win rate; several samples of one prompt count as one."""
    outcomes = [_OUTCOME[vote.winner] for vote in votes]
    return asdict(win_rate(outcomes, [(vote.suite, vote.id) for vote in votes]))


def _words(side: dict[str, Any]) -> int:
    return len(side["answers"][-1]["text"].split())
