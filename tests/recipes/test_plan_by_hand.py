"""`make plan` against figures worked out by hand: steps, moments, inputs of blocks, shards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recipes.__main__ import main
from recipes.runner.core.errors import UserErrors
from recipes.runner.core.recipe import Recipe, load_recipe
from recipes.runner.estimate.activations import block_of, way_through
from recipes.runner.estimate.memory import estimate, recomputes
from recipes.runner.estimate.plan import plan_lines
from recipes.runner.models.architecture import build

RECIPE = load_recipe("mistral-7b-qlora")
LLAMA = build(
    {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 160,
        "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
        "vocab_size": 320,
    }
)  # fmt: skip
LORA = {
    "base_model": "small", "adapter": "lora", "lora_r": 8, "lora_target_linear": True,
    "bf16": True, "micro_batch_size": 2, "sequence_len": 128,
}  # fmt: skip
FSDP2 = {"fsdp_version": 2, "fsdp_config": {"reshard_after_forward": True}}


def text(config: dict[str, Any]) -> str:
    return "\n".join(plan_lines(Recipe("mine", RECIPE.path, config), config))


def of_rows(tmp_path: Path, **changes: Any) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text(200 * (json.dumps({"messages": []}) + "\n"), encoding="utf-8")
    data = {"datasets": [{"path": str(path), "type": "chat_template"}], "test_datasets": None}
    config = {**RECIPE.config, **data, "sample_packing": False, "num_epochs": 2, **changes}
    config |= {"micro_batch_size": 2, "gradient_accumulation_steps": 2}
    return text(config)


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, "100 ("),  # 200 rows x 2 / 4
        ({"val_set_size": 0.1}, "90 ("),  # 180 x 2 / 4
        ({"val_set_size": 50}, "75 ("),  # 150 x 2 / 4
        ({"num_epochs": 0.5}, "25 ("),
        ({"max_steps": 7}, "7 ("),
        ({"sample_packing": True}, "at the most: packed rows make fewer"),
    ],
)
def test_steps_of_a_local_file(tmp_path: Path, changes: dict[str, Any], steps: str) -> None:
    lines = of_rows(tmp_path, **changes).splitlines()
    (said,) = [line for line in lines if line.startswith("Steps")]
    assert steps in said


@pytest.mark.parametrize(
    ("changes", "steps"),
    [({"num_epochs": "1e1"}, "500 ("), ({"max_steps": "08"}, "8 ("), ({"max_steps": 8.0}, "8 (")],
)
def test_a_text_is_the_number_that_axolotl_makes_of_it(
    tmp_path: Path, changes: dict[str, Any], steps: str
) -> None:
    lines = of_rows(tmp_path, **changes).splitlines()
    assert [line for line in lines if line.startswith("Steps") and steps in line]


def test_data_that_is_elsewhere_is_said_to_be() -> None:
    said = text({**RECIPE.config, "datasets": [{"path": "org/data", "type": "alpaca"}]})
    assert "not on this machine as JSON lines: steps are not known" in said
    assert "Steps  " not in said


def test_the_references_passes_are_said() -> None:
    plain = {**RECIPE.config, "sample_packing": False}
    said = text({**plain, "rl": "dpo"})
    assert "2 sequences a row" in said and "2 more a row without gradients" in said
    assert "the base without its adapter" in said and "rows are padded" in said
    loop = text(load_recipe("falcon7b-dpo").config)
    assert "the SFT adapter, frozen" in loop and "pairs are packed" in loop
    assert "without gradients" not in text({**plain, "rl": "orpo"})


def test_a_reward_is_no_logits_and_a_pair_two_sequences() -> None:
    config = {**LORA, "reward_model": True}
    assert estimate(config, LLAMA).logits == 0
    assert estimate(config, LLAMA).activations == 2 * estimate(LORA, LLAMA).activations
    assert estimate({**LORA, "process_reward_model": True}, LLAMA).logits == 0
    said = text({**RECIPE.config, "sample_packing": False, "reward_model": True})
    assert "2 sequences a row" in said and "a head for rewards in place of the model's" in said


@pytest.mark.parametrize("value", [3, "x", [1], {"path": "a"}])
def test_data_sets_of_another_form_are_refused(value: Any) -> None:
    with pytest.raises(UserErrors, match=r"^datasets: "):
        text({**RECIPE.config, "datasets": value})


def test_muon_keeps_one_moment_of_a_matrix_and_none_of_a_vector() -> None:
    full = {
        **LORA,
        "adapter": None,
        "optimizer": "muon",
        "attn_implementation": "flash_attention_2",
    }
    table, head = 320 * 64, 320 * 64
    block = 64 * 64 + 2 * 64 * 32 + 64 * 64 + 3 * 64 * 160
    assert estimate(full, LLAMA).optimizer == 2 * (4 * block + 2 * (table + head))
    lora = {**LORA, "optimizer": "muon"}
    # Rank 8 of q, k, v, o and of gate, up, down; float32, one moment.
    each = 128 + 96 + 96 + 128 + 3 * 224
    assert estimate(lora, LLAMA).optimizer == 4 * 4 * 8 * each
    saved = {**lora, "lora_modules_to_save": ["lm_head"]}
    assert estimate(saved, LLAMA).optimizer - estimate(lora, LLAMA).optimizer == 2 * 2 * head


def test_fsdps_own_checkpointing_keeps_the_inputs_alone() -> None:
    fsdp = {**LORA, **FSDP2, "lora_mlp_kernel": False}
    less = {**fsdp, "fsdp_config": {"activation_checkpointing": True}}
    old = {**fsdp, "fsdp_config": {"fsdp_activation_checkpointing": True}}
    assert not recomputes(fsdp, LLAMA)
    for config in (less, old):
        assert recomputes(config, LLAMA)
        # 4 blocks x 2 x 128 tokens x 64 wide x 2 bytes.
        assert estimate(config, LLAMA).activations == 4 * 256 * 64 * 2
    assert estimate(fsdp, LLAMA).activations > 4 * 256 * 64 * 2


OURS = {**LORA, "plugins": ["plugins.llama.LlamaPlugin"]}


def test_inputs_of_fused_blocks_wait_in_host_memory() -> None:
    each = 256 * 64 * 2
    assert estimate({**OURS, "fused": {"memory": "low"}}, LLAMA).activations == 3 * each
    here = {**OURS, "fused": {"memory": "low", "offload": False}}
    assert estimate(here, LLAMA).activations == 4 * each
    assert estimate({**OURS, "fused": {"memory": "low"}}, LLAMA, False).activations == 4 * each
    plain = {**OURS, "fused": {"memory": "low", "block": "plain"}}
    assert estimate(plain, LLAMA).activations == 4 * each


def test_blocks_stay_fused_where_they_are_gathered_as_one() -> None:
    whole = block_of(OURS, LLAMA)
    zero3 = {"deepspeed": {"zero_optimization": {"stage": 3}}}
    for gathered in (FSDP2, zero3):
        assert block_of({**OURS, **gathered}, LLAMA, sharded=True) == whole
    fsdp1 = {**FSDP2, "fsdp_version": 1}
    assert way_through({**OURS, **fsdp1}, LLAMA, sharded=True) != "fused"


def test_a_name_that_matches_nothing_has_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.yaml"
    text = RECIPE.path.read_text(encoding="utf-8").replace("q_proj", "q_prj")
    path.write_text(text, encoding="utf-8")
    line = text[: text.index("lora_target_modules")].count("\n") + 1
    monkeypatch.setattr("sys.argv", ["recipes", "plan", str(path)])
    with pytest.raises(SystemExit):
        main()
    said = capsys.readouterr().err
    assert f"mine.yaml:{line}: lora_target_modules: q_prj matches no layer" in said
