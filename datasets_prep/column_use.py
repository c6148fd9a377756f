"""Which columns of a source are read, and which must not be left out in silence."""

from __future__ import annotations

from datasets_prep.cells import Row
from datasets_prep.columns import SHAPES
from datasets_prep.definition import Definition
from datasets_prep.where import parse_condition
from recipes.runner.core.errors import UserError

_OPTIONAL = ("input", "prompt")
# Where the prompt of a preference stands when the definition names no column.
PROMPT_COLUMNS = ("prompt", "messages", "conversations")


def needed(definition: Definition) -> list[str]:
    """Columns that every source of this definition must have."""
    columns, shape = definition.columns, str(definition.shape)
    wanted = [getattr(columns, name) for name in SHAPES[shape] if name not in _OPTIONAL]
    wanted += columns.prompts()
    optional = ["id", "topic", "system", "history", "candidates", "tools", "parent"]
    if shape != "turns":
        optional += ["speaker", "order"]
    if shape in ("preference", "kto"):
        optional += ["messages", "conversations"]
    wanted += [name for key in optional for name in [getattr(columns, key)] if name]
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
    read |= {parse_condition(text).column for text in definition.where}
    return {name.split(".")[0] for name in read}


def refuse_meaning(rows: list[Row], definition: Definition, where: str) -> None:
    """Stop at columns that mean something for training and would be left out in silence.

    Raises:
        UserError: names them and what to do.
    """
    left = {str(key) for row in rows for key, value in row.items() if value is not None}
    left = {key for key in left if not key.startswith("\0")} - used(definition)
    kind = definition.kind
    ignore = "or name them under columns.ignore to leave them out"
    pair = sorted(left & {"chosen", "rejected"})
    if pair and kind != "preference":
        raise UserError(
            f"the rows hold preferences ({', '.join(pair)}), which shape {definition.shape} "
            "would leave out",
            where,
            f"Set shape: preference, {ignore}",
        )
    values = [row["label"] for row in rows if row.get("label") is not None]
    if "label" in left and kind != "kto" and all(value in (True, False) for value in values):
        raise UserError(
            f"column 'label' says which answers are wanted, and shape {definition.shape} would "
            "train on all",
            where,
            f"Set shape: kto, a condition such as where: label == true, {ignore}",
        )
    shown = sorted(left & {"image", "images", "audio", "audios", "video", "videos"})
    if shown and any(row.get(name) for row in rows for name in shown):
        raise UserError(
            f"the rows hold {', '.join(shown)}, which a text model can't be shown",
            where,
            "Take a source of text, " + ignore,
        )
    flags = sorted(left & {"weight", "train"})
    off = [name for name in flags if any(row.get(name) in (0, False) for row in rows)]
    if off:
        raise UserError(
            f"column '{off[0]}' is 0 for some rows, and they would be trained on all the same",
            where,
            f"Set where: {off[0]} != 0, {ignore}",
        )
