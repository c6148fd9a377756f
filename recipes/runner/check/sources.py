"""Where the rows of a data set come from: its file's kind, its split, its shards, and what its
`type` doesn't read."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recipes.runner.check.conditions import is_given
from recipes.runner.check.finding import Finding, number, spelt, words
from recipes.runner.check.references import is_local
from recipes.runner.core.local_data import count_rows
from recipes.runner.core.made_data import is_stale
from recipes.runner.core.nearest import did_you_mean
from recipes.runner.core.paths import file_here, is_folder
from recipes.runner.core.yaml_file import KeyPath

# By the end of a file, what `datasets` reads it with; a `.txt` may hold anything.
_READERS = {".json": "json", ".jsonl": "json", ".csv": "csv", ".tsv": "csv",
            ".parquet": "parquet", ".arrow": "arrow"}  # fmt: skip
# What Axolotl takes a file for where no ds_type says it (`EXTENSIONS_TO_DATASET_TYPES`).
_KNOWN = (".parquet", ".arrow", ".csv", ".txt", ".json", ".jsonl")
_PACKED = (".gz", ".zst", ".bz2", ".xz", ".zip")
# What only a conversation's strategy reads.
_OF_A_CHAT = words("""
    field_messages field_tools field_thinking template_thinking_key message_property_mappings
    message_field_role message_field_content message_field_training message_field_training_detail
    roles roles_to_train train_on_eos train_on_eot drop_system_message split_thinking chat_template
    chat_template_jinja
    """)
_WITHOUT_CHAT = words("""
    completion input_output pretrain alpaca alpaca_instruct alpaca_w_system context_qa creative_acr
    metharme orcamini pygmalion llama2_chat explainchoice concisechoice summarizetldr jeopardy oasst
    gpteacher reflection stepwise_supervised
    """)


def check_source(
    config: dict[str, Any], place: KeyPath, entry: dict[Any, Any]
) -> Iterator[Finding]:
    """File kind, age, split, shards and unread keys of one entry of ``datasets``."""
    path = entry.get("path")
    if place[0] == "datasets" and isinstance(path, str) and is_stale(path):
        what = f"{Path(path).parent} is out of date: its definition or its source has changed since"
        name = Path(path).parent.name
        todo = f"make train makes it again, as does make data DATASET={name}"
        yield Finding((*place, "path"), what, todo, "note")
    yield from _file_kind(place, entry)
    yield from _split(place, entry)
    yield from _shards(place, entry)
    if not config.get("rl"):
        yield from _unread(config, place, entry)


@functools.cache
def _file_types() -> tuple[str, ...]:
    from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

    return tuple(name for name in _PACKAGED_DATASETS_MODULES if name != "cache")


def local_file(path: Any) -> Path | None:
    """A file that is here; None for anything else."""
    if not isinstance(path, str) or not path:
        return None
    return file_here(path)


def _file_kind(place: KeyPath, entry: dict[Any, Any]) -> Iterator[Finding]:
    kind, file = entry.get("ds_type"), local_file(entry.get("path"))
    if isinstance(kind, str) and kind and kind not in _file_types():
        hint = did_you_mean(kind, _file_types())
        yield Finding((*place, "ds_type"), f"there is no file type {kind}", hint)
        return
    if file is None:
        return
    reader = _READERS.get(file.suffix)
    if kind and reader and kind in _READERS.values() and kind != reader:
        what = f"is {kind}, and {file.name} is read with {reader}"
        yield Finding((*place, "ds_type"), what, f"Write ds_type: {reader}, or take it out")
    elif not kind and file.suffix and file.suffix not in (*_KNOWN, *_PACKED):
        what = f"{file.name} is read as JSON without a ds_type"
        todo = f"Write ds_type: {reader}" if reader else "Write ds_type"
        yield Finding((*place, "path"), what, todo, "error" if reader else "warning")
    if entry.get("data_files"):
        what = "is not read where path is a file"
        yield Finding((*place, "data_files"), what, "Take it out", "warning")


_SPLITS = ("train", "validation", "test")
_MORE_THAN_ANY = 10**12  # rows


def _split(place: KeyPath, entry: dict[Any, Any]) -> Iterator[Finding]:
    """What `datasets` itself says of a split's spelling, and whether it takes a row."""
    split, path = entry.get("split"), entry.get("path")
    if not isinstance(split, str) or not split:
        return
    from datasets import ReadInstruction

    where = (*place, "split")
    try:
        instruction = ReadInstruction.from_spec(split)
    except (ValueError, AssertionError):
        yield Finding(where, f"{split} is no split", "Write a name, such as train or train[:10%]")
        return
    names = [part.splitname for part in instruction._relative_instructions]
    for name in names:
        if isinstance(path, str) and is_local(path) and not is_folder(path):
            if name != "train":
                what = f"there is no split {name}: a local file is one split, named train"
                yield Finding(where, what, "Write split: train, or take it out")
                return
        elif name not in _SPLITS and (near := _slip(name)):
            what = f"{name} is hardly the name of a split"
            yield Finding(where, what, f"Did you mean {near}?")
    rows = count_rows(path) if isinstance(path, str) and local_file(path) else None
    # `datasets` cuts a part that reaches beyond the end: of a file that is elsewhere only more rows
    # than any has show which part is empty whatever its length.
    sizes = dict.fromkeys(names, _MORE_THAN_ANY if rows is None else rows)
    try:
        parts = instruction.to_absolute(sizes)
    except (ValueError, AssertionError):
        return
    if not any((part.to or 0) > (part.from_ or 0) for part in parts):
        yield Finding(where, f"{split} takes no row", "Take another part")


