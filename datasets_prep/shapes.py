"""Raw rows of any shape become conversations with the roles system, user and assistant."""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any

from datasets_prep.conversation import Conversation, Ledger, Message, without_surrogates
from datasets_prep.definition import SHAPES, Definition
from datasets_prep.readers import RAGGED, Row
from datasets_prep.signatures import normalise
from recipes.runner.core.errors import UserError

_DEFAULT_ROLES = {
    "system": ("system",),
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "bot"),
}
# A ShareGPT turn is {from, value}; the others are the keys that turn lists in the wild use.
_ROLE_KEYS = ("role", "from", "speaker", "author", "sender", "name")
_CONTENT_KEYS = ("content", "value", "text", "utterance", "message")


class UnknownRole(Exception):
    """A role that the definition does not map; ``role`` is it, as it stands in the data."""

    def __init__(self, role: str) -> None:
        """Name the role."""
        super().__init__(role)
        self.role = role


class Unusable(Exception):
    """A row that holds no conversation; the message says why."""


class Shaper:
    """Turns rows into conversations as a definition says."""

    def __init__(self, definition: Definition, source_name: str) -> None:
        """Read roles and markers out of the definition."""
        self.definition = definition
        self.columns = definition.columns
        self.source_name = source_name
        self.roles: dict[str, str] = {}
        for role, names in _DEFAULT_ROLES.items():
            self.roles.update(dict.fromkeys(names, role))
        for role, listed in definition.roles.items():
            self.roles.update({name.strip().lower(): role for name in listed})
        markers = sorted(definition.markers, key=len, reverse=True)
        self._marker = re.compile("|".join(re.escape(m) for m in markers) or r"(?!)")

    def check_columns(self, rows: list[Row]) -> None:
        """Compare the columns that the definition names with those of the first rows.

        Raises:
            UserError: a column is not there; names the nearest one that is.
        """
        found = {str(key) for row in rows for key in row if key != RAGGED}
        named = {c: getattr(self.columns, c) for c in type(self.columns).model_fields}
        shape = self.definition.shape
        wanted = [named[c] for c in SHAPES[shape] if c not in ("input", "prompt")]
        wanted += self._prompt_columns() if shape == "prompt_response" else []
        optional = ("system", "speaker", "order", "id", "topic")
        wanted += [named[c] for c in optional if named[c] and self.definition.shape != "turns"]
        wanted += [named[c] for c in ("id", "topic") if named[c]]
        wanted += [*self.columns.author, *self.columns.group]
        missing = [n for n in dict.fromkeys(wanted) if not {n, n.split(".")[0]} & found]
        if missing:
            near = difflib.get_close_matches(missing[0], sorted(found), n=1, cutoff=0.4)
            hint = f"Did you mean '{near[0]}'? " if near else ""
            raise UserError(
                f"missing column '{missing[0]}'. {hint}Found: {', '.join(sorted(found))}",
                self.source_name,
            )

    def units(self, rows: Iterable[Row]) -> Iterator[tuple[int, Row | list[Row]]]:
        """Number the rows from 1; rows of one turn each are gathered by conversation."""
        if self.definition.shape != "turn_rows":
            yield from enumerate(rows, 1)
            return
        key = self.columns.conversation or ""
        group: list[Row] = []
        seen: set[int] = set()
        first = 1
        for number, row in enumerate(rows, 1):
            if not group or _cell(row, key) != _cell(group[0], key):
                if group:
                    yield first, group
                group, first = [], number
                name = _text(_cell(row, key))
                if hash(name) in seen:
                    raise UserError(
                        f"conversation '{name}' comes back at row {number} after another one",
                        self.source_name,
                        f"Sort the rows by {key}",
                    )
                seen.add(hash(name))
            group.append(row)
        if group:
            yield first, group

    def open(self, number: int, unit: Row | list[Row]) -> Conversation:
        """A conversation that knows where it comes from, and has no messages yet."""
        first = unit[0] if isinstance(unit, list) else unit
        if not first:
            first = {}
        conversation = Conversation(
            id=self._identity(number, first),
            source=f"{self.source_name}#{number}",
            messages=[],
            raw=unit,
            topic=_text(_cell(first, self.columns.topic)),
            authors=tuple(filter(None, (_text(_cell(first, c)) for c in self.columns.author))),
            groups=tuple(
                f"{column}={_text(_cell(first, column))}"
                for column in self.columns.group
                if _text(_cell(first, column))
            ),
        )
        if self.definition.shape == "turn_rows":
            conversation.groups += (
                f"conversation={_text(_cell(first, self.columns.conversation))}",
            )
        return conversation

    def fill(self, conversation: Conversation, ledger: Ledger) -> bool:
        """Read the turns out of the raw row; False when it holds no conversation.

        Raises:
            UnknownRole: a turn has a role that the definition does not map.
        """
        unit, conversation.raw = conversation.raw, None
        parts = unit if isinstance(unit, list) else [unit]
        try:
            ragged = next((row[RAGGED] for row in parts if RAGGED in row), None)
            if ragged:
                conversation.messages = [Message("user", _text(json.dumps(parts, default=str)))]
                raise Unusable(f"broken CSV row: {ragged}")
            conversation.messages = [
                Message(role, without_surrogates(text)) for role, text in self._turns(unit)
            ]
        except Unusable as reason:
            ledger.dropped(conversation, str(reason))
            return False
        return True

    def roles_found(self, rows: Iterable[Row]) -> Counter[str]:
        """Count every role that stands in the data, mapped or not."""
        found: Counter[str] = Counter()
        original = self.roles
        try:
            for _, unit in self.units(rows):
                self.roles = _CountingRoles(found)
                try:
                    self._turns(unit)
                except Unusable:
                    continue
        finally:
            self.roles = original
        return found

    def _identity(self, number: int, row: Row) -> str:
        if self.columns.id:
            return f"{self.definition.name}-{_text(_cell(row, self.columns.id)) or number}"
        return f"{self.definition.name}-{number:06d}"

    def _role(self, name: Any) -> str:
        key = _text(name).strip().lower()
        role = self.roles.get(key)
        if role is None:
            raise UnknownRole(_text(name))
        return role

    def _turns(self, unit: Row | list[Row]) -> list[tuple[str, str]]:
        """Role and text of every turn, in order."""
        shape, columns = self.definition.shape, self.columns
        if isinstance(unit, list):
            if columns.order:
                order = columns.order
                unit = sorted(unit, key=lambda row: _sort_key(_cell(row, order)))
            texts = [_text(_cell(row, columns.text)) for row in unit]
            role = self._role_of_speaker()
            return [
                (role(_cell(row, columns.speaker)), text)
                for row, text in zip(unit, texts, strict=True)
            ]
        if shape == "text":
            return self._marked(_text(_cell(unit, columns.text)))
        if shape == "prompt_response":
            prompt = _together([_text(_cell(unit, c)) for c in self._prompt_columns()])
            answer = _text(_cell(unit, columns.response))
            return self._with_system(unit, [("user", prompt), ("assistant", answer)])
        if shape == "alpaca":
            asked = [_text(_cell(unit, c)) for c in (columns.instruction, columns.input)]
            prompt = "\n\n".join(part for part in asked if part.strip())
            answer = _text(_cell(unit, columns.output))
            return self._with_system(unit, [("user", prompt), ("assistant", answer)])
        name = {
            "sharegpt": columns.conversations,
            "messages": columns.messages,
            "turns": columns.turns,
        }[shape]
        return self._with_system(unit, self._listed(_cell(unit, name)))

    def _prompt_columns(self) -> list[str]:
        prompt = self.columns.prompt or []
        return [prompt] if isinstance(prompt, str) else prompt

    def _with_system(self, row: Row, turns: list[tuple[str, str]]) -> list[tuple[str, str]]:
        system = _text(_cell(row, self.columns.system)) if self.columns.system else ""
        return [("system", system), *turns] if system.strip() else turns

    def _marked(self, text: str) -> list[tuple[str, str]]:
        marks = list(self._marker.finditer(text))
        if not marks:
            raise Unusable("none of the role markers stands in the text")
        if text[: marks[0].start()].strip():
            raise Unusable("text before the first role marker")
        ends = [mark.start() for mark in marks[1:]] + [len(text)]
        return [
            (self.definition.markers[mark.group()], text[mark.end() : end].strip())
            for mark, end in zip(marks, ends, strict=True)
        ]

    def _listed(self, value: Any) -> list[tuple[str, str]]:
        if isinstance(value, str):
            try:
                value = _parsed(value)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                raise Unusable("the turns are neither a list nor JSON of one") from None
        if isinstance(value, dict):
            # datasets stores a list of structs as a struct of lists.
            value = _columns_to_rows(value)
        if not isinstance(value, list) or not value:
            raise Unusable("no turns")
        if all(isinstance(item, list) for item in value):
            # A list for each run of one speaker.
            value = [item for run in value for item in run]
        role = self._role_of_speaker()
        return [self._one(item, index, role) for index, item in enumerate(value)]

    def _role_of_speaker(self) -> Callable[[Any], str]:
        """How the speakers of one conversation become roles: as `Turns.roles_by` says."""
        settings = self.definition.turns
        if settings.roles_by == "name":
            return self._role
        if settings.roles_by == "position":
            turn = count()
            return lambda _: _by_position(settings.first_speaker, next(turn))
        first: list[str] = []

        def by_appearance(name: Any) -> str:
            first.append(_text(name))
            return _by_position(settings.first_speaker, int(first[-1] != first[0]))

        return by_appearance

    def _one(self, item: Any, index: int, role: Callable[[Any], str]) -> tuple[str, str]:
        settings = self.definition.turns
        if isinstance(item, str):
            return _by_position(settings.first_speaker, index), item
        if not isinstance(item, dict):
            raise Unusable(f"turn {index + 1} is neither a text nor an object")
        text_key = settings.content_key or _first_key(item, _CONTENT_KEYS)
        role_key = self.columns.speaker or settings.role_key or _first_key(item, _ROLE_KEYS)
        nameless = role_key not in item and settings.roles_by != "position"
        if nameless or text_key not in item:
            raise Unusable(f"turn {index + 1} has no role or no text: {', '.join(map(str, item))}")
        return role(item.get(role_key)), _text(item[text_key])


