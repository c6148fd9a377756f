"""Raw rows of any shape become conversations with the roles system, user, assistant and tool."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from datasets_prep.cells import (
    Row,
    Unusable,
    cell,
    cell_read,
    is_empty,
    parsed,
    plain,
    says_nothing,
    text_of,
)
from datasets_prep.column_use import Watch, needed
from datasets_prep.conversation import Conversation, Ledger, Message, Span
from datasets_prep.definition import Definition
from datasets_prep.preference_rows import PreferenceRows
from datasets_prep.readers import AT, FILE, RAGGED
from datasets_prep.roles import CountingRoles
from datasets_prep.turn_lists import message, sort_key, together, tool_of
from datasets_prep.turn_reader import TurnReader
from datasets_prep.units import Unit, units
from recipes.runner.core.errors import UserError

# A line that opens as one of a speaker does: "Guest_family: "; and how many rows make it one.
_LABEL = re.compile(r"^[ \t]*([A-Z][\w-]{1,24}(?: [\w-]{1,16})?:)(?=\s)", re.M)
_SEVERAL = 3


class Shaper:
    """Turns rows into conversations as a definition says."""

    def __init__(self, definition: Definition, source_name: str) -> None:
        """Read roles and markers out of the definition."""
        self.definition = definition
        self.columns = definition.columns
        self.source_name = source_name
        self.reader = TurnReader(definition)
        self._preferences = PreferenceRows(self.columns, self.reader)
        self._speakers: tuple[str, ...] = ()
        markers = sorted(definition.markers, key=len, reverse=True)
        self._marker = re.compile("|".join(re.escape(m) for m in markers) or r"(?!)")

    def check_columns(self, rows: list[Row]) -> Watch:
        """Compare the columns that the definition names with those of the first rows.

        Returns:
            What looks at the rows that follow.

        Raises:
            UserError: a column is not there (names the nearest one that is), or one that means
                something would be left out.
        """
        found = {str(key) for row in rows for key in row if not str(key).startswith("\0")}
        if self.definition.columns.conversation == FILE:
            # A talk a file, and there is one: its rows need not say so.
            found.add(FILE)
        wanted = needed(self.definition)
        missing = [n for n in dict.fromkeys(wanted) if not {n, n.split(".")[0]} & found]
        if missing:
            near = difflib.get_close_matches(missing[0], sorted(found), n=1, cutoff=0.4)
            hint = f"Did you mean '{near[0]}'? " if near else ""
            if {"0", "1", "key"} <= found:
                hint = "The file is written column by column: leave source.records out. "
            raise UserError(
                f"missing column '{missing[0]}'. {hint}Found: {', '.join(sorted(found))}",
                self.source_name,
            )
        return Watch(rows, self.definition, self.source_name)

    def unmarked(self, rows: list[Row]) -> dict[str, int]:
        """What opens lines of texts as a speaker's name would, and is no marker.

        Returns:
            How many of the rows hold each, for those that stand in several.
        """
        shape = self.definition.shape
        if shape not in ("text", "transcript") or not all(m[-1] == ":" for m in self._markers()):
            return {}
        found: Counter[str] = Counter()
        for row in rows:
            text = cell(row, self.columns.text)
            if isinstance(text, str):
                found.update(set(_LABEL.findall(text)) - self._markers())
        known = self.reader.roles if shape == "transcript" else ()
        return {
            label: count
            for label, count in found.items()
            if count >= _SEVERAL and label.rstrip(":").lower() not in known
        }

    def written_lists(self, rows: list[Row]) -> list[str]:
        """Columns of questions and answers whose cells are lists, or objects, written as text."""
        columns = self.columns
        read = [*columns.prompts(), columns.response, columns.instruction, columns.output]
        found = []
        for name in filter(None, read):
            cells = [c for c in (cell(row, name) for row in rows) if isinstance(c, str) and c]
            lists = [c for c in cells if c[:1] + c.rstrip()[-1:] in ("[]", "{}") and parsed(c)]
            if len(lists) >= _SEVERAL and 2 * len(lists) > len(cells):
                found.append(name)
        return found

    def _markers(self) -> set[str]:
        return {marker.strip() for marker in self.definition.markers}

    def units(self, rows: Iterable[Row]) -> Iterator[tuple[int, Unit]]:
        """Number the rows from 1; those that make one conversation are gathered."""
        return units(rows, self.definition, self.source_name)

    def open(self, number: int, unit: Unit) -> Conversation:
        """A conversation that knows where it comes from, and has no messages yet."""
        first = unit[0] if isinstance(unit, list) else unit
        first = first or {}
        columns = self.columns
        conversation = Conversation(
            id=self._identity(number, first),
            source=first.get(AT) or f"{self.source_name}#{number}",
            messages=[],
            raw=unit,
            topic=plain(cell(first, columns.topic)),
            authors=tuple(filter(None, (plain(cell(first, c)) for c in columns.author))),
            groups=tuple(
                f"{column}={plain(cell(first, column))}"
                for column in columns.group
                if plain(cell(first, column))
            ),
            by_model=self.definition.by_model(first),
            part=self.definition.part,
        )
        if self.definition.shape == "turn_rows":
            conversation.groups += (f"conversation={plain(cell(first, columns.conversation))}",)
        if "\0tree" in first:
            tree = first["\0tree"]
            conversation.groups += (f"tree={tree}",)
        return conversation

    def fill(self, conversation: Conversation, ledger: Ledger) -> bool:
        """Read the turns out of the raw row; False when it holds no conversation.

        Raises:
            UnknownRole: a turn has a role that the definition does not map.
        """
        unit, conversation.raw = conversation.raw, None
        parts = unit if isinstance(unit, list) else [unit]
        self.reader.start(conversation.unread)
        try:
            ragged = next((row[RAGGED] for row in parts if RAGGED in row), None)
            if ragged:
                raise Unusable(f"broken CSV row: {ragged}")
            conversation.messages = self._turns(unit)
            if self.definition.shape == "transcript":
                conversation.authors += self._speakers
            self._tools(conversation, parts[0], ledger)
            if self.definition.shape == "kto":
                conversation.label = self._preferences.label(parts[0])
        except Unusable as reason:
            if not conversation.messages:
                conversation.messages = [Message("user", plain(parts if len(parts) > 1 else unit))]
            ledger.dropped(conversation, str(reason))
            return False
        if self.definition.system_prompt and conversation.messages[0].role != "system":
            conversation.messages.insert(0, Message("system", self.definition.system_prompt))
        if self.reader.left:
            span = Span(0, 0, self.reader.left, "")
            ledger.changed(conversation.id, "text before the first speaker left out", [span])
        spans = [Span(0, 0, text, "") for text in self.reader.nothing]
        ledger.changed(conversation.id, "cell that says nothing read as empty", spans)
        return True

    def roles_found(self, rows: Iterable[Row]) -> Counter[str]:
        """Count every role that stands in the data, mapped or not."""
        found: Counter[str] = Counter()
        original = self.reader.roles
        try:
            for _, unit in self.units(rows):
                self.reader.roles = CountingRoles(found)
                try:
                    self._turns(unit)
                except Unusable:
                    continue
        finally:
            self.reader.roles = original
        return found

    def _identity(self, number: int, row: Row) -> str:
        name = self.definition.name
        name = f"{name}-{self.definition.part}" if self.definition.part else name
        if self.columns.id:
            return f"{name}-{plain(cell(row, self.columns.id)) or number}"
        return f"{name}-{number:06d}"

    def _text(self, row: Row, column: str | None, *, parts: bool = False) -> str:
        """A cell that is trained on; a word for nothing is noted."""
        value = cell_read(row, column)
        if isinstance(value, str) and says_nothing(value, spoken=parts):
            self.reader.nothing.append(value)
        numbers = self.columns.numbers_as_text
        return text_of(value, f"column '{column}'", parts=parts, numbers=numbers)

    def _turns(self, unit: Unit) -> list[Message]:
        """The messages, in order."""
        shape, columns = self.definition.shape, self.columns
        if isinstance(unit, list):
            return self._turn_rows(unit)
        if shape == "text":
            return self._marked(self._text(unit, columns.text))
        if shape == "transcript":
            said, self._speakers = self.reader.transcript(self._text(unit, columns.text))
            return self._with_system(unit, said)
        if shape == "intents":
            if not unit.get("\0pair"):
                raise Unusable("an intent without patterns or without responses")
            asked, answer = unit["\0pair"]
            return self._exchange(unit, text_of(asked, "a pattern"), text_of(answer, "a response"))
        if shape == "prompt_response":
            prompt = together([self._text(unit, c) for c in self.columns.prompts()])
            return self._exchange(unit, prompt, self._text(unit, columns.response))
        if shape == "alpaca":
            asked = [self._text(unit, c) for c in (columns.instruction, columns.input)]
            prompt = "\n\n".join(part for part in asked if part.strip())
            return self._exchange(unit, prompt, self._text(unit, columns.output))
        if shape == "history":
            return self._with_system(unit, self._history_row(unit))
        if shape == "preference":
            return self._with_system(unit, self._preferences.pair(unit))
        if shape == "kto":
            return self._with_system(unit, self._preferences.judged(unit))
        lists = {
            "sharegpt": columns.conversations,
            "messages": columns.messages,
            "turns": columns.turns,
            "tree": "\0path",
        }
        return self._with_system(unit, self.reader.listed(cell_read(unit, lists[str(shape)])))

    def _turn_rows(self, rows: list[Row]) -> list[Message]:
        columns = self.columns
        if columns.order:
            order = columns.order
            places = [sort_key(cell(row, order)) for row in rows]
            if len(set(places)) < len(places):
                twice = next(p for p in places if places.count(p) > 1)
                value = twice[2] or f"{twice[1]:g}"
                raise Unusable(f"column '{order}' has the value '{value}' twice in a conversation")
            rows = [row for _, row in sorted(zip(places, rows, strict=True), key=lambda p: p[0])]
        role = self.reader.role_of_speaker()
        return [
            message(row, role(name), plain(name).strip().lower(), self._turn_text(row), "a turn")
            for row in rows
            for name in [cell(row, columns.speaker)]
        ]

    def _turn_text(self, row: Row) -> str:
        return self._text(row, self.columns.text, parts=True)

    def _exchange(self, row: Row, prompt: str, answer: str) -> list[Message]:
        turns = self._history(cell(row, self.columns.history)) if self.columns.history else []
        return self._with_system(
            row, [*turns, Message("user", prompt), Message("assistant", answer)]
        )

    def _history_row(self, row: Row) -> list[Message]:
        """A history of turns and its answer, which may stand last among candidates."""
        columns = self.columns
        turns = self._history(cell_read(row, columns.history))
        value = cell_read(row, columns.candidates or columns.response)
        if columns.candidates and isinstance(value, list):
            if not value:
                raise Unusable(f"column '{columns.candidates}' is an empty list")
            value = value[-1]
        name = columns.candidates or columns.response
        answer = Message("assistant", text_of(value, f"column '{name}'"))
        if turns and turns[-1].role == "assistant":
            # Who speaks first follows from who answers.
            other = {"user": "assistant", "assistant": "user"}
            turns = [Message(other[turn.role], turn.content) for turn in turns]
        return [*turns, answer]

    def _history(self, value: Any) -> list[Message]:
        """Earlier turns: texts by turns, [question, answer] pairs, or turns of their own."""
        if isinstance(value, str) and says_nothing(value):
            self.reader.nothing.append(value)
            return []
        value = parsed(value) if isinstance(value, str) and value.lstrip()[:1] == "[" else value
        if is_empty(value):
            return []
        if not isinstance(value, list):
            raise Unusable(f"column '{self.columns.history}' is no list")
        if value and all(isinstance(pair, list) and len(pair) == 2 for pair in value):
            value = [text for pair in value for text in pair]
        return self.reader.listed(value) if value else []

    def _tools(self, conversation: Conversation, row: Row, ledger: Ledger) -> None:
        """Take the list of tools along, or drop the row where no template takes them.

        Where none is called the talk stands without them, too.
        """
        tools = cell(row, self.columns.tools or "tools") or cell(row, "functions")
        tools = parsed(tools) if isinstance(tools, str) else tools
        tools = tools if isinstance(tools, list) else []
        listed = [tool for tool in tools if isinstance(tool, dict)]
        if self.definition.tools == "keep":
            conversation.tools = [tool_of(tool) for tool in listed]
        elif conversation.uses_tools():
            raise Unusable(f"tool_calls: {self.definition.why_no_tools}")
        elif listed:
            span = Span(0, 0, plain(listed), "")
            ledger.changed(conversation.id, "tools that nobody calls left out", [span])

    def _with_system(self, row: Row, turns: list[Message]) -> list[Message]:
        system = self._text(row, self.columns.system) if self.columns.system else ""
        return [Message("system", system), *turns] if system.strip() else turns

    def _marked(self, text: str) -> list[Message]:
        marks = list(self._marker.finditer(text))
        if not marks:
            raise Unusable("none of the role markers stands in the text")
        before = self.reader.before(text[: marks[0].start()].strip(), "drop_row")
        ends = [mark.start() for mark in marks[1:]] + [len(text)]
        said = [
            Message(self.definition.markers[mark.group()], text[mark.end() : end].strip())
            for mark, end in zip(marks, ends, strict=True)
        ]
        return [*before, *said]


def unknown_role_error(shaper: Shaper, rows: Iterable[Row], role: str) -> UserError:
    """The error for an unmapped role, with all roles of the source and their counts."""
    found = shaper.roles_found(rows)
    common = found.most_common(20)
    listed = ", ".join(f"{name or '(empty)'} ({count})" for name, count in common)
    if len(found) > len(common):
        listed += f" and {len(found) - len(common)} more"
    near = difflib.get_close_matches(role.lower(), list(shaper.reader.roles), n=1, cutoff=0.6)
    hint = f" (nearest known: '{near[0]}')" if near else ""
    return UserError(
        f"unknown role '{role}'{hint}. Roles found: {listed}",
        shaper.source_name,
        "Map every one under roles: in the definition, or set turns.roles_by: appearance",
    )
