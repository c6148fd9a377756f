"""What the benchmarks read from their words and from a profile; their steps need a card."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from torch import nn

from plugins.falcon.benchmark import pairs
from plugins.falcon.benchmark.blocks import kernels_of, next_length, number_of
from plugins.falcon.benchmark.shares import frozen_flops, kind_of, shares_of


def test_kernels_of_one_kind_add_up_and_the_longest_stands_first() -> None:
    same = "void at::native::elementwise_kernel<128, 4, at::native::gpu_kernel"
    events = [(same + "_copy", 3000, 32), ("product", 5000, 8), (same + "_fill", 4000, 320)]
    profile = SimpleNamespace(
        key_averages=lambda: [
            SimpleNamespace(key=key, self_device_time_total=us, count=count)
            for key, us, count in events
        ]
    )
    assert list(kernels_of(profile).items()) == [(same[:60], (7.0, 352)), ("product", (5.0, 8))]
    assert kernels_of(profile, steps=4)["product"] == (1.25, 2)


@pytest.mark.parametrize(
    "words,name,number",
    [
        (["x4"], "x", 4), (["low", "limit23.5"], "limit", 23.5), (["low"], "limit", None),
        (["limits"], "limit", None),
    ],
)  # fmt: skip
def test_numbers_in_words(words, name, number) -> None:
    assert number_of(words, name) == number


@pytest.mark.parametrize(
    "kernel,kind",
    [
        ("nvjet_tst_256x128_64x4_1x2_h_bz_coopA_TNT", "products"),
        ("sm90_xmma_gemm_bf16bf16_bf16f32_f32_tn_n_tilesize64x64x64", "products"),
        ("void cublasLt::splitKreduce_kernel<32, 16, int>", "sums of parts"),
        ("_backward_kernel", "adapters, back"),
        ("_norm_backward_kernel", "norms"),
        ("_norm_kernel", "norms"),
        ("_keys_kernel", "attention"),
        ("void at::native::(anonymous namespace)::multi_tensor_apply_k", "optimizer"),
        ("Memcpy DtoH (Device -> Pinned)", "copies"),
        ("who knows", "other"),
    ],
)
def test_what_a_kernel_is_for(kernel, kind) -> None:
    assert kind_of(kernel) == kind


def test_shares_add_up_and_products_have_a_speed() -> None:
    kernels = {"nvjet_a": (2.0, 4), "gemm_b": (1.0, 4), "_down_kernel": (0.5, 2)}
    found = shares_of(kernels, flops=2.1e12)
    assert found == {"products": 3.0, "adapters, forward": 0.5, "products_tflops": 700}
    assert "products_tflops" not in shares_of({"_down_kernel": (0.5, 2)}, 1.0)


def test_operations_of_frozen_layers_alone() -> None:
    model = nn.ModuleDict(
        {"up": nn.Linear(3, 5), "lora_A": nn.Linear(3, 2), "lm_head": nn.Linear(5, 7)}
    )
    assert frozen_flops(model, labelled=10, tokens=100) == 4 * (100 * 15 + 10 * 35)


def test_the_next_row_tried() -> None:
    assert next_length(best=0, failed=100_000, more=0.0) == 90_000
    assert next_length(best=60_000, failed=0, more=500.0) == 60_500
    assert next_length(best=60_000, failed=70_000, more=9000.0) == 65_000


def test_answers_of_kto_stand_beside_their_neighbours() -> None:
    found = pairs.rows(64, 100, answers=True)
    one, other = found[0], found[1]
    assert (one["label"], other["label"]) == (True, False)
    assert one["KL_completion_ids"] == other["completion_ids"] != one["completion_ids"]
    assert len(one["prompt_ids"] + one["completion_ids"]) == 64
