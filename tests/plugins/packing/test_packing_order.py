"""Each row once an epoch, the same rows in a step for any number of ranks, from seed and epoch."""

from collections import Counter

import numpy as np
import pytest
from accelerate.data_loader import BatchSamplerShard
from axolotl.utils.samplers.multipack import MultipackBatchSampler, pack_group
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.packing.order import EveryRow, Packing, Share, compile_packing

LENGTHS = np.random.default_rng(0).integers(20, 900, size=137)
PACKED = Packing(capacity=1024)
SINGLE = Packing(capacity=None)


def rows_of(batch) -> list[int]:
    return [row for part in batch for row in (part if isinstance(part, list) else [part])]


def of_rank(order: EveryRow, rank: int) -> list[list[int]]:
    """The rows of each micro-batch that accelerate gives to ``rank``, without those that fill."""
    shard = BatchSamplerShard(
        order, num_processes=order.share.ranks, process_index=rank, even_batches=False
    )
    batches = list(shard)
    assert len(batches) == len(shard) == len(order) // order.share.ranks
    return [
        [] if order.is_filler(place * order.share.ranks + rank) else rows_of(batch)
        for place, batch in enumerate(batches)
    ]


def steps_of(order: EveryRow) -> list[Counter[int]]:
    """The rows of each optimizer step, over all ranks."""
    ranks = [of_rank(order, rank) for rank in range(order.share.ranks)]
    accumulation = order.share.accumulation
    return [
        Counter(
            row
            for rank in ranks
            for batch in rank[step * accumulation : (step + 1) * accumulation]
            for row in batch
        )
        for step in range(order.steps)
    ]


@pytest.mark.parametrize("packing", [PACKED, SINGLE], ids=["packed", "single"])
@pytest.mark.parametrize(
    ("micro_batch", "accumulation", "ranks"), [(2, 4, 1), (2, 2, 2), (1, 2, 4)]
)
def test_step_sees_the_same_rows_however_it_is_shared(packing, micro_batch, accumulation, ranks):
    whole = EveryRow(LENGTHS, packing, Share(8, 1), seed=7)
    shared = EveryRow(LENGTHS, packing, Share(micro_batch, accumulation, ranks), seed=7)
    for epoch in range(3):
        for order in (whole, shared):
            order.set_epoch(epoch)
        assert steps_of(shared) == steps_of(whole)
        assert sum(steps_of(shared), Counter()) == Counter(range(len(LENGTHS)))


def test_order_is_new_in_each_epoch_and_the_same_whenever_it_is_asked_for():
    order = EveryRow(LENGTHS, PACKED, Share(1), seed=7)
    first = list(order)
    order.set_epoch(1)
    second = list(order)
    assert first != second
    later = EveryRow(LENGTHS, PACKED, Share(1), seed=7)
    later.set_epoch(1)
    assert list(later) == second


def test_no_sequence_is_longer_than_the_recipe_says():
    order = EveryRow(LENGTHS, PACKED, Share(2), seed=7)
    for batch in order:
        for sequence in batch:
            assert LENGTHS[sequence].sum() <= 1024
    tokens = len(order) * 2 * 1024
    assert LENGTHS.sum() / tokens > 0.9


def test_flat_micro_batch_is_one_sequence():
    order = EveryRow(LENGTHS, Packing(capacity=1024, flat=True), Share(4), seed=7)
    assert all(len(batch) == 1 for batch in order)
    assert sum(steps_of(order), Counter()) == Counter(range(len(LENGTHS)))


@pytest.mark.parametrize("in_order", [False, True])
def test_without_a_seed_the_data_keeps_its_order(in_order):
    order = EveryRow(LENGTHS, Packing(1024, in_order=in_order), Share(1), seed=None)
    firsts = [rows_of(batch)[0] for batch in order]
    assert firsts == sorted(firsts)
    assert sum(steps_of(order), Counter()) == Counter(range(len(LENGTHS)))


def test_data_larger_than_a_group_keeps_the_same_steps_in_every_epoch():
    order = EveryRow(LENGTHS, Packing(1024, group=20), Share(1), seed=7)
    for epoch in range(5):
        order.set_epoch(epoch)
        assert sum(steps_of(order), Counter()) == Counter(range(len(LENGTHS)))


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 64), min_size=1, max_size=40),
    micro_batch=st.integers(1, 3),
    accumulation=st.integers(1, 3),
    ranks=st.integers(1, 5),
    packed=st.booleans(),
    epoch=st.integers(0, 3),
)
def test_any_data_on_any_ranks_is_seen_once(
    lengths, micro_batch, accumulation, ranks, packed, epoch
):
    packing = Packing(capacity=64 if packed else None)
    share = Share(micro_batch, accumulation, ranks)
    order = EveryRow(lengths, packing, share, seed=1)
    order.set_epoch(epoch)
    steps = steps_of(order)
    assert all(steps), "a step without a row has no loss"
    assert sum(steps, Counter()) == Counter(range(len(lengths)))


def test_what_is_compiled_is_what_axolotl_calls() -> None:
    """Otherwise each process that it starts to pack would compile it again."""
    compile_packing()
    compiled = list(pack_group.signatures)
    sampler = MultipackBatchSampler(
        range(len(LENGTHS)), batch_size=1, batch_max_len=1024, lengths=LENGTHS, bin_size=200,
        num_processes=1,
    )  # fmt: skip
    assert len(sampler) > 1
    assert pack_group.signatures == compiled
