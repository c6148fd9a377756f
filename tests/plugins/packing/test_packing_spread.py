"""Steps of few rows hold every kind: each part of the data at even distances, each row once."""

from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from axolotl.utils.dict import DictDefault
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.packing.order import EveryRow, Packing, Share
from plugins.packing.plugin import PackingPlugin
from plugins.packing.spread import pack_in_order, parts_of_rows, spread_order
from plugins.packing.trainer import EveryRowTrainer
from recipes.runner.core.errors import UserError
from recipes.runner.core.fallbacks import fallbacks_taken, forget_fallbacks
from recipes.runner.core.labels import IGNORE

RANDOM = np.random.default_rng(3)
# Two kinds of a fifth of the rows each, one short and one long.
KINDS = ["short"] * 120 + ["long"] * 120 + ["other"] * 360
LENGTHS = np.concatenate(
    [RANDOM.integers(15, 25, 120), RANDOM.integers(80, 95, 120), RANDOM.integers(15, 95, 360)]
)


def test_each_kind_comes_at_even_distances() -> None:
    order = spread_order(KINDS, np.random.default_rng(0))
    assert sorted(order) == list(range(len(KINDS)))
    for kind in ("short", "long"):
        places = [place for place, row in enumerate(order) if KINDS[row] == kind]
        assert set(np.diff(places)) <= {3, 4, 5, 6, 7}
    assert order != spread_order(KINDS, np.random.default_rng(1))


def share_of_a_kind(order: EveryRow, kind: str) -> list[float]:
    return [
        float(np.mean([KINDS[row] == kind for sequence in batch for row in sequence]))
        for batch in order
    ]


def test_steps_hold_both_kinds_where_the_longest_first_would_part_them() -> None:
    packing, share = Packing(256, flat=True), Share(1)
    spread, longest = (EveryRow(LENGTHS, packing, share, 42, of) for of in (KINDS, None))
    for kind in ("short", "long"):
        assert np.std(share_of_a_kind(spread, kind)) < 0.7 * np.std(share_of_a_kind(longest, kind))
    assert LENGTHS.sum() / (256 * len(spread)) > 0.92


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 64), min_size=1, max_size=60),
    ranks=st.integers(1, 3),
    packed=st.booleans(),
    most_rows=st.integers(1, 8),
    epoch=st.integers(0, 2),
)
def test_every_row_comes_once_an_epoch_and_fits(lengths, ranks, packed, most_rows, epoch) -> None:
    kinds = [str(length % 3) for length in lengths]
    packing = Packing(64 if packed else None, most_rows)
    order = EveryRow(lengths, packing, Share(2, 1, ranks), 1, kinds)
    order.set_epoch(epoch)
    seen: Counter[int] = Counter()
    for index, batch in enumerate(order):
        if order.is_filler(index):
            continue
        sequences = batch if packed else [[row] for row in batch]
        for sequence in sequences:
            assert sum(lengths[row] for row in sequence) <= 64 and len(sequence) <= most_rows
            seen.update(sequence)
    assert seen == Counter(range(len(lengths)))


def test_every_epoch_has_a_sequence_for_each_step_and_another_order() -> None:
    order, seen = EveryRow(LENGTHS, Packing(256, flat=True), Share(1), 42, KINDS), []
    for epoch in range(6):
        order.set_epoch(epoch)
        steps = [rows for batch in order for rows in batch]
        assert len(steps) == len(order) and all(LENGTHS[rows].sum() <= 256 for rows in steps)
        assert sorted(row for rows in steps for row in rows) == list(range(len(KINDS)))
        assert np.std(share_of_a_kind(order, "long")) < 0.2
        seen.append([sorted(rows) for rows in steps])
    assert all(one != other for at, one in enumerate(seen) for other in seen[:at])
    assert not {tuple(rows) for rows in seen[0]} & {tuple(rows) for rows in seen[1]}


def test_a_row_goes_into_the_fullest_sequence_that_has_room() -> None:
    lengths = np.array([60, 50, 20, 30, 15])
    assert pack_in_order([0, 1, 2, 3, 4], lengths, 100, 8) == [[0, 2, 4], [1, 3]]


