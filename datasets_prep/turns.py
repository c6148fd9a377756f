"""Turns become a conversation: system first, then user and assistant in alternation."""

from __future__ import annotations

from datasets_prep.conversation import Conversation, Ledger, Message, Span
from datasets_prep.definition import Turns
from recipes.runner.core.errors import UserError


class Alternation:
    """`alternate` as a definition sets it."""

    def __init__(self, settings: Turns) -> None:
        """Keep the settings."""
        self.settings = settings

    def __call__(self, conversation: Conversation, ledger: Ledger) -> bool:
        """False when the row is dropped."""
        return alternate(conversation, self.settings, ledger)


def alternate(conversation: Conversation, settings: Turns, ledger: Ledger) -> bool:
    """Merge same-role runs and handle turns that nobody asked for or answered.

    Args:
        conversation: changed in place.
        settings: what the definition says about leading and trailing turns.
        ledger: gets a line for every change.

    Returns:
        False when the row is dropped.

    Raises:
        UserError: the definition says ``fail`` for a case that occurs.
    """
    row = conversation.id
    _drop_empty(conversation, ledger)
    _merge_runs(conversation, settings.merge_with, ledger)
    messages = conversation.messages
    start = 1 if messages and messages[0].role == "system" else 0
    for position, role, what, rule in (
        (start, "assistant", "assistant turn before any user turn", settings.leading_assistant),
        (-1, "user", "user turn without an answer", settings.trailing_user),
    ):
        if len(messages) <= start or messages[position].role != role:
            continue
        if rule == "fail":
            raise UserError(what, row, "Set turns.* to drop_turn or drop_row")
        if rule == "drop_row":
            ledger.dropped(conversation, what)
            return False
        index = position if position >= 0 else len(messages) - 1
        if len(messages) - start == 1:
            break
        span = Span(index, 0, messages[index].content, "")
        ledger.changed(row, f"{what} removed", [span])
        del messages[index]
    roles = [m.role for m in messages[start:]]
    if roles != ["user", "assistant"] * (len(roles) // 2) or not roles:
        ledger.dropped(conversation, "no question with an answer")
        return False
    return True


def _drop_empty(conversation: Conversation, ledger: Ledger) -> None:
    empty = [i for i, m in enumerate(conversation.messages) if not m.content.strip()]
    if empty:
        spans = [Span(i, 0, conversation.messages[i].content, "") for i in empty]
        ledger.changed(conversation.id, "empty turn removed", spans)
        kept = [m for i, m in enumerate(conversation.messages) if i not in empty]
        conversation.messages = kept


def _merge_runs(conversation: Conversation, joint: str, ledger: Ledger) -> None:
    merged: list[Message] = []
    spans: list[Span] = []
    # A system text that stands after the start is moved to the front: templates want it there.
    system = [m for m in conversation.messages if m.role == "system"]
    ordered = system + [m for m in conversation.messages if m.role != "system"]
    if [id(m) for m in ordered] != [id(m) for m in conversation.messages]:
        ledger.changed(
            conversation.id,
            "system turn moved to the front",
            [Span(i, 0, m.content, m.content) for i, m in enumerate(system)],
        )
    for index, message in enumerate(ordered):
        if merged and merged[-1].role == message.role:
            spans.append(Span(index, 0, "", joint))
            merged[-1] = Message(message.role, merged[-1].content + joint + message.content)
        else:
            merged.append(message)
    ledger.changed(conversation.id, "turns of the same role merged", spans)
    conversation.messages = merged