def _slip(name: str) -> str | None:
    """The usual split that a name is a typing error for: one letter more, less or moved."""
    for usual in _SPLITS:
        letters, others = Counter(usual), Counter(name.lower())
        more, less = others - letters, letters - others
        if more.total() + less.total() <= 1 and name[:1] == usual[:1]:
            return usual
    return None


def _shards(place: KeyPath, entry: dict[Any, Any]) -> Iterator[Finding]:
    shards, index = number(entry.get("shards")), number(entry.get("shards_idx"))
    if shards is not None and shards < 1:
        what = f"is {spelt(entry['shards'])}: must be 1 or more"
        yield Finding((*place, "shards"), what, "Give another number, or take it out")
    elif index is not None and not shards:
        yield Finding((*place, "shards_idx"), "is not read without shards", "Add shards", "warning")
    elif index is not None and shards is not None and not 0 <= index < shards:
        what = f"is {index:g}: the {shards:g} shards are 0 to {shards - 1:g}"
        yield Finding((*place, "shards_idx"), what, "Lower it")
    chunks = number(entry.get("preprocess_shards"))
    if chunks is not None and chunks < 1:
        what = f"is {chunks:g}: must be 1 or more"
        yield Finding((*place, "preprocess_shards"), what, "Give another number")
    elif chunks and shards:
        what = "is not read beside shards"
        yield Finding((*place, "preprocess_shards"), what, "Take one out", "warning")


def _unread(config: dict[str, Any], place: KeyPath, entry: dict[Any, Any]) -> Iterator[Finding]:
    kind = entry.get("type")
    if isinstance(kind, str) and kind and kind.split(".")[0].split(":")[0] in _WITHOUT_CHAT:
        for key in _OF_A_CHAT:
            if is_given(entry.get(key)):
                what = f"is not read by type: {kind}"
                yield Finding((*place, key), what, "Take it out", "warning")
    if isinstance(kind, str) and kind and kind != "completion" and entry.get("field"):
        what = f"is not read by type: {kind}: completion reads it"
        yield Finding((*place, "field"), what, "Take it out", "warning")
    if entry.get("conversation") and not str(kind).startswith("alpaca_chat"):
        yield Finding((*place, "conversation"), "is not read any more", "Take it out", "warning")
    plugins = config.get("plugins")
    distilled = any(".kd" in str(name) for name in plugins or ())
    for key in ("field_human", "field_model", "input_format", "logprobs_field", "temperature"):
        if is_given(entry.get(key)) and not distilled:
            what = "is in Axolotl's schema, and nothing of it reads the key"
            yield Finding((*place, key), what, "Take it out", "warning")
