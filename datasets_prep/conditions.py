"""Where: rows that meet the conditions on their columns, before anything else is done to them."""

from __future__ import annotations

from datasets_prep.conversation import Conversation, Ledger
from datasets_prep.where import parse_condition


class Where:
    """Drops rows that do not meet every condition; of a gathered conversation, its rows."""

    def __init__(self, conditions: list[str]) -> None:
        """Read the conditions, which the definition has checked."""
        self._conditions = [parse_condition(text) for text in conditions]

    def __call__(self, conversation: Conversation, ledger: Ledger) -> bool:
        """False when the row, or every row of the conversation, is left out."""
        unit = conversation.raw
        rows = unit if isinstance(unit, list) else [unit]
        failed = ""
        kept = []
        for row in rows:
            condition = next((c for c in self._conditions if not c.holds(row)), None)
            if condition is None:
                kept.append(row)
            else:
                failed = condition.text
        if not kept:
            ledger.dropped(conversation, f"not '{failed}'")
            return False
        conversation.raw = kept if isinstance(unit, list) else kept[0]
        return True
