"""DPO over packed pairs: TRL's values and gradients, by modules and by fused blocks."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from axolotl.core.trainers.dpo.args import AxolotlDPOConfig
from axolotl.core.training_args import AxolotlKTOConfig
from axolotl.utils.dict import DictDefault
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from tiny_chat import make_tokenizer
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

from plugins.falcon.plugin import FalconPlugin
from plugins.fused import log_probability
from plugins.fused.backends import Choice
from plugins.fused.merge import merge_micro_batches
from plugins.llama.plugin import LlamaPlugin
from plugins.preference.kto import PackedKTOTrainer
from plugins.preference.pack import pack_pairs
from plugins.preference.reference import go_on_from
from plugins.preference.trainer import PackedDPOTrainer
from tests.plugins.falcon.tiny_falcon import TARGETS as FALCON_TARGETS
from tests.plugins.falcon.tiny_falcon import make_falcon
from tests.plugins.llama.tiny_llama import TARGETS as LLAMA_TARGETS
from tests.plugins.llama.tiny_llama import make_llama

ROWS = [
    {"prompt": "Which animal barks?", "chosen": "A dog barks.", "rejected": "A cat."},
    {"prompt": "What do bees make?", "chosen": "They make honey.", "rejected": "Green rain, no?"},
    {"prompt": "Snow?", "chosen": "Snow is white.", "rejected": "It has eight."},
]  # fmt: skip
FUSED = Choice(block=True, memory="fast")
FAMILIES = {
    "falcon": (FalconPlugin, lambda: make_falcon(vocab_size=420), FALCON_TARGETS),
    "llama": (LlamaPlugin, lambda: make_llama(vocab_size=420), LLAMA_TARGETS),
}


@pytest.fixture(params=FAMILIES)
def family(request, tmp_path):
    """A plugin, a function that makes its base, LoRA's settings, and an SFT adapter's folder."""
    plugin, make, targets = FAMILIES[request.param]
    lora = LoraConfig(r=4, lora_alpha=8, target_modules=targets, task_type="CAUSAL_LM")
    trained = get_peft_model(make(), lora)
    torch.manual_seed(1)
    for name, parameter in trained.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    trained.save_pretrained(tmp_path / "sft")
    return SimpleNamespace(
        plugin=plugin(), make=make, lora=lora, sft=tmp_path / "sft", type=request.param
    )


def trainer_of(family, folder, kind=PackedDPOTrainer, rows=ROWS, **settings):
    """Away from its reference, where margins and gradients are no longer those of a start."""
    configs = {
        DPOTrainer: DPOConfig, KTOTrainer: KTOConfig, PackedKTOTrainer: AxolotlKTOConfig
    }  # fmt: skip
    args = configs.get(kind, AxolotlDPOConfig)(
        output_dir=str(folder), beta=0.3, report_to=[], use_cpu=True, bf16=False, max_length=48,
        logging_steps=1, save_strategy="no", **{"per_device_train_batch_size": 2, **settings},
    )  # fmt: skip
    trainer = kind(model=family.make(), args=args, train_dataset=Dataset.from_list(rows),
                   processing_class=make_tokenizer(), peft_config=family.lora)  # fmt: skip
    go_on_from(trainer, family.sft)
    torch.manual_seed(5)
    for _, parameter in sorted(trainer.model.named_parameters()):
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    return trainer


def config_of(family, rl="dpo"):
    settings = {"rl": rl, "model_config_type": family.type, "torch_dtype": torch.float32}
    return DictDefault(settings | {family.plugin.key: {"merge_micro_batches": False}})


def packed(family, trainer, choice, monkeypatch):
    """The trainer as the plugin sets it up on a machine of ``choice``."""
    monkeypatch.setattr("plugins.fused.plugin.choose", lambda *args: choice)
    family.plugin.post_model_load(config_of(family), trainer.model)
    family.plugin.post_trainer_create(config_of(family), trainer)
    assert trainer.packs
    return trainer


def step(trainer):
    """Loss, gradients and figures of one micro-batch."""
    trainer.model.train()
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(2)])
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    gradients = {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}
    return loss.detach(), gradients, {k: float(v[-1]) for k, v in trainer._metrics["train"].items()}


LOSSES = {
    "sigmoid": {},
    "ipo": {"loss_type": ["ipo"]},
    "robust": {"loss_type": ["robust"], "label_smoothing": 0.2},
    "anchored": {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.7]},
    "all": {
        "loss_type": ["sft", "robust", "ipo", "sigmoid"], "loss_weights": [0.7, 0.5, 0.2, 2.0],
        "label_smoothing": 0.1,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("choice", "loss"),
    # The blocks are the same for every loss.
    [
        (choice, loss)
        for choice in (Choice(), FUSED, Choice(True, memory="low"))
        for loss in LOSSES
        if not (choice.block and loss in ("robust", "all"))
    ],
)
def test_values_and_gradients_are_trl_s(family, tmp_path, monkeypatch, choice, loss):
    monkeypatch.setattr(log_probability, "LOGITS", 420 * 3)  # three rows at a time
    plain = trainer_of(family, tmp_path / "p", DPOTrainer, **LOSSES[loss])
    want, want_gradients, want_figures = step(plain)
    ours = packed(family, trainer_of(family, tmp_path / "o", **LOSSES[loss]), choice, monkeypatch)
    got, gradients, figures = step(ours)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    assert gradients.keys() == want_gradients.keys()
    assert all(".default." in name for name in gradients)
    for name, gradient in want_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-5)
    assert max(float(g.abs().max()) for g in gradients.values()) > 1e-3
    assert figures == pytest.approx({key: want_figures[key] for key in figures}, rel=1e-3)
    assert figures.keys() >= {"rewards/margins", "logps/chosen", "num_tokens"}
    assert abs(figures["rewards/margins"]) > 0.01


def test_without_an_sft_adapter_the_base_is_the_reference(family, tmp_path, monkeypatch):
    monkeypatch.setattr("tests.plugins.test_packed_preference.go_on_from", lambda *args: None)
    want, _, _ = step(trainer_of(family, tmp_path / "p", DPOTrainer))
    ours = trainer_of(family, tmp_path / "o")
    got, _, _ = step(packed(family, ours, FUSED, monkeypatch))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    assert abs(float(want) - 0.6931) > 1e-3


def test_fused_blocks_give_kto_trl_s_values(family, tmp_path, monkeypatch):
    rows = [{"prompt": row["prompt"], "completion": row["chosen"], "label": row is not ROWS[0]}
            for row in ROWS]  # fmt: skip
    want, want_gradients, want_figures = step(trainer_of(family, tmp_path / "p", KTOTrainer, rows))
    ours = trainer_of(family, tmp_path / "o", KTOTrainer, rows)
    monkeypatch.setattr("plugins.fused.plugin.choose", lambda *args: FUSED)
    family.plugin.post_trainer_create(config_of(family, "kto"), ours)
    decoder = getattr(family.plugin.find(ours.model), ours.model.base_model.model.base_model_prefix)
    got, gradients, figures = step(ours)
    assert decoder.fused.read, "its blocks ran fused"
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
    for name, gradient in want_gradients.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-5)
    assert figures == pytest.approx(want_figures, rel=1e-3)


def test_what_the_packed_pass_does_not_know_is_left_to_trl(family, tmp_path, monkeypatch):
    monkeypatch.setattr("plugins.fused.plugin.choose", lambda *args: Choice())
    trainer = trainer_of(family, tmp_path / "o", loss_type=["hinge"])
    family.plugin.post_trainer_create(config_of(family), trainer)
    assert not trainer.packs
    want, _, _ = step(trainer_of(family, tmp_path / "p", DPOTrainer, loss_type=["hinge"]))
    torch.testing.assert_close(step(trainer)[0], want)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda trainer, model: setattr(model.config, "alibi", True), "alibi positions"),
        (lambda trainer, model: setattr(trainer, "is_fsdp_enabled", True), "into shards"),
        (lambda trainer, model: model.lm_head.weight.requires_grad_(True), "head is trained"),
    ],
)
def test_where_packing_would_be_wrong_pairs_stay_padded(
    family, tmp_path, monkeypatch, change, words
):
    said = []
    monkeypatch.setattr("plugins.preference.packed.note_fallback", lambda *text: said.append(text))
    trainer = trainer_of(family, tmp_path / "o")
    model = family.plugin.find(trainer.model)
    change(trainer, model)
    trainer.pack_pairs(model)
    assert not trainer.packs and words in said[0][2]


def trained(family, folder, monkeypatch, micro, accumulation, merged=1, **loss):
    trainer = trainer_of(
        family, folder, gradient_accumulation_steps=accumulation, num_train_epochs=2,
        learning_rate=1e-2, rows=ROWS * 3, lr_scheduler_type="constant",
        per_device_train_batch_size=micro, **loss,
    )  # fmt: skip
    packed(family, trainer, FUSED, monkeypatch)
    if merged > 1:
        merge_micro_batches(trainer, merged)
    trainer.train()
    return trainer


@pytest.mark.parametrize("loss", ["sigmoid", "anchored"])
def test_merged_micro_batches_train_the_same(family, tmp_path, monkeypatch, loss):
    """Nine pairs, four a step: the last step of an epoch has one. Chosen answers differ in length,
    so that a mean of the micro-batches' means would not be that of the tokens."""
    one_by_one = trained(family, tmp_path / "1", monkeypatch, 1, 4, **LOSSES[loss])
    merged = trained(family, tmp_path / "4", monkeypatch, 1, 4, merged=4, **LOSSES[loss])
    assert merged.args.per_device_train_batch_size == 4
    assert one_by_one.state.global_step == merged.state.global_step == 6
    now = dict(merged.model.named_parameters())
    for name, parameter in one_by_one.model.named_parameters():
        torch.testing.assert_close(parameter, now[name], rtol=1e-3, atol=1e-4)
    losses = [
        [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        for trainer in (one_by_one, merged)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_each_pair_of_a_step_weighs_the_same(family, tmp_path, monkeypatch):
    """Three pairs in two micro-batches: TRL would give the third the weight of two."""
    sizes = {"num_train_epochs": 1, "lr_scheduler_type": "constant", "learning_rate": 1e-2}
    apart = trainer_of(family, tmp_path / "2", gradient_accumulation_steps=2, **sizes)
    whole = trainer_of(family, tmp_path / "3", per_device_train_batch_size=3, **sizes)
    for trainer in (apart, whole):
        packed(family, trainer, FUSED, monkeypatch).train()
    now = dict(whole.model.named_parameters())
    for name, parameter in apart.model.named_parameters():
        torch.testing.assert_close(parameter, now[name], rtol=1e-3, atol=1e-4)
    losses = [trainer.state.log_history[0]["loss"] for trainer in (apart, whole)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_held_out_pairs_weigh_the_same_in_a_smaller_last_batch(family, tmp_path, monkeypatch):
    trainer = packed(family, trainer_of(family, tmp_path / "o"), Choice(), monkeypatch)
    trainer.args.per_device_eval_batch_size = 2
    by_two = trainer.evaluate(trainer.train_dataset)["eval_loss"]
    trainer.args.per_device_eval_batch_size = 1
    assert trainer.evaluate(trainer.train_dataset)["eval_loss"] == pytest.approx(by_two, rel=1e-4)


def test_a_pair_is_laid_end_to_end_and_filled_up():
    padded = {
        "input_ids": torch.tensor([[5, 6, 7, 8], [5, 9, 0, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]),
        "completion_mask": torch.tensor([[0, 0, 1, 1], [0, 1, 0, 0]]),
    }
    found = pack_pairs(padded, multiple=8)
    assert next(iter(found)) == "completion_tokens"  # from which the Trainer takes a batch's size
    assert found.pop("tokens") == 6
    assert {key: value.tolist() for key, value in found.items()} == {
        "completion_tokens": [2, 1],
        "input_ids": [[5, 6, 7, 8, 5, 9, 0, 0]],
        "position_ids": [[0, 1, 2, 3, 0, 1, 0, 1]],
        "target_rows": [1, 2, 4],
        "target_ids": [7, 8, 9],
        "target_sequences": [0, 0, 1],
    }


def test_log_probabilities_and_their_gradient_in_float64(monkeypatch):
    monkeypatch.setattr(log_probability, "LOGITS", 50)
    torch.manual_seed(0)
    hidden = torch.randn(7, 6, dtype=torch.float64, requires_grad=True)
    weight, targets = torch.randn(13, 6, dtype=torch.float64), torch.randint(13, (7,))
    got = log_probability.log_probabilities(hidden, weight, targets)
    want = (hidden @ weight.T).log_softmax(1).gather(1, targets[:, None])[:, 0]
    torch.testing.assert_close(got, want)
    assert torch.autograd.gradcheck(
        lambda x: log_probability.log_probabilities(x, weight, targets), hidden
    )
