"""What to tell of rows that were dropped: when none is left, and when most are gone."""

from __future__ import annotations

from datasets_prep.tally import Tally
from recipes.runner.core.errors import UserError

# What a setting has to do with a reason for which everything was dropped.
_CURES = {
    "assistant turn of": "Set steps.filter.min_answer_words lower",
    "where one text is wanted": "For lists of questions and answers set shape: intents",
    "names none of them": "Set source.each to that column for a row of each element, or one by its "
    "number",
    "before the first role marker": "Set turns.before: system or leave_out, or "
    "name it under markers too",
    "names who speaks": "Say with turns.line what a line of a new turn looks like",
    "no text": "Name another column, or set columns.numbers_as_text: true for numbers",
    "tool_calls": "Name a recipe whose template takes tools, with --recipe",
    "not in '": "Set steps.filter.language.keep, or language: false",
}


def nothing_left(tally: Tally, name: str) -> UserError:
    """The error of a run that dropped every row: the most frequent reason, and its cure.

    Args:
        tally: the counts of the run.
        name: of the source.
    """
    drops = _drops(tally)
    # What is left out on purpose explains nothing, where something else went wrong.
    drops.sort(key=lambda drop: drop[0][0] == "where")
    why, todo = "", "Check shape, columns and steps in the definition"
    if drops:
        step, action, reason = drops[0][0]
        why = f"; most often: {step}: {reason}"
        whole = tally.whole.get((step, action, reason), reason)
        if whole != reason:
            why += f" ({whole})"
        todo = next((cure for sign, cure in _CURES.items() if sign in whole), todo)
    if not tally.read:
        return UserError("its rows make no conversation", name, todo)
    return UserError(f"no usable row among {tally.read}{why}", name, todo)


def most_dropped(tally: Tally) -> list[str]:
    """What a user should know when more than half of the rows went for one reason."""
    drops = _drops(tally)
    if not drops or 2 * drops[0][1] <= tally.read or drops[0][0][0] == "where":
        return []
    key, count = drops[0]
    reason = tally.whole.get(key, key[2])
    return [
        f"{count:,} of {tally.read:,} rows, more than half, went in the step {key[0]}: {reason}"
    ]


def _drops(tally: Tally) -> list[tuple[tuple[str, str, str], int]]:
    """Why rows were dropped, as (step, action, reason), and how many; the most first."""
    return [reason for reason in tally.reasons.most_common() if reason[0][1] == "dropped"]
