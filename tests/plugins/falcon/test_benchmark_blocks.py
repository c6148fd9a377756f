"""What the benchmark of blocks reads from its words and from a profile; its steps need a card."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from plugins.falcon.benchmark.blocks import kernels_of, number_of


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


@pytest.mark.parametrize(
    "words,name,number",
    [
        (["x4"], "x", 4), (["low", "limit23.5"], "limit", 23.5), (["low"], "limit", None),
        (["limits"], "limit", None),
    ],
)  # fmt: skip
def test_numbers_in_words(words, name, number) -> None:
    assert number_of(words, name) == number