class _CountingRoles(dict[str, str]):
    """Maps any role, and counts it."""

    def __init__(self, counter: Counter[str]) -> None:
        super().__init__()
        self.counter = counter

    def get(self, key: str, default: Any = None) -> Any:
        self.counter[key] += 1
        return "user"


def unknown_role_error(shaper: Shaper, rows: Iterable[Row], role: str) -> UserError:
    """The error for an unmapped role, with all roles of the source and their counts."""
    found = shaper.roles_found(rows)
    common = found.most_common(20)
    listed = ", ".join(f"{name or '(empty)'} ({count})" for name, count in common)
    if len(found) > len(common):
        listed += f" and {len(found) - len(common)} more"
    near = difflib.get_close_matches(role.lower(), list(shaper.roles), n=1, cutoff=0.6)
    hint = f" (nearest known: '{near[0]}')" if near else ""
    return UserError(
        f"unknown role '{role}'{hint}. Roles found: {listed}",
        shaper.source_name,
        "Map every one under roles: in the definition, or set turns.roles_by: appearance",
    )


def _cell(row: Row, column: str | None) -> Any:
    """The value of a column; ``text.dialog`` is the key ``dialog`` of the object in ``text``."""
    if column is None or column in row or "." not in column:
        return row.get(column or "")
    name, *keys = column.split(".")
    value = row.get(name)
    for key in keys:
        if isinstance(value, str):
            try:
                value = _parsed(value)
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                return None
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def _parsed(text: str) -> Any:
    """JSON, or the Python literal that a CSV export makes of a list."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return ast.literal_eval(text.strip())


def _together(parts: list[str]) -> str:
    """The parts of a question, a blank line between; what another part says already is left out."""
    kept: list[str] = []
    for part in filter(str.strip, parts):
        said = [f" {normalise(other)} " for other in kept]
        if any(f" {normalise(part)} " in text for text in said):
            continue
        kept = [k for k in kept if f" {normalise(k)} " not in f" {normalise(part)} "] + [part]
    return "\n\n".join(kept)


def _columns_to_rows(value: dict[str, Any]) -> list[Any]:
    lists = [v for v in value.values() if isinstance(v, list)]
    if len(lists) != len(value) or len({len(v) for v in lists}) != 1:
        return [value]
    return [dict(zip(value, items, strict=True)) for items in zip(*lists, strict=True)]


def _by_position(first_speaker: str, index: int) -> str:
    """The role of a turn when two speak by turns."""
    other = "assistant" if first_speaker == "user" else "user"
    return other if index % 2 else first_speaker


def _first_key(item: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    return next((key for key in keys if key in item), None)


def _sort_key(value: Any) -> tuple[int, float, str]:
    text = _text(value)
    try:
        return (0, float(text), "")
    except ValueError:
        return (1, 0.0, text)


def _text(value: Any) -> str:
    """Any cell as text; content parts (``[{type: text, text: ...}]``) are joined."""
    if value is None:
        return ""
    if isinstance(value, str):
        return without_surrogates(value)
    if isinstance(value, float) and value != value:
        return ""
    if isinstance(value, list) and all(isinstance(p, dict) and "text" in p for p in value):
        return "\n".join(_text(part["text"]) for part in value)
    if isinstance(value, dict | list):
        return without_surrogates(json.dumps(value, ensure_ascii=False, default=str))
    return without_surrogates(str(value))
