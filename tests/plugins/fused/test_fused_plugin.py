"""What the plugins refuse, and which micro-batches they merge."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from axolotl.utils.dict import DictDefault
from pydantic import ValidationError

from plugins.falcon.plugin import FalconPlugin
from plugins.fused.args import FusedOptions
from plugins.fused.merge import ENOUGH, merge_factor, merge_micro_batches
from plugins.llama.plugin import LlamaPlugin
from recipes.runner.core.errors import UserError
from recipes.runner.core.fallbacks import fallbacks_taken, forget_fallbacks
from tests.plugins.llama.tiny_llama import make_llama

LLAMA = {"model_config_type": "llama"}


@pytest.mark.parametrize(
    ("plugin", "changes", "words"),
    [
        (LlamaPlugin, {"model_config_type": "gemma"}, "not gemma"),
        (LlamaPlugin, {"context_parallel_size": 2}, "context parallelism cuts"),
        (LlamaPlugin, {"rl": "dpo", "fused": {"opening_weight": 3.0}}, "compares whole answers"),
        (
            FalconPlugin,
            {
                "model_config_type": "falcon", "sample_packing": True,
                "attn_implementation": "flash_attention_2",
            },
            "keeps packed conversations apart",
        ),
    ],
)  # fmt: skip
def test_what_a_plugin_is_not_for_is_refused(plugin, changes, words) -> None:
    with pytest.raises(UserError, match=words):
        plugin().pre_model_load(DictDefault({**LLAMA, **changes}))


def test_switched_off_it_refuses_less() -> None:
    LlamaPlugin().pre_model_load(
        DictDefault({**LLAMA, "context_parallel_size": 2, "fused": {"enabled": False}})
    )


@pytest.mark.parametrize(("adapter", "dtype"), [("qlora", torch.bfloat16), (None, torch.float32)])
def test_frozen_linear_layers_stay_in_the_dtype_of_the_recipe(adapter, dtype) -> None:
    """PEFT lifts what of a quantised model is in 16 bits; what is trained itself isn't touched."""
    model = make_llama()
    cfg = DictDefault({"adapter": adapter, "torch_dtype": torch.bfloat16})
    LlamaPlugin().pre_lora_load(cfg, model)
    assert model.model.layers[0].mlp.down_proj.weight.dtype == dtype
    assert model.model.layers[0].input_layernorm.weight.dtype == torch.bfloat16


def test_a_model_on_two_devices_is_refused() -> None:
    model = make_llama()
    model.hf_device_map = {"model.layers.0": 0, "model.layers.1": 1}
    with pytest.raises(UserError, match="2 devices"):
        LlamaPlugin().post_model_load(DictDefault(LLAMA), model)


@pytest.mark.parametrize("key", ["lora_qkv_kernel", "lora_mlp_kernel"])
def test_axolotls_kernels_beside_ours_are_refused(key) -> None:
    with pytest.raises(UserError, match="same work"):
        LlamaPlugin().register({key: True})
    LlamaPlugin().register({key: True, "fused": {"enabled": False}})


@pytest.mark.parametrize(
    ("micro", "accumulation", "length", "room", "factor"),
    [
        (1, 4, 1024, 10**9, 4),
        (1, 4, 1024, 2048, 2),  # the card has room for two
        (1, 4, 1024, 1024, 1),
        (4, 8, 1024, 10**9, 2),  # as many tokens as are enough
        (1, 6, 2048, 10**9, 3),  # a divisor
        (1, 5, 2048, 10**9, 1),  # five are too many, and nothing divides them
        (4, 1, 2048, 10**9, 1),
    ],
)
def test_as_many_as_fit_and_are_enough(micro, accumulation, length, room, factor) -> None:
    found = merge_factor(micro, accumulation, length, lambda tokens: tokens <= room)
    assert found == factor
    assert micro * found * length <= max(ENOUGH, micro * length)


def test_a_merged_step_has_the_same_rows() -> None:
    import numpy as np

    from plugins.packing.order import EveryRow, Packing, Share

    lengths = np.random.default_rng(0).integers(20, 900, size=97)

    def order(micro: int, accumulation: int, ranks: int) -> EveryRow:
        return EveryRow(lengths, Packing(capacity=1024), Share(micro, accumulation, ranks), 42)

    def steps(rows: EveryRow) -> list[list[int]]:
        batches, per_step = list(rows), rows.share.micro_batches
        return [
            sorted(
                row
                for place in range(step * per_step, (step + 1) * per_step)
                if not rows.is_filler(place)
                for sequence in batches[place] for row in np.atleast_1d(sequence)
            )
            for step in range(rows.steps)
        ]  # fmt: skip

    for ranks in (1, 2):
        before, after = order(1, 4, ranks), order(4, 1, ranks)
        assert before.steps == after.steps
        assert steps(before) == steps(after)


def test_merging_changes_the_trainers_sizes_and_plans_again() -> None:
    planned = []
    args = SimpleNamespace(
        per_device_train_batch_size=1, gradient_accumulation_steps=4, train_batch_size=4
    )
    trainer = SimpleNamespace(args=args, plan_rows=lambda: planned.append(1))
    merge_micro_batches(trainer, 4)
    assert (args.per_device_train_batch_size, args.gradient_accumulation_steps) == (4, 1)
    assert planned == [1]


@pytest.mark.parametrize("changes", [{"loss": "plain"}, {"enabled": False}])
def test_openings_are_weighed_by_the_fused_loss_alone(changes) -> None:
    with pytest.raises(ValidationError, match="opening_weight needs"):
        FusedOptions(opening_weight=3.0, **changes)


@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_openings_weigh_in_training_and_not_in_evaluation(weight) -> None:
    torch.manual_seed(0)
    model, plugin = make_llama(), LlamaPlugin()
    model.lm_head.weight.requires_grad_(False)
    cfg = DictDefault({**LLAMA, "fused": {"opening_weight": weight}})
    plugin.post_model_load(cfg, model)
    trainer = SimpleNamespace(model=model, compute_metrics=None, data_collator=None)
    plugin.post_trainer_create(cfg, trainer)
    ids = torch.arange(1, 25).view(1, -1)
    trained, watched = (model.train(on)(ids, labels=ids).loss.item() for on in (True, False))
    assert (trained == pytest.approx(watched, rel=1e-6)) == (weight == 1.0)
    cfg.fused["opening_tokens"] = 2
    plugin.post_trainer_create(cfg, trainer)
    fewer = model.train()(ids, labels=ids).loss.item()
    assert (fewer == pytest.approx(trained, rel=1e-6)) == (weight == 1.0)


def test_openings_that_cannot_be_weighed_are_said() -> None:
    forget_fallbacks()
    model, plugin = make_llama(), LlamaPlugin()
    model.lm_head.weight.requires_grad_(True)
    cfg = DictDefault({**LLAMA, "fused": {"opening_weight": 3.0}})
    plugin.post_model_load(cfg, model)
    plugin.post_trainer_create(
        cfg, SimpleNamespace(model=model, compute_metrics=None, data_collator=None)
    )
    assert "llama.opening_weight" in {one["part"] for one in fallbacks_taken()}
