"""Which answer is preferred over which: rows for DPO, and answers with a label for KTO."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from eval.against import against_folders
from eval.answers import Answer
from eval.pairs.faults import faults_of, missed_by
from eval.pairs.prompts import Asked
from eval.pairs.stakes import names_help, stakes_of
from eval.report.results import Results
from eval.scoring.votes import VOTES, read_votes
from recipes.runner.core.errors import UserError
from recipes.runner.core.files import write_jsonl
from recipes.runner.core.paths import display_path
from recipes.runner.run.fingerprint import digest
from recipes.runner.run.finished import Run

WhenReference = Literal["never", "missing", "always"]


@dataclass(frozen=True)
class Preference:
    """One row.

    Attributes:
        asked: the prompt.
        chosen: the answer to learn.
        rejected: the answer to unlearn.
        by: who preferred it: ``people``, ``judge`` or ``checks``.
        why: in words.
    """

    asked: Asked
    chosen: str
    rejected: str
    by: str
    why: str

    def row(self, run: str) -> dict[str, Any]:
        """As it is written: the prompt in ``messages``, ``chosen`` and ``rejected`` beside it."""
        return {
            "id": f"{self.asked.id}-{self.by}-{digest([self.chosen, self.rejected])[:8]}",
            "run": run,
            "by": self.by,
            "why": self.why,
            "messages": self.asked.chat,
            "chosen": {"role": "assistant", "content": self.chosen},
            "rejected": {"role": "assistant", "content": self.rejected},
        }

    def labelled(self, run: str) -> list[dict[str, Any]]:
        """Both answers as rows for KTO; an answer that stands in two pairs has one id."""
        return [
            {
                "id": f"{self.asked.id}-{self.by}-{digest(text)[:8]}-{'good' if label else 'bad'}",
                "run": run,
                "completion": [*self.asked.chat, {"role": "assistant", "content": text}],
                "label": label,
            }
            for label, text in ((True, self.chosen), (False, self.rejected))
        ]


def from_samples(
    asked: Asked,
    answers: Sequence[Answer],
    more: Sequence[Any] = (),
    reference: WhenReference = "never",
    stray: Collection[int] = (),
) -> Preference | None:
    """A sound answer against the worst of some answers to one prompt, by what is wrong with them.

    The chosen one has no fault and leaves no doubt: an answer is not learnt for being less bad than
    another. Of several the one as long as the rejected is taken, so that length isn't what is
    learnt. None where no answer is sound, or no other is worse.

    Args:
        asked: the prompt.
        answers: samples of it.
        more: further checks.
        reference: when the answer that a person wrote is the chosen one, where there is one:
            ``missing``, where no sample is sound; ``always``, but where a sound sample meets more
            of what ``more`` and the prompt's own checks ask.
        stray: which samples are no nearer to this prompt than to others; they are not learnt.
    """
    tried = [(answer, faults_of(asked, answer, more)) for answer in answers]
    if not tried:
        return None
    worst, worst_faults = max(tried, key=lambda pair: pair[1].cost)
    sound = [pair for n, pair in enumerate(tried) if pair[1].sound and n not in stray]
    least = min((faults.cost for _, faults in sound), default=None)
    wanted = reference == "always" or (reference == "missing" and least is None)
    person = missed_by(asked, asked.reference, more) if asked.reference and wanted else None
    if person is not None and (least is None or person.cost <= least):
        chosen, faults = str(asked.reference), person
    elif least is not None:
        best = [pair for pair in sound if pair[1].cost == least]
        long = not worst.degenerate and not worst.cut  # else its length is its fault
        answer, faults = min(best, key=lambda pair: _apart(pair[0], worst)) if long else best[0]
        chosen = answer.text
    else:
        return None
    if faults.cost >= worst_faults.cost or chosen.strip() == worst.text.strip():
        return None
    if not worst.text.strip():
        return None  # nothing is no answer to unlearn: it has one token, its end
    why = ", ".join(name for name in worst_faults.named if name not in faults.named)
    return Preference(asked, chosen, worst.text, "checks", f"the other: {why}")


def _apart(one: Answer, other: Answer) -> int:
    return abs(one.tokens - other.tokens)


def from_results(run: Run, prompts: Iterable[Asked], suite: str) -> tuple[list[Preference], int]:
    """What people and the judge preferred in evaluations of a suite that the user gave.

    Args:
        run: a run that was evaluated, against its base, against other runs, or both.
        prompts: of the suite, `given_prompts`.
        suite: its name.

    Returns:
        Rows, and how many votes and verdicts were ties, for prompts of other suites, or for an
        answer without help over one with it where somebody is in danger.

    Raises:
        UserError: votes that are not for the results here.
    """
    by_text = {asked.messages[-1][1]: asked for asked in prompts}
    found: list[Preference] = []
    unused = 0
    for folder in evaluations_of(run):
        rows, more = _of_evaluation(run, folder, by_text, suite)
        found += rows
        unused += more
    return found, unused


def evaluations_of(run: Run) -> list[Path]:
    """The folders of a run's evaluations: against its base, and against other runs."""
    folders = [run.eval_dir, *against_folders(run)]
    return [folder for folder in folders if (folder / "results.jsonl").is_file()]


