"""Where each key of a YAML file stands, so that an error can name its line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import yaml

from recipes.runner.core.errors import UserError

KeyPath = tuple[str | int, ...]
GIVEN_TWICE, REMOVE_ONE = "is given twice, and the first is lost", "Remove one"


@dataclass
class Positions:
    """Lines of a file's keys and list items.

    Attributes:
        lines: key path, for example ``("datasets", 0, "path")``, to its line, counted from 1.
        duplicates: keys given twice in one mapping, with the line of the second; YAML would take
            the last in silence.
    """

    lines: dict[KeyPath, int] = field(default_factory=dict)
    duplicates: list[tuple[KeyPath, int]] = field(default_factory=list)


def key_positions(path: Path) -> Positions:
    """Read the positions of all keys of a YAML file that is known to parse."""
    return positions_in(yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader))


def positions_in(root: yaml.Node | None) -> Positions:
    """The positions of all keys below a composed node."""
    positions = Positions()
    if root is not None:
        _walk(root, (), positions)
    return positions


def refuse_duplicates(positions: Positions, file: str) -> None:
    """Stop at the first key that is given twice.

    Args:
        positions: of the file's keys.
        file: its name, as it is to be shown.

    Raises:
        UserError: there is one.
    """
    for key, line in positions.duplicates:
        raise UserError(f"{dotted(key)} {GIVEN_TWICE}", f"{file}:{line}", REMOVE_ONE)


def dotted(path: KeyPath) -> str:
    """``("datasets", 0, "path")`` as ``datasets[0].path``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _walk(node: yaml.Node, path: KeyPath, positions: Positions) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key_node, value_node in node.value:
            key = str(key_node.value)
            child = (*path, key)
            line = key_node.start_mark.line + 1
            if key in seen and key != "<<":
                positions.duplicates.append((child, line))
            seen.add(key)
            positions.lines[child] = line
            _walk(value_node, child, positions)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            positions.lines[(*path, index)] = item.start_mark.line + 1
            _walk(item, (*path, index), positions)
