"""The order of the steps, said once: the tuples that run.

To add a step: its module, its settings in `settings.py` and `definition.Steps`, its line here.
The worker runs `ROW_STEPS` on every conversation, the build then runs `SET_STEPS` on the whole
set; ledger, tally and card take names and words from here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from datasets_prep.conversation import Conversation, Ledger
from datasets_prep.definition import Definition

if TYPE_CHECKING:
    from datasets_prep.whole import WholeSet

RowWork = Callable[[Conversation, Ledger], bool]
"""Changes a conversation in place, tells the ledger, and returns False when the row is dropped."""


@dataclass(frozen=True)
class RowStep:
    """A step that looks at one conversation at a time.

    Attributes:
        name: its key under ``steps:``, and its name in ledger and card.
        what: what it does, for the card.
        make: the work as a definition and the name of its source set it; None: switched off.
        kept: whether the rows as it leaves them are kept for a later run to start from.
    """

    name: str
    what: str
    make: Callable[[Definition, str], RowWork | None]
    kept: bool = True


@dataclass(frozen=True)
class SetStep:
    """A step that compares rows with each other, or treats them all at once.

    Attributes:
        name: its key under ``steps:``, and its name in ledger and card.
        what: what it does, for the card.
        run: does it.
        drops: whether it may drop rows; a step that can't has no line on the card.
    """

    name: str
    what: str
    run: Callable[[WholeSet], None]
    drops: bool = True


def _shape(definition: Definition, source_name: str) -> RowWork | None:
    from datasets_prep.shapes import Shaper

    return Shaper(definition, source_name).fill


def _clean(definition: Definition, _: str) -> RowWork | None:
    from datasets_prep.clean import Cleaner

    return Cleaner(definition.steps.clean) if definition.steps.clean else None


def _anonymise(definition: Definition, _: str) -> RowWork | None:
    from datasets_prep.anonymise import Anonymiser

    settings = definition.steps.anonymise
    return Anonymiser(settings, definition.steps.kept_language()) if settings else None


def _turns(definition: Definition, _: str) -> RowWork | None:
    from datasets_prep.turns import Alternation

    return Alternation(definition.turns)


def _filter(definition: Definition, _: str) -> RowWork | None:
    from datasets_prep.filters import Filter

    steps = definition.steps
    lines = steps.anonymise.keep_phones if steps.anonymise else []
    return Filter(steps.filter, lines) if steps.filter else None


def _where(definition: Definition, _: str) -> RowWork | None:
    from datasets_prep.conditions import Where

    return Where(definition.where) if definition.where else None


def _contamination(rows: WholeSet) -> None:
    from datasets_prep.contamination import drop_contaminated

    drop_contaminated(rows)


def _mix(rows: WholeSet) -> None:
    from datasets_prep.mix import mix_rows

    mix_rows(rows)


def _dedupe(rows: WholeSet) -> None:
    from datasets_prep.dedupe import dedupe_rows

    dedupe_rows(rows)


def _prove(rows: WholeSet) -> None:
    from datasets_prep.proof import prove_rows

    prove_rows(rows)


def _split(rows: WholeSet) -> None:
    from datasets_prep.split import split_rows

    split_rows(rows)


# Turns before filter: a run of short turns is one reply, and an empty turn is none.
ROW_STEPS = (
    RowStep("where", "rows that meet the conditions", _where, kept=False),
    RowStep("shape", "rows become conversations", _shape),
    RowStep("clean", "encoding, HTML, spaces, glued sentences", _clean),
    RowStep("anonymise", "personal data become placeholders", _anonymise, kept=False),
    RowStep("turns", "user and assistant alternate", _turns),
    RowStep("filter", "language, length, promotion, toxicity, what masking emptied", _filter),
)
SET_STEPS = (
    SetStep("contamination", "nothing near a prompt of the evaluation", _contamination),
    SetStep("dedupe", "the same answer, exactly or nearly", _dedupe),
    SetStep("mix", "limits, shares and weights of the sources", _mix),
    SetStep("prove", "every answer is trained whole, and nothing else", _prove),
    SetStep("split", "what belongs together falls in one split", _split, drops=False),
)


def _stages() -> dict[str, tuple[RowStep, ...]]:
    stages: dict[str, tuple[RowStep, ...]] = {}
    steps: list[RowStep] = []
    for step in ROW_STEPS:
        steps.append(step)
        if step.kept:
            stages[step.name] = tuple(steps)
            steps = []
    return stages


# The row-wise steps in the stages that are kept, each under the name of its last step.
ROW_STAGES = _stages()
STEPS: tuple[RowStep | SetStep, ...] = (*ROW_STEPS, *SET_STEPS)
# Those that can drop or change rows, in the order of the card.
NAMES = tuple(step.name for step in STEPS if isinstance(step, RowStep) or step.drops)
