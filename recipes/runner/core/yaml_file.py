"""The one reader of YAML: what a file says, where each key stands, and all that is wrong with it.

Recipes, suites, data definitions and sweep grids go through it. It reads what ``yaml.safe_load``
reads, as Axolotl does, and says in lines what that takes in silence or ends in a traceback.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.constructor import SafeConstructor
from yaml.reader import Reader
from yaml.resolver import Resolver

from recipes.runner.core.errors import UserError, UserErrors
from recipes.runner.core.paths import display_path

try:
    from yaml.cyaml import CParser  # type: ignore[attr-defined]
except ImportError:  # a PyYAML without libyaml, ten times slower

    class CParser(Reader, yaml.scanner.Scanner, yaml.parser.Parser):  # type: ignore[no-redef]
        """PyYAML's own parser under the name of libyaml's."""

        def __init__(self, stream: str) -> None:
            Reader.__init__(self, stream)
            yaml.scanner.Scanner.__init__(self)
            yaml.parser.Parser.__init__(self)


KeyPath = tuple[str | int, ...]
Fault = tuple[KeyPath, str, str]
"""Key path, what is wrong, what to do."""
GIVEN_TWICE, REMOVE_ONE = "is given twice, and the first is lost", "Remove one"

_LARGEST = 2_000_000  # bytes: a suite of five thousand prompts
_DEEPEST = 50  # levels; a recipe has five
_MOST = 100_000  # values after aliases are filled in: a small file can hold billions
_TAG = "tag:yaml.org,2002:"
_NUMBER_AS_TEXT = re.compile(r"([-+]?)(\d+)(\.\d*)?[eE]([-+]?)(\d+)|[-+]?\d{1,3}(,\d{3})+|0o[0-7]+")


@dataclass(frozen=True)
class Trap:
    """A plain word that YAML reads as something else than it looks like.

    Attributes:
        written: the word as it stands in the file.
        read: what YAML made of it, in words.
        todo: how to write what was meant.
    """

    written: str
    read: str
    todo: str

    def __str__(self) -> str:
        """One sentence without its full stop."""
        return f"YAML reads {self.written} as {self.read}"


@dataclass
class YamlFile:
    """One file that could be read.

    Attributes:
        path: the file.
        content: its keys, as ``yaml.safe_load`` reads them.
        lines: key path, for example ``("datasets", 0, "path")``, to its line, counted from 1; for
            what came through a merge or an alias, the line where it is written.
        faults: what is wrong in it as YAML: a key given twice, a tag, a merge of no mapping.
        traps: values that YAML reads otherwise than they look.
    """

    path: Path
    content: dict[Any, Any] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    traps: dict[KeyPath, Trap] = field(default_factory=dict)

    def line(self, place: KeyPath) -> int:
        """The line of a key, or of the nearest one above it that is written; 1 for none."""
        return next((self.lines[path] for path in upwards(place) if path in self.lines), 1)

    def error(self, fault: Fault) -> UserError:
        """A fault with its file, line and key."""
        place, what, todo = fault
        text = f"{dotted(place)}: {what}" if place else what
        return UserError(text, f"{display_path(self.path)}:{self.line(place)}", todo)

    def errors(self, faults: list[Fault]) -> list[UserError]:
        """The faults as errors, once each, in the order of the file."""
        ordered = sorted(dict.fromkeys(faults), key=lambda fault: self.line(fault[0]))
        return [self.error(fault) for fault in ordered]

    def refuse_faults(self) -> None:
        """Stop at a file that has faults.

        Raises:
            UserErrors: all of them.
        """
        if self.faults:
            raise UserErrors(self.errors(self.faults))


def read_yaml(path: Path, todo: str) -> YamlFile:
    """Read one file.

    Args:
        path: the file.
        todo: what to do about a file without keys.

    Returns:
        What it says. Faults that leave the rest readable stand in ``faults``, so that they can be
        told together with what else is wrong.

    Raises:
        UserError: it can't be read at all: no file, no UTF-8, no YAML, too large, nested too
            deeply, or no keys in it.
    """
    name = display_path(path)
    text = _text(path, name)
    file = YamlFile(path)
    try:
        root = _Nodes(text, file)
        node = root.get_single_node()
        value = _Values(file).value(node, ()) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        tab = mark is not None and _is_tab(text, mark.line, mark.column)
        what = f"can't be read as YAML: {'a tab stands there' if tab else _problem(error)}"
        raise UserError(what, where, "Indent with spaces" if tab else "Fix this line") from None
    except yaml.YAMLError as error:
        problem = " ".join(str(error).split())
        raise UserError(f"can't be read as YAML: {problem}", name, "Fix it") from None
    if isinstance(value, dict):
        file.content = value
        return file
    if file.faults:
        file.refuse_faults()
    found = ", but a list" if isinstance(value, list) else ""
    raise UserError(f"holds no keys{found}", name, todo)


def read_value(text: str) -> Any:
    """A value as it would be read in a file: ``[a, b]`` is a list.

    Raises:
        ValueError: it can't be read.
    """
    file = YamlFile(Path("value"))
    try:
        node = _Nodes(text, file).get_single_node()
        value = _Values(file).value(node, ()) if node is not None else None
    except yaml.YAMLError as error:
        raise ValueError(str(getattr(error, "problem", None) or error)) from None
    if file.faults:
        raise ValueError(file.faults[0][1])
    return value


def dotted(path: KeyPath) -> str:
    """``("datasets", 0, "path")`` as ``datasets[0].path``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    # A key may hold anything, and a message is one line.
    return text if text.isprintable() else "".join(_printable(letter) for letter in text)


