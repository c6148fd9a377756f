"""Which columns of a source are read, and which must not be left out in silence."""

from __future__ import annotations

from datasets_prep.cells import Row, is_empty
from datasets_prep.columns import SHAPES
from datasets_prep.definition import Definition
from datasets_prep.turn_lists import flag_of
from datasets_prep.where import parse_condition
from recipes.runner.core.errors import UserError

_OPTIONAL = ("input", "prompt")
# Where the prompt of a preference stands when the definition names no column.
PROMPT_COLUMNS = ("prompt", "messages", "conversations")


def needed(definition: Definition) -> list[str]:
    """Columns that every source of this definition must have."""
    columns, shape = definition.columns, str(definition.shape)
    wanted = [getattr(columns, name) for name in SHAPES[shape] if name not in _OPTIONAL]
    if shape == "kto" and (columns.messages or columns.conversations):
        # The talk may end in the answer.
        wanted = [name for name in wanted if name != "completion"]
    wanted += columns.prompts()
    optional = ["id", "topic", "system", "history", "candidates", "tools", "parent"]
    if shape != "turns":
        optional += ["speaker", "order"]
    if shape in ("preference", "kto"):
        optional += ["messages", "conversations"]
    wanted += [name for key in optional for name in [getattr(columns, key)] if name]
    # A row that lacks the column meets "!=": only the others can never be met.
    tested = [parse_condition(text) for text in definition.where]
    wanted += [c.column for c in tested if c.compare not in ("!=", "not in")]
    return [name for name in (*wanted, *columns.author, *columns.group) if name]


def used(definition: Definition) -> set[str]:
    """Columns that are read, or left out on purpose."""
    columns, shape = definition.columns, str(definition.shape)
    named = {value for name, value in columns if isinstance(value, str) and value}
    read = {*named, *columns.prompts(), *columns.author, *columns.group, *columns.ignore, "tools"}
    if shape == "tree":
        keys = {definition.turns.role_key, definition.turns.content_key} - {None}
        read |= {
            "mapping",
            "current_node",
            "prompt",
            "message_tree_id",
            "text",
            "role",
            "rank",
            "deleted",
            *map(str, keys),
        }
    if shape in ("preference", "kto"):
        read |= set(PROMPT_COLUMNS)
    if isinstance(definition.model_written, str):
        read.add(definition.model_written)
    read |= {name for text in definition.where for name in parse_condition(text).columns}
    # A place within a column, and a column whose own name has a stop in it.
    return read | {name.split(".")[0] for name in read}


# Columns that mean something for training, which no row may hold unread.
_PAIR = frozenset(["chosen", "rejected"])
_SHOWN = frozenset(["image", "images", "audio", "audios", "video", "videos"])
_CALLS = frozenset(["tool_calls", "function_call", "function_calls"])
_FLAGS = frozenset(["weight", "train", "loss_weight"])
_MEANING = _PAIR | _SHOWN | _CALLS | _FLAGS | {"label"}


class Watch:
    """Looks at rows for what means something and would be left out in silence.

    Args:
        rows: the first ones, which tell whether a ``label`` is a flag or the name of a class.
        definition: the source's own.
        where: its name, for the message.

    Raises:
        UserError: names the columns and what to do.
    """

    def __init__(self, rows: list[Row], definition: Definition, where: str) -> None:
        """Look at the first rows together."""
        self._definition, self._where = definition, where
        self._names = _MEANING - used(definition)
        _refuse(rows, self._names, definition, where)
        if any(row.get("label") is not None for row in rows):
            # Its values are those of a class: two of them alone, further on, make no flag.
            self._names -= {"label"}

    def see(self, row: Row) -> None:
        """Look at one row further on.

        Raises:
            UserError: as above.
        """
        if not self._names.isdisjoint(row):
            _refuse([row], self._names, self._definition, self._where)


def _refuse(rows: list[Row], names: frozenset[str], definition: Definition, where: str) -> None:
    held = {name: [row[name] for row in rows if not is_empty(row.get(name))] for name in names}
    left = {name for name, values in held.items() if values}
    ignore = "or name them under columns.ignore to leave them out"
    pair = sorted(left & _PAIR)
    if pair and definition.kind != "preference":
        raise UserError(
            f"the rows hold preferences ({', '.join(pair)}), which shape {definition.shape} "
            "would leave out",
            where,
            f"Set shape: preference, {ignore}",
        )
    labels = [flag_of(value) for value in held.get("label", ())]
    if labels and definition.kind != "kto" and all(value in (0, 1) for value in labels):
        raise UserError(
            f"column 'label' says which answers are wanted, and shape {definition.shape} would "
            "train on all",
            where,
            f"Set shape: kto, a condition such as where: label == true, {ignore}",
        )
    shown = sorted(left & _SHOWN)
    if shown and any(value for name in shown for value in held[name]):
        raise UserError(
            f"the rows hold {', '.join(shown)}, which a text model can't be shown",
            where,
            "Take a source of text, " + ignore,
        )
    calls = sorted(name for name in left & _CALLS if any(held[name]))
    if calls:
        raise UserError(
            f"column '{calls[0]}' holds calls of tools, which shape {definition.shape} would leave "
            "out",
            where,
            f"Put them into turns and set shape: messages, {ignore}",
        )
    off = sorted(name for name in left & _FLAGS if any(flag_of(v) == 0 for v in held[name]))
    if off:
        raise UserError(
            f"column '{off[0]}' is 0 for some rows, and they would be trained on all the same",
            where,
            f"Set where: {off[0]} != 0, {ignore}",
        )
