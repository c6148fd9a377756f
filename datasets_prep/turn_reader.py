"""Lists of turns as messages: whose turn it is, what it says, and what says nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any

from datasets_prep.cells import Unusable, cell, is_empty, parsed, plain, says_nothing, text_of
from datasets_prep.conversation import Message
from datasets_prep.definition import Definition
from datasets_prep.given_names import is_common
from datasets_prep.roles import DEFAULT_ROLES, UnknownRole, by_position
from datasets_prep.transcripts import read_transcript
from datasets_prep.turn_lists import (
    CONTENT_KEYS,
    READ_KEYS,
    ROLE_KEYS,
    columns_to_rows,
    first_key,
    is_call,
    message,
    pairs_to_turns,
)

# So many names with one last word are of people who are told apart by it.
_TAGGED = 3


class TurnReader:
    """Reads lists of turns as a definition says.

    Attributes:
        roles: role by the speaker's name, lower case.
        nothing: cells of the present row that say nothing.
        left: what stands before the first speaker of the present row.
        unread: keys of its turns that nothing reads.
    """

    def __init__(self, definition: Definition) -> None:
        """Read the roles out of the definition."""
        self.definition = definition
        self.roles: dict[str, str] = {}
        for role, names in DEFAULT_ROLES.items():
            self.roles.update(dict.fromkeys(names, role))
        for role, listed in definition.roles.items():
            self.roles.update({name.strip().lower(): role for name in listed})
        self.nothing: list[str] = []
        self.left = ""
        self.unread: set[str] = set()
        line = definition.turns.line
        self._line = re.compile(line) if line else None

    def start(self, unread: set[str]) -> None:
        """Begin a row; ``unread`` takes the keys that nothing reads."""
        self.nothing, self.left, self.unread = [], "", unread

    def role(self, name: Any) -> str:
        """The role of a speaker by name.

        Raises:
            UnknownRole: the definition does not map it.
        """
        key = plain(name).strip().lower()
        role = self.roles.get(key)
        if role is None:
            raise UnknownRole(plain(name))
        return role

    def listed(self, value: Any) -> list[Message]:
        """The turns of a cell: a list of objects or texts, a struct of lists, or JSON of one.

        Raises:
            Unusable: it holds none, or what is no text; names the turn.
            UnknownRole: a turn has a role that the definition does not map.
        """
        between = self.definition.turns.separator
        if isinstance(value, str) and between and between in value:
            value = [turn.strip() for turn in value.split(between) if turn.strip()]
        if isinstance(value, str):
            value = parsed(value) if value.strip() else []
            if not isinstance(value, list | dict):
                raise Unusable("the turns are neither a list nor JSON of one")
        if isinstance(value, dict):
            # datasets stores a list of structs as a struct of lists.
            value = columns_to_rows(value)
        if not isinstance(value, list) or not value:
            raise Unusable("no turns")
        if all(isinstance(item, list) for item in value):
            # A list for each run of one speaker.
            value = [item for run in value for item in run]
        value = pairs_to_turns(value)
        role = self.role_of_speaker()
        return [self._one(item, index, role) for index, item in enumerate(value)]

    def transcript(self, text: str) -> tuple[list[Message], tuple[str, ...]]:
        """The turns of a talk that is written line by line, and its speakers' own names.

        Raises:
            Unusable: no line names a speaker.
            UnknownRole: a speaker that the definition does not map.
        """
        by_name = self.definition.turns.roles_by == "name"
        found = read_transcript(
            text, lambda name: by_name and bool(self.roles.get(name.lower())), self._line
        )
        self.nothing += found.nothing
        if not found.turns:
            raise Unusable("no line names who speaks")
        role = self.role_of_speaker()
        names = dict.fromkeys(_without_tags([name for name, _ in found.turns]))
        speakers = tuple(name for name in names if not is_common(name))
        before = self.before(found.left, "leave_out")
        return [*before, *(Message(role(name), words) for name, words in found.turns)], speakers

    def before(self, text: str, default: str) -> list[Message]:
        """What stands before the first turn: a system turn, left out, or no good, as is said.

        Raises:
            Unusable: the row is to be dropped.
        """
        wanted = self.definition.turns.before or default
        if text and wanted == "drop_row":
            start = text.splitlines()[0][:40]
            raise Unusable(f"text before the first role marker ('{start}')")
        if text and wanted == "system":
            return [Message("system", text)]
        self.left = text
        return []

    def role_of_speaker(self) -> Callable[[Any], str]:
        """How the speakers of one conversation become roles: as `Turns.roles_by` says."""
        settings = self.definition.turns
        if settings.roles_by == "name":
            return self.role
        if settings.roles_by == "position":
            turn = count()
            return lambda _: by_position(settings.first_speaker, next(turn))
        first: list[str] = []

        def by_appearance(name: Any) -> str:
            first.append(plain(name))
            return by_position(settings.first_speaker, int(first[-1] != first[0]))

        return by_appearance

    def _one(self, item: Any, index: int, role: Callable[[Any], str]) -> Message:
        settings = self.definition.turns
        where = f"turn {index + 1}"
        if isinstance(item, str):
            return Message(
                by_position(settings.first_speaker, index), text_of(item, where, parts=True)
            )
        if not isinstance(item, dict):
            raise Unusable(f"{where} is neither a text nor an object")
        columns = self.definition.columns
        own = columns.text if self.definition.shape == "tree" else None
        text_key = own or settings.content_key or first_key(item, CONTENT_KEYS)
        role_key = columns.speaker or settings.role_key or first_key(item, ROLE_KEYS)
        item = _flat(item, role_key, text_key)
        if own and is_empty(item.get(own)):
            # What began the talk may hold its text elsewhere: a title, and what stands under it.
            item = {**item, own: _joined(item, columns.prompts())}
        nameless = role_key not in item and settings.roles_by != "position"
        calls = bool(item.get("tool_calls") or item.get("function_call"))
        if nameless or (text_key not in item and not calls):
            raise Unusable(f"{where} has no role or no text: {', '.join(map(str, item))}")
        name = item.get(role_key)
        value = item.get(text_key)
        if isinstance(value, str) and says_nothing(value, spoken=True):
            self.nothing.append(value)
        if not self.definition.columns.parent:
            # Else the keys are columns, which are named as such.
            self.unread |= item.keys() - READ_KEYS - {role_key, text_key}
        source_role = plain(name).strip().lower()
        turn = message(item, role(name), source_role, value, where)
        if calls or is_call(source_role):
            # Whatever the definition makes of the answers of tools: a call is no talk.
            turn.role = "assistant"
        return turn


def _joined(item: dict[str, Any], keys: list[str]) -> str:
    """The texts of some keys of a turn, a blank line between."""
    texts = (text_of(cell(item, key), f"column '{key}'") for key in keys)
    return "\n\n".join(text for text in texts if text.strip())


def _flat(item: dict[str, Any], *keys: str | None) -> dict[str, Any]:
    """A turn whose role or text stands further in (``say.text``), with them under the whole key."""
    deep = [key for key in keys if key and "." in key and key not in item]
    if not deep:
        return item
    outer = {key.split(".")[0] for key in deep}
    return {k: v for k, v in item.items() if k not in outer} | {k: cell(item, k) for k in deep}


def _without_tags(names: list[str]) -> list[str]:
    """Speakers' names without what many of them end in: "Amal Thomas Deloitte" is of a firm.

    People tell those of one firm or place apart so in their address books.
    """
    last = Counter(name.split()[-1] for name in set(names) if " " in name)
    return [
        name.rsplit(" ", 1)[0] if " " in name and last[name.split()[-1]] >= _TAGGED else name
        for name in names
    ]