def _printable(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape").decode()


def upwards(place: KeyPath) -> Iterator[KeyPath]:
    """A key path, the one above it, and so on."""
    for length in range(len(place), 0, -1):
        yield place[:length]


def _is_tab(text: str, line: int, column: int) -> bool:
    """Whether a tab stands where reading stopped, or before it on its line."""
    lines = text.splitlines()
    return line < len(lines) and "\t" in lines[line][: column + 1]


def _problem(error: yaml.MarkedYAMLError) -> str:
    problem, context = str(error.problem or "not YAML"), str(error.context or "")
    if problem == "second occurrence":
        problem = context.split(";")[0]
    elif problem.startswith("but "):
        problem = f"{context}, {problem}"
    return " ".join(problem.split())


def _text(path: Path, name: str) -> str:
    try:
        if (size := path.stat().st_size) > _LARGEST:
            most = f"the most is {_LARGEST / 1e6:.0f} MB"
            raise UserError(f"is {size / 1e6:.1f} MB: {most}", name, "Is it the right file?")
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"can't be read: {error.strerror}", name) from None
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError("is not UTF-8 text", f"{name}:{line}", "Save it as UTF-8") from None
    if bad := Reader.NON_PRINTABLE.search(text):
        line = text.count("\n", 0, bad.start()) + 1
        what = f"holds a character that no text has (U+{ord(bad.group()):04X})"
        raise UserError(what, f"{name}:{line}", "Is it a text file?")
    return text


class _Nodes(Composer, CParser, Resolver):  # type: ignore[misc]
    """libyaml's events as PyYAML's nodes, without recursion and without bottomless depth."""

    def __init__(self, text: str, file: YamlFile) -> None:
        CParser.__init__(self, text)
        Composer.__init__(self)
        Resolver.__init__(self)
        self._file = file
        self._open: list[Any] = []

    def compose_node(self, parent: yaml.Node | None, index: Any) -> Any:
        event: Any = self.peek_event()
        alias = isinstance(event, yaml.AliasEvent)
        if alias and any(opened.anchor == event.anchor for opened in self._open):
            self.get_event()
            place: KeyPath = (f"*{event.anchor}",)
            self._file.lines.setdefault(place, event.start_mark.line + 1)
            self._file.faults.append((place, "refers to what it stands in", "Write it out"))
            return yaml.ScalarNode(f"{_TAG}null", "", event.start_mark, event.end_mark)
        if len(self._open) >= _DEEPEST:
            problem = f"nested more than {_DEEPEST} levels deep"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        # An alias is no scope, and its anchor is not its own.
        scope = () if alias else (event,)
        self._open += scope
        node = super().compose_node(parent, index)
        del self._open[len(self._open) - len(scope) :]
        return node


