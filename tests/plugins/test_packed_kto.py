"""KTO over packed answers: TRL's values, gradients and training."""

from __future__ import annotations

import pytest
import torch
from trl import KTOTrainer

from plugins.fused import log_probability
from plugins.fused.backends import Choice
from plugins.fused.merge import merge_micro_batches
from plugins.preference.kto import PackedKTOTrainer, figures_of
from plugins.preference.pack import PackAnswers, asked_of, end_to_end
from tests.plugins.test_packed_preference import FUSED, family, packed, trainer_of

__all__ = ["family"]  # the fixture
ANSWERS = [
    {"prompt": "Which animal barks?", "completion": "A dog barks.", "label": True},
    {"prompt": "Which animal barks?", "completion": "A cat.", "label": False},
    {"prompt": "What do bees make?", "completion": "They make honey.", "label": True},
    {"prompt": "What do bees make?", "completion": "Green rain, no?", "label": False},
    {"prompt": "Snow?", "completion": "Snow is white.", "label": True},
    {"prompt": "Snow, again?", "completion": "It is white, and cold to the hand.", "label": True},
]
WEIGHTS = {"desirable_weight": 1.3, "undesirable_weight": 0.7}


def kto(family, folder, kind=PackedKTOTrainer, **settings):
    return trainer_of(family, folder, kind, ANSWERS, **WEIGHTS | settings)


def step(trainer, begin):
    """Loss, gradients and logged figures of the micro-batch of two from an answer on."""
    trainer.model.train()
    trainer.model.zero_grad()
    batch = trainer.data_collator([trainer.train_dataset[begin + i] for i in range(2)])
    loss = trainer.compute_loss(trainer.model, batch)
    loss.backward()
    gradients = {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}
    logs: dict[str, float] = {}
    trainer.log(logs)
    return loss.detach(), gradients, logs


@pytest.mark.parametrize("choice", [Choice(), FUSED, Choice(True, memory="low")])
def test_values_and_gradients_are_trl_s(family, tmp_path, monkeypatch, choice):
    monkeypatch.setattr(log_probability, "LOGITS", 420 * 3)  # three rows at a time
    plain = kto(family, tmp_path / "p", KTOTrainer)
    ours = packed(family, kto(family, tmp_path / "o"), choice, monkeypatch)
    for begin in (0, 4):  # of both labels, and of one alone
        want, want_gradients, want_figures = step(plain, begin)
        got, gradients, figures = step(ours, begin)
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)
        assert gradients.keys() == want_gradients.keys()
        for name, gradient in want_gradients.items():
            torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-5)
        assert max(float(g.abs().max()) for g in gradients.values()) > 1e-3
        left = {"entropy", "logits/chosen", "logits/rejected"}  # want all logits
        assert want_figures.keys() - figures.keys() == left & want_figures.keys()
        assert figures == pytest.approx({key: want_figures[key] for key in figures}, rel=1e-3)
        assert ("rewards/margins" in figures) == (begin == 0)


def test_the_divergence_counts(family, tmp_path, monkeypatch):
    """Where the policy has gone far from its reference, so that it is above 0."""
    plain = kto(family, tmp_path / "p", KTOTrainer)
    ours = packed(family, kto(family, tmp_path / "o"), FUSED, monkeypatch)
    for trainer in (plain, ours):
        torch.manual_seed(3)
        for _, parameter in sorted(trainer.model.named_parameters()):
            if parameter.requires_grad:
                parameter.data += 0.2 * torch.randn_like(parameter)
    found = [[step(trainer, begin) for begin in (0, 2, 4)] for trainer in (plain, ours)]
    assert max(figures["kl"] for _, _, figures in found[0]) > 0.01
    for want, got in zip(*found, strict=True):
        torch.testing.assert_close(got[0], want[0], rtol=1e-4, atol=1e-5)
        assert got[2]["kl"] == pytest.approx(want[2]["kl"], rel=1e-3, abs=1e-5)