class Letters:
    """A tokenizer of single letters; 0 is the end token."""

    def batch_decode(self, rows, skip_special_tokens) -> list[str]:
        assert skip_special_tokens
        return ["".join(chr(token) for token in row if token) for row in rows]


def row_of(*answers: str, part: str | None) -> dict:
    messages = [
        message
        for answer in answers
        for message in (
            {"role": "user", "content": "And?"}, {"role": "assistant", "content": answer}
        )
    ]  # fmt: skip
    return {"messages": messages} | ({"part": part} if part else {})


def labels_of(*answers: str) -> list[int]:
    return [label for a in answers for label in [IGNORE, IGNORE, *map(ord, a), 0]]


@pytest.fixture
def data(tmp_path):
    rows = [
        row_of("Call now.", part="danger"),
        row_of("Paris", "On the Seine ", part="plain"),
        row_of("Seven", part="plain"),
    ]
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    answers = [("Seven",), ("Paris", "On the Seine"), ("Call now.",)]  # shuffled, stripped
    tokens = Dataset.from_dict(
        {"length": [9, 20, 12], "labels": [labels_of(*said) for said in answers]}
    )
    return file, tokens


def test_a_row_is_found_by_its_answers_in_any_order(data) -> None:
    file, tokens = data
    assert parts_of_rows([file], tokens, Letters()) == ["plain", "plain", "danger"]
    more = Dataset.from_dict({"labels": [*tokens["labels"], labels_of("Berlin")]})
    assert parts_of_rows([file], more, Letters())[-1] == ""


def test_a_file_that_cannot_be_read_is_named(data, tmp_path) -> None:
    with pytest.raises(UserError, match="can't be read"):
        parts_of_rows([tmp_path / "none.jsonl"], data[1], Letters())


def test_data_without_parts_are_packed_as_ever_and_that_is_said(data, tmp_path) -> None:
    forget_fallbacks()
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps(row_of("Seven", part=None)), encoding="utf-8")
    trainer = trainer_of(data[1])
    hub = {"path": "somebody/data"}  # no file here
    cfg = DictDefault(
        {"max_steps": 10, "spread_kinds": True, "datasets": [{"path": str(file)}, hub]}
    )
    PackingPlugin().post_trainer_create(cfg, trainer)
    assert trainer._train_rows.kinds is None
    (fallback,) = fallbacks_taken()
    assert "names no parts" in str(fallback)


def trainer_of(tokens: Dataset) -> EveryRowTrainer:
    trainer = EveryRowTrainer.__new__(EveryRowTrainer)
    trainer.train_dataset, trainer.processing_class = tokens, Letters()
    trainer.args = SimpleNamespace(
        per_device_train_batch_size=1, gradient_accumulation_steps=1, world_size=1, seed=42,
        data_seed=None, curriculum_sampling=None, sample_packing=True, max_seq_length=256,
        sample_packing_bin_size=None, sample_packing_group_size=100_000,
        sample_packing_sequentially=None, multipack_real_batches=False,
    )  # fmt: skip
    return trainer


@pytest.mark.parametrize("spread", [True, False])
def test_the_recipe_says_whether_kinds_are_spread(data, spread) -> None:
    forget_fallbacks()
    file, tokens = data
    trainer = trainer_of(tokens)
    cfg = DictDefault({"max_steps": 10, "spread_kinds": spread, "datasets": [{"path": str(file)}]})
    PackingPlugin().post_trainer_create(cfg, trainer)
    assert trainer._train_rows.kinds == (["plain", "plain", "danger"] if spread else None)
    assert not fallbacks_taken()


@pytest.mark.parametrize("key", ["curriculum_sampling", "sample_packing_sequentially"])
def test_two_orders_at_once_are_refused(key) -> None:
    PackingPlugin().register({key: True})
    with pytest.raises(UserError, match=f"spread_kinds.*{key}"):
        PackingPlugin().register({key: True, "spread_kinds": True})
