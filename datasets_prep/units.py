"""What one conversation is made from: a row, the rows of a talk, a path of a tree, a pattern."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any

from datasets_prep.cells import Row, cell, parsed, plain
from datasets_prep.definition import Definition
from datasets_prep.readers import AT, FILE
from recipes.runner.core.errors import UserError

Unit = Row | list[Row]
# Where an export of ChatGPT holds a talk: nodes by their ids, each with its parent and children.
_MAPPING = "mapping"
_HEAD = 200


def units(rows: Iterable[Row], definition: Definition, name: str) -> Iterator[tuple[int, Unit]]:
    """Number the units from 1, by the row that they begin with.

    Raises:
        UserError: a conversation comes back after another one.
    """
    if definition.shape == "turn_rows" and definition.columns.conversation == FILE:
        yield from _gathered(_with_files(iter(rows)), FILE, name)
    elif definition.shape == "turn_rows":
        yield from _gathered(rows, definition.columns.conversation or "", name)
    elif definition.shape == "tree":
        yield from enumerate(_paths(rows, definition, name), 1)
    elif definition.shape == "intents":
        yield from enumerate(_patterns(rows, definition), 1)
    else:
        yield from enumerate(rows, 1)


def _gathered(rows: Iterable[Row], key: str, name: str) -> Iterator[tuple[int, list[Row]]]:
    """The rows of one value of a column, which stand together."""
    group: list[Row] = []
    seen: set[int] = set()
    first = 1
    for number, row in enumerate(rows, 1):
        if not group or cell(row, key) != cell(group[0], key):
            if group:
                yield first, group
            group, first = [], number
            value = plain(cell(row, key))
            if hash(value) in seen:
                raise UserError(
                    f"conversation '{value}' comes back at row {number} after another one",
                    name,
                    f"Sort the rows by {key}",
                )
            seen.add(hash(value))
        group.append(row)
    if group:
        yield first, group


def _with_files(rows: Iterator[Row]) -> Iterator[Row]:
    """Rows under the name of the file that they come from.

    A column of that name is another thing, unless every row has it: messages of Telegram with a
    picture say in ``file`` where it is.
    """
    head = list(islice(rows, _HEAD))
    own = all(row.get(FILE) and row[FILE] != _file_of(row) for row in head)
    for row in chain(head, rows):
        yield row if own else {**row, FILE: _file_of(row)}


def _file_of(row: Row) -> str:
    """Of several files, the name of a row's own."""
    return str(row.get(AT, "")).rpartition("#")[0]


def _paths(rows: Iterable[Row], definition: Definition, name: str) -> Iterator[Row]:
    """Each tree of replies as one row per path from its root to a leaf, or its best path alone.

    A tree is one row with its ``replies`` nested (OpenAssistant's trees), or rows of one message
    each that name their parent. The best reply has the lowest ``rank``, or the highest ``score``,
    or stands first.
    """
    columns = definition.columns
    best = definition.turns.paths == "best"
    # A post may call its own otherwise ("comments") than those call theirs.
    nested = (columns.replies, "replies")

    def walk(node: Row, before: list[Row]) -> Iterator[list[Row]]:
        path = [*before, {k: v for k, v in node.items() if k not in nested}]
        listed = next((node[key] for key in nested if node.get(key)), None)
        replies = [r for r in listed if isinstance(r, dict)] if isinstance(listed, list) else []
        replies = sorted((r for r in replies if not r.get("deleted")), key=_rank)
        if not replies:
            yield path
        for reply in replies[:1] if best else replies:
            yield from walk(reply, path)

    rows = rows if columns.parent is None else _nested(rows, definition, name)
    for number, row in enumerate(rows, 1):
        if isinstance(row.get(_MAPPING), dict):
            yield {**{k: v for k, v in row.items() if k != _MAPPING},
                   "\0path": _current(row), "\0tree": plain(row.get("title"))}  # fmt: skip
            continue
        root = row.get("prompt") if isinstance(row.get("prompt"), dict) else row
        assert isinstance(root, dict)
        tree = plain(row.get(columns.conversation or "message_tree_id")
                     or cell(root, columns.message)) or number  # fmt: skip
        left = nested if root is row else ("prompt", *nested)
        for path in walk(root, []):
            yield {**{k: v for k, v in row.items() if k not in left},
                   "\0path": path, "\0tree": tree}  # fmt: skip


def _current(row: Row) -> list[Row]:
    """The talk that was last on the screen, of an export of ChatGPT: its nodes name parents."""
    nodes = {key: node for key, node in row[_MAPPING].items() if isinstance(node, dict)}
    key = row.get("current_node")
    if key not in nodes:
        key = next(reversed([k for k, node in nodes.items() if not node.get("children")]), None)
    path: list[Row] = []
    while key in nodes and len(path) <= len(nodes):
        message = nodes[key].get("message")
        if isinstance(message, dict):
            role = cell(message, "author.role")
            content = message.get("content")
            empty = not isinstance(content, dict) or not any(content.get("parts") or [])
            if not (empty and role != "assistant"):
                path.append({"role": role, "text": content})
        key = nodes[key].get("parent")
    return path[::-1]


def _rank(reply: Row) -> tuple[int, float]:
    rank = reply.get("rank")
    if isinstance(rank, int | float) and rank == rank:
        return 0, float(rank)
    score = reply.get("score")
    return 1, -float(score) if isinstance(score, int | float) and score == score else 0.0


# What Reddit writes before the id of a parent, and not before the message's own.
_KIND = re.compile(r"t[1-6]_(?=\w)")


def _nested(rows: Iterable[Row], definition: Definition, name: str) -> Iterator[Row]:
    """Trees out of rows of one message each."""
    columns = definition.columns
    key = columns.conversation or "message_tree_id"
    for _, group in _gathered(rows, key, name):
        nodes = [{**row, columns.replies: []} for row in group]
        # A message without an id, or with one that was there before, is nobody's parent.
        by_id: dict[str, Row] = {}
        for node in nodes:
            by_id.setdefault(plain(cell(node, columns.message)), node)
        by_id.pop("", None)
        above: dict[int, Row] = {}
        roots: list[Row] = []
        for node in nodes:
            said = plain(cell(node, columns.parent))
            parent = by_id.get(said) or by_id.get(_KIND.sub("", said))
            upper = parent
            while upper is not None and upper is not node:
                upper = above.get(id(upper))
            if parent is None or upper is node:
                # Nobody's answer, or its own in a circle.
                roots.append(node)
            else:
                above[id(node)] = parent
                parent[columns.replies].append(node)
        yield from roots


def _patterns(rows: Iterable[Row], definition: Definition) -> Iterator[Row]:
    """Each pattern of an intent as a row, answered by its responses in turn."""
    columns = definition.columns
    for number, row in enumerate(rows, 1):
        asked, answers = (_texts(cell(row, c)) for c in (columns.patterns, columns.responses))
        if not asked or not answers:
            yield {**row, "\0tree": number, "\0pair": None}
        for index, pattern in enumerate(asked if answers else []):
            yield {**row, "\0tree": number, "\0pair": (pattern, answers[index % len(answers)])}


def _texts(value: Any) -> list[Any]:
    if isinstance(value, str) and value.lstrip()[:1] == "[":
        value = parsed(value)
    return value if isinstance(value, list) else [] if value is None else [value]
