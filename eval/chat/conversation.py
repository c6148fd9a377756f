"""A conversation with one or both arms, what each arm sees of it, and the file it is saved as."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from eval.answers import ArmName, Messages
from eval.chat.settings import ChatSettings

Who = Literal["tuned", "base", "both"]
ARMS_OF: dict[Who, tuple[ArmName, ...]] = {
    "tuned": ("tuned",),
    "base": ("base",),
    "both": ("base", "tuned"),
}


@dataclass
class ChatReply:
    """What one arm said to one message.

    Attributes:
        text: the answer so far; untrusted.
        state: being written, ended, or why there is none.
        note: in words, when it did not simply end: cut, stopped, refused, failed.
        figures: tokens, seconds to the first, tokens a second.
    """

    text: str = ""
    state: Literal["writing", "ended", "failed"] = "writing"
    note: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


@dataclass
class Turn:
    """A user's message and the replies to it."""

    user: str
    replies: dict[ArmName, ChatReply] = field(default_factory=dict)

    def seen_by(self, arm: ArmName) -> tuple[ArmName, ChatReply] | None:
        """The arm's own answer, or else the other's; None when neither gave one."""
        order: tuple[ArmName, ArmName] = (arm, "base" if arm == "tuned" else "tuned")
        for name in order:
            reply = self.replies.get(name)
            if reply is not None and reply.text.strip():
                return name, reply
        return None


@dataclass
class ChatThread:
    """All turns of one user.

    Attributes:
        id: unguessable, no one else's.
        turns: from the first.
        in_crisis: whether any message or answer tripped the crisis checks; stays so.
    """

    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    turns: list[Turn] = field(default_factory=list)
    in_crisis: bool = False

    def messages(self, arm: ArmName, system: str | None) -> Messages:
        """What ``arm`` is given: its own answers, and the other's where it gave none.

        Turns that nobody answered are left out, but for the last, which waits for its answer.
        """
        messages = [{"role": "system", "content": system}] if system else []
        for turn in self.turns[:-1]:
            seen = turn.seen_by(arm)
            if seen:
                messages.append({"role": "user", "content": turn.user})
                messages.append({"role": "assistant", "content": seen[1].text.strip()})
        if self.turns:
            messages.append({"role": "user", "content": self.turns[-1].user})
        return messages

    def export(self, run: str, base_model: str, settings: ChatSettings) -> str:
        """The conversation as JSON: a list with one row for each arm that answered.

        A row's ``messages`` have the shape that `datasets_prep` reads and writes.
        """
        rows = []
        for arm in ARMS_OF["both"]:
            if any(arm in turn.replies for turn in self.turns):
                rows.append(
                    {
                        "id": f"{self.id}-{arm}",
                        "source": f"chat with {run}",
                        "messages": self._answered(arm, settings.system),
                        "arm": arm,
                        "run": run,
                        "base_model": base_model,
                        "decoding": settings.to_json(),
                        "crisis_notice_shown": self.in_crisis,
                        "exported": datetime.now(UTC).isoformat(timespec="seconds"),
                    }
                )
        return json.dumps(rows, ensure_ascii=False, indent=2) + "\n"

    def _answered(self, arm: ArmName, system: str | None) -> Messages:
        messages = self.messages(arm, system)
        seen = self.turns[-1].seen_by(arm)
        if seen is None:
            return messages[:-1]
        return [*messages, {"role": "assistant", "content": seen[1].text.strip()}]