def test_trained_as_by_trl_merged_or_not(family, tmp_path, monkeypatch):
    """Three micro-batches, two a step: the last step of an epoch has one."""
    sizes = {
        "gradient_accumulation_steps": 2, "num_train_epochs": 2, "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
    }  # fmt: skip
    plain = kto(family, tmp_path / "p", KTOTrainer, **sizes)
    apart, merged = (
        packed(family, kto(family, tmp_path / name, **sizes), FUSED, monkeypatch)
        for name in ("a", "m")
    )
    merge_micro_batches(merged, 2)
    assert merged.args.per_device_train_batch_size == 4 and merged.group == 2
    for trainer in (plain, apart, merged):
        trainer.train()
        assert trainer.state.global_step == 4
    want = dict(plain.model.named_parameters())
    losses = [[e["loss"] for e in t.state.log_history if "loss" in e] for t in (plain, apart)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    for trainer in (apart, merged):
        for name, parameter in trainer.model.named_parameters():
            torch.testing.assert_close(parameter, want[name], rtol=1e-3, atol=2e-4)


def test_held_out_loss_is_trl_s(family, tmp_path, monkeypatch):
    plain = kto(family, tmp_path / "p", KTOTrainer, per_device_eval_batch_size=2)
    ours = kto(family, tmp_path / "o", per_device_eval_batch_size=2)
    packed(family, ours, FUSED, monkeypatch)
    want = plain.evaluate(plain.train_dataset)
    got = ours.evaluate(ours.train_dataset)
    assert got["eval_loss"] == pytest.approx(want["eval_loss"], rel=1e-4)


def test_what_the_packed_pass_does_not_know_is_left_to_trl(family, tmp_path, monkeypatch):
    monkeypatch.setattr("plugins.fused.plugin.choose", lambda *args: Choice())
    said = []
    monkeypatch.setattr("plugins.preference.packed.note_fallback", lambda *text: said.append(text))
    trainer = kto(family, tmp_path / "o", loss_type="apo_zero_unpaired")
    trainer.pack_pairs(family.plugin.find(trainer.model))
    assert not trainer.packs and "apo_zero_unpaired" in said[0][2]
    plain = kto(family, tmp_path / "p", KTOTrainer, loss_type="apo_zero_unpaired")
    torch.testing.assert_close(step(trainer, 0)[0], step(plain, 0)[0])


def test_answers_and_the_others_as_one_row():
    padded = {
        "label": torch.tensor([True, False]),
        "input_ids": torch.tensor([[5, 6, 7], [5, 9, 0]]),
        "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
        "completion_mask": torch.tensor([[0, 1, 1], [0, 1, 0]]),
        "KL_input_ids": torch.tensor([[5, 8], [5, 7]]),
        "KL_attention_mask": torch.ones(2, 2, dtype=torch.long),
        "KL_completion_mask": torch.tensor([[0, 1], [0, 1]]),
    }
    batch = PackAnswers(lambda: padded)()
    assert next(iter(batch)) == "label"  # from which the Trainer takes a batch's size
    both = end_to_end(asked_of(batch), asked_of(batch, "KL_"))
    assert both.pop("sequences") == 4
    assert {key: value.tolist() for key, value in both.items()} == {
        "input_ids": [[5, 6, 7, 5, 9, 5, 8, 5, 7]],
        "position_ids": [[0, 1, 2, 0, 1, 0, 1, 0, 1]],
        "target_rows": [0, 1, 3, 5, 7],
        "target_ids": [6, 7, 9, 8, 7],
        "target_sequences": [0, 0, 1, 2, 3],
    }


def test_figures_of_one_side_alone():
    sums = {
        "rewards/chosen": 1.0, "rewards/rejected": 0.0, "logps/chosen": -8.0,
        "logps/rejected": 0.0, "chosen": 4.0, "rejected": 0.0, "kl": 1.0, "groups": 2.0,
    }  # fmt: skip
    assert figures_of(sums) == {"kl": 0.5, "rewards/chosen": 0.25, "logps/chosen": -2.0}
