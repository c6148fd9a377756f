"""Generation with and without cache stays what transformers gives."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_falcon import LAYOUTS, make_falcon

from plugins.falcon.model import install


@pytest.mark.parametrize("layout", LAYOUTS)
def test_generation_equals_stock(layout: str) -> None:
    stock = make_falcon(layout).eval()
    ours = copy.deepcopy(stock)
    install(ours)
    ids = torch.randint(12, 128, (2, 7), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids)
    mask[0, :3] = 0  # left padding, as chat batches have it
    ids[0, :3] = 3
    for use_cache in (True, False):
        settings = {
            "attention_mask": mask,
            "max_new_tokens": 12,
            "do_sample": False,
            "use_cache": use_cache,
            "return_dict_in_generate": True,
            "output_logits": True,
        }
        want = stock.generate(ids, **settings)
        got = ours.generate(ids, **settings)
        assert torch.equal(got.sequences, want.sequences)
        assert torch.allclose(torch.stack(got.logits), torch.stack(want.logits), atol=1e-4)
