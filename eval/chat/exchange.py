"""One message and the answers to it: the same course of events for the page and the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from datasets_prep.crisis import detect_crisis
from eval.chat.conversation import ARMS_OF, ChatReply, ChatThread, Turn, Who
from eval.chat.model_process import Event, ModelProcess, Request
from eval.chat.settings import ChatSettings

# The checks read the whole answer so far, so not at every token.
_CHARACTERS_BETWEEN_CHECKS = 40


def exchange(
    model: ModelProcess,
    conversation: ChatThread,
    message: str,
    who: Who,
    settings: ChatSettings,
) -> Iterator[Event]:
    """Ask one or both arms; the conversation is kept up to date before each event.

    The crisis checks run on the message before anything is asked, and on answers while they are
    written.

    Yields:
        ``{"kind": "asked"}`` first, then the events of `ModelProcess.ask`, each with its ``arm``.
    """
    turn = Turn(_storable(message), {arm: ChatReply() for arm in ARMS_OF[who]})
    conversation.turns.append(turn)
    conversation.in_crisis = conversation.in_crisis or detect_crisis(turn.user) is not None
    yield {"kind": "asked"}
    key = f"{conversation.id}/{len(conversation.turns)}"
    requests: list[Request] = [
        {
            "id": f"{key}/{arm}",
            "arm": arm,
            "messages": conversation.messages(arm, settings.system),
            "seed": str(len(conversation.turns)),
        }
        for arm in ARMS_OF[who]
    ]
    arms = {request["id"]: request["arm"] for request in requests}
    checked = dict.fromkeys(arms.values(), 0)
    for event in model.ask(requests):
        arm = arms[event["id"]]
        reply = turn.replies[arm]
        _take(reply, event, settings)
        due = len(reply.text) - checked[arm] >= _CHARACTERS_BETWEEN_CHECKS
        if not conversation.in_crisis and (due or reply.state != "writing"):
            checked[arm] = len(reply.text)
            conversation.in_crisis = detect_crisis(reply.text) is not None
        yield {**event, "arm": arm}


def _take(reply: ChatReply, event: Event, settings: ChatSettings) -> None:
    if event["kind"] == "started" and event["dropped"]:
        left_out = event["dropped"]
        what = "message was" if left_out == 1 else f"{left_out} messages were"
        reply.note = f"The conversation is too long for the model: the oldest {what} left out."
    elif event["kind"] == "text":
        reply.text = (reply.text + event["text"]).lstrip()
    elif event["kind"] in ("refused", "failed"):
        reply.state, reply.note = "failed", event["text"]
    elif event["kind"] == "done":
        reply.state = "ended"
        reply.figures = {key: event.get(key) for key in _FIGURES}
        notes = {
            "length": f"Cut at {event['tokens']:,} tokens.",
            "stopped": "Stopped by you.",
            "end": "" if reply.text.strip() else "The model gave an empty answer.",
        }
        reply.note = " ".join(filter(None, (reply.note, notes[event["reason"]])))


_FIGURES = ("tokens", "first_token_seconds", "tokens_per_second")


def _storable(text: str) -> str:
    """Text that UTF-8 can hold: a lone surrogate becomes a question mark."""
    return text.strip().encode("utf-8", "replace").decode("utf-8")