class _Values:
    """Nodes as Python values, each with its line."""

    def __init__(self, file: YamlFile) -> None:
        self._file = file
        self._constructor = SafeConstructor()
        self._count = 0
        self._told: set[tuple[int, Any]] = set()

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        self._count_up(node)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        kind = "map" if isinstance(node, yaml.MappingNode) else "seq"
        if node.tag != _TAG + kind:
            return self._unknown_tag(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._item(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._mapping(node, path)

    def _count_up(self, node: yaml.Node) -> None:
        self._count += 1
        if self._count > _MOST:
            problem = f"more than {_MOST} values, aliases filled in"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)

    def _item(self, node: yaml.Node, path: KeyPath) -> Any:
        self._file.lines[path] = node.start_mark.line + 1
        return self.value(node, path)

    def _mapping(self, node: yaml.Node, path: KeyPath) -> dict[Any, Any]:
        pairs: dict[Any, tuple[yaml.Node, yaml.Node]] = {}
        for key, key_node, value_node in self._pairs(node, path):
            pairs[key] = (key_node, value_node)
        mapping = {}
        for key, (key_node, value_node) in pairs.items():
            child = (*path, str(key))
            self._file.lines[child] = key_node.start_mark.line + 1
            mapping[key] = self.value(value_node, child)
        return mapping

    def _pairs(self, node: yaml.Node, path: KeyPath) -> Iterator[tuple[Any, yaml.Node, yaml.Node]]:
        """Keys and values of a mapping, merged ones first: a later pair wins, as in PyYAML."""
        own: dict[Any, tuple[yaml.Node, yaml.Node]] = {}
        for key_node, value_node in node.value:
            if key_node.tag == f"{_TAG}merge":
                self._file.lines.setdefault((*path, "<<"), key_node.start_mark.line + 1)
                listed = isinstance(value_node, yaml.SequenceNode)
                for source in reversed(value_node.value) if listed else [value_node]:
                    if isinstance(source, yaml.MappingNode):
                        self._count_up(source)
                        yield from self._pairs(source, path)
                    else:
                        todo = "Write <<: *anchor, with an anchor on a mapping"
                        self._fault((*path, "<<"), "merges what is no mapping", todo)
                continue
            key = self._key(key_node, path)
            if key is _NO_KEY:
                continue
            if key in own and (id(key_node), key) not in self._told:
                child = (*path, str(key))
                self._file.lines[child] = key_node.start_mark.line + 1
                self._told.add((id(key_node), key))
                self._fault(child, GIVEN_TWICE, REMOVE_ONE)
            own[key] = (key_node, value_node)
        for key, (key_node, value_node) in own.items():
            yield key, key_node, value_node

    def _key(self, node: yaml.Node, path: KeyPath) -> Any:
        child = (*path, str(node.value)[:40])
        if not isinstance(node, yaml.ScalarNode):
            child = (*path, "?")
            self._file.lines.setdefault(child, node.start_mark.line + 1)
            self._fault(child, "a list or mapping can't be a key", "Write text")
            return _NO_KEY
        if node.tag == f"{_TAG}value":
            return node.value
        if node.tag in (f"{_TAG}bool", f"{_TAG}null"):
            self._file.lines.setdefault(child, node.start_mark.line + 1)
            kind = node.tag.removeprefix(_TAG)
            read = "no value" if kind == "null" else "yes or no"
            self._fault(child, f"YAML reads this key as {read}, not as text", "Quote it")
            return _NO_KEY
        before = len(self._file.faults)
        key = self._scalar(node, child)
        self._file.traps.pop(child, None)
        if len(self._file.faults) > before:
            self._file.lines.setdefault(child, node.start_mark.line + 1)
            return _NO_KEY
        if not path and not isinstance(key, str):
            # Deeper ones may be meant, as in max_memory: {0: 20GiB}.
            self._file.lines.setdefault(child, node.start_mark.line + 1)
            self._fault(child, "is no name of a key", "Quote it, if it is one")
            return _NO_KEY
        return key

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        construct = SafeConstructor.yaml_constructors.get(node.tag)
        collections = ("seq", "map", "set", "omap", "pairs")
        if construct is None or node.tag.removeprefix(_TAG) in collections:
            return self._unknown_tag(node, path)
        try:
            value = construct(self._constructor, node)
        except Exception:  # PyYAML's constructors raise what they like: ValueError, KeyError, ...
            kind = node.tag.removeprefix(_TAG)
            self._fault(path, f"{_short(node.value)} is no {kind}", "Quote it, if it is text")
            return None
        if not node.style and (trap := _trap(node.value, value)):
            self._file.traps[path] = trap
        return value

    def _unknown_tag(self, node: yaml.Node, path: KeyPath) -> None:
        if node.tag == f"{_TAG}value":
            self._fault(path, "= alone is a sign of YAML's own", "Quote it")
            return
        tag = node.tag.replace(_TAG, "!!")
        self._fault(path, f"the tag {_short(tag)} is not read here", "Remove it")

    def _fault(self, path: KeyPath, what: str, todo: str) -> None:
        self._file.faults.append((path, what, todo))


_NO_KEY = object()


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")


def _trap(written: str, value: Any) -> Trap | None:
    """Whether a plain word was read as something that it doesn't look like."""
    if isinstance(value, bool):
        if written.lower() in ("true", "false"):
            return None
        word = str(value).lower()
        return Trap(written, word, f'Write "{written}" for text, {word} for {word}')
    if isinstance(value, datetime.date):
        return Trap(written, "a date", f'Write "{written}"')
    if isinstance(value, int | float):
        if ":" in written:
            todo = f'Write {value}, or "{written}" for text'
            return Trap(written, f"{value}, a number to the base of 60", todo)
        if re.fullmatch(r"[-+]?0[0-7_]+", written):
            plain = written.replace("_", "").lstrip("+-0") or "0"
            return Trap(written, f"{value}, an octal number", f"Write {value} or {plain}")
        return None
    if isinstance(value, str) and re.fullmatch(r"0[0-9]*[89][0-9]*", written):
        return Trap(written, "text", f"Write {int(written)}")  # no octal number has an 8 or 9
    if isinstance(value, str) and (number := _NUMBER_AS_TEXT.fullmatch(written)):
        sign, whole, rest, exponent_sign, exponent = number.group(1, 2, 3, 4, 5)
        if exponent:
            float_form = f"{sign}{whole}{rest or '.0'}e{exponent_sign or '+'}{exponent}"
            return Trap(written, "text", f"Write {float_form}")
        plain = written.replace(",", "")
        return Trap(written, "text", f"Write {int(plain, 0) if 'o' in plain else plain}")
    return None