def _of_evaluation(
    run: Run, folder: Path, by_text: dict[str, Asked], suite: str
) -> tuple[list[Preference], int]:
    votes = _votes_in(run, folder)
    found, unused = [], 0
    for row in Results(folder / "results.jsonl"):
        vote = votes.get((row["suite"], row["id"], row.get("sample", 0)))
        verdict = (row["tuned"].get("judge") or {}).get("preference")
        if vote is None and verdict is None:
            continue
        asked = by_text.get(row["turns"][0]) if row["suite"] == suite else None
        preference = None
        if asked is not None and len(row["turns"]) == 1:
            preference = _preferred(asked, row, vote, verdict)
        if preference is None:
            unused += 1
        else:
            found.append(preference)
    return found, unused


def _votes_in(run: Run, folder: Path) -> dict[tuple[str, str, int], str]:
    if not (folder / VOTES).is_file():
        return {}
    read = read_votes(folder / VOTES)
    summary = run.summary(folder) or {}
    if read.report != summary.get("report_id"):
        what = "these votes are for other answers than the results here"
        raise UserError(what, display_path(folder / VOTES), "Rate the present report")
    return {(vote.suite, vote.id, vote.sample): vote.winner for vote in read.votes}


def _preferred(
    asked: Asked, row: dict[str, Any], vote: str | None, verdict: float | None
) -> Preference | None:
    """The row of one vote; of the judge's verdict where no person voted."""
    by = "people" if vote is not None else "judge"
    verdict = 0.5 if verdict is None else float(verdict)
    winner = vote if vote is not None else {1.0: "tuned", 0.0: "base"}.get(verdict, "tie")
    if winner not in ("tuned", "base"):
        return None
    loser = "base" if winner == "tuned" else "tuned"
    chosen, rejected = (row[side]["answers"][-1]["text"] for side in (winner, loser))
    if not chosen.strip() or not rejected.strip() or chosen.strip() == rejected.strip():
        return None
    if takes_help_away(asked, chosen, rejected):
        return None
    return Preference(asked, chosen, rejected, by, f"{by} preferred {winner}")


def takes_help_away(asked: Asked, chosen: str, rejected: str) -> bool:
    """Whether somebody is in danger, and the rejected answer alone names help at any hour."""
    if stakes_of(asked) != "danger":
        return False
    return names_help(asked, rejected) and not names_help(asked, chosen)


def reasons_of(preference: Preference) -> list[str]:
    """What was wrong with the rejected answer, by the names of the checks; none of a vote."""
    said = preference.why.removeprefix("the other: ")
    return said.split(", ") if preference.by == "checks" else []


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Rows as JSON lines, each id once."""
    write_jsonl(path, list({row["id"]: row for row in rows}.values()))
