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
    rejected = conversation.messages.pop() if _ends_rejected(conversation) else None
    try:
        kept = _alternate(conversation, settings, ledger)
    finally:
        if rejected:
            conversation.messages.append(rejected)
    if kept and not any(m.train for m in conversation.messages if m.role == "assistant"):
        ledger.dropped(conversation, "no assistant turn is to be trained")
        return False
    return kept


def _ends_rejected(conversation: Conversation) -> bool:
    return bool(conversation.messages) and conversation.messages[-1].role == "rejected"


def _alternate(conversation: Conversation, settings: Turns, ledger: Ledger) -> bool:
    row = conversation.id
    _drop_empty(conversation, ledger)
    if conversation.uses_tools():
        return _with_tools(conversation, ledger)
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


def _with_tools(conversation: Conversation, ledger: Ledger) -> bool:
    """Whether a talk with tools is in order: asked, called, and ended by the assistant."""
    before = "system"
    allowed = {
        "system": ("system", "user"),
        "user": ("user", "assistant"),
        "assistant": ("user", "assistant", "tool"),
        "tool": ("tool", "assistant"),
    }
    for message in conversation.messages:
        if message.role not in allowed[before]:
            ledger.dropped(conversation, f"a turn of {message.role} after one of {before}")
            return False
        before = message.role
    if before != "assistant":
        ledger.dropped(conversation, f"ends in a turn of {before}")
        return False
    return True


def _drop_empty(conversation: Conversation, ledger: Ledger) -> None:
    messages = conversation.messages
    empty = [i for i, m in enumerate(messages) if not m.content.strip() and not m.calls]
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
            last = merged[-1]
            # What is not to be trained takes its neighbour along: never the other way round.
            text = last.content + joint + message.content
            merged[-1] = Message(message.role, text, last.train and message.train)
        else:
            merged.append(message)
    ledger.changed(conversation.id, "turns of the same role merged", spans)
    conversation.messages = merged
