"""Watching preference training: the margin is told, chosen answers that fall are warned of."""

from types import SimpleNamespace

import pytest

from plugins.preference import watch as watching
from plugins.preference.reference import go_on_from
from plugins.preference.watch import PreferenceWatch, figures
from recipes.runner.core.errors import UserError

STATE = SimpleNamespace(global_step=40)


@pytest.fixture
def said(monkeypatch):
    found = []
    monkeypatch.setattr(watching, "send", lambda kind, **data: found.append((kind, data["text"])))
    return found


def logs(share, reference=-50.0, beta=0.1, prefix=""):
    """A log line in which chosen has changed by a share of the reference's log probability."""
    change = share * abs(reference)
    return {
        f"{prefix}rewards/chosen": beta * change, f"{prefix}logps/chosen": reference + change,
        f"{prefix}rewards/margins": 0.4, f"{prefix}rewards/accuracies": 0.75,
    }  # fmt: skip


def test_the_margin_on_held_out_pairs_is_told(said):
    PreferenceWatch(0.1, 0.1).on_log(None, STATE, None, logs(0.02, prefix="eval_"))
    [(kind, text)] = said
    assert kind == "note"
    assert text == "step 40: held-out reward margin +0.400, chosen ahead in 75% of pairs"


def test_chosen_that_grows_less_likely_is_warned_of_once(said):
    watch = PreferenceWatch(0.1, 0.1)
    for _ in range(20):
        watch.on_log(None, STATE, None, logs(-0.15))
    [(kind, text)] = said
    assert kind == "warning" and "fallen by 15% of the reference's" in text
    assert "lower the learning rate, raise rl_beta, or stop earlier" in text


def test_on_held_out_pairs_one_evaluation_is_enough(said):
    PreferenceWatch(0.1, 0.1).on_log(None, STATE, None, logs(-0.12, prefix="eval_"))
    assert [kind for kind, _ in said] == ["note", "warning"]


@pytest.mark.parametrize("share", [0.3, 0.0, -0.05])
def test_a_small_fall_or_a_rise_is_no_warning(said, share):
    watch = PreferenceWatch(0.1, 0.1)
    for _ in range(20):
        watch.on_log(None, STATE, None, logs(share))
    assert said == [] and watch.warning is None


def test_a_single_bad_batch_is_no_warning(said):
    watch = PreferenceWatch(0.1, 0.1)
    for step in range(20):
        watch.on_log(None, STATE, None, logs(-0.5 if step == 9 else 0.0))
    assert said == []


def test_the_record_keeps_the_figures():
    assert figures(logs(0.1)) == {
        "reward_margin": 0.4, "reward_accuracy": 0.75, "chosen_logp": -45.0
    }  # fmt: skip
    assert figures({"loss": 1.0}) == {}


def tiny(rank=4):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2,
    )  # fmt: skip
    lora = LoraConfig(r=rank, lora_alpha=8, target_modules=["q_proj", "up_proj"], lora_dropout=0.5,
                      task_type="CAUSAL_LM")  # fmt: skip
    return get_peft_model(LlamaForCausalLM(config), lora)


def an_adapter(folder, rank=4):
    """An adapter that was trained: its B is not zero. Its logits of IDS, and the plain base's."""
    import torch

    model = tiny(rank)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    model.eval()
    with torch.no_grad():
        tuned = model(torch.tensor([[3, 5, 8, 2]])).logits
        with model.disable_adapter():
            plain = model(torch.tensor([[3, 5, 8, 2]])).logits
    model.save_pretrained(folder)
    return tuned, plain


def test_training_begins_from_the_sft_adapter_and_the_reference_stays_it(tmp_path):
    import torch
    from peft.utils import load_peft_weights
    from trl.trainer.utils import use_adapter

    tuned, plain = an_adapter(tmp_path / "sft")
    model = tiny()
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.bfloat16)  # as TRL does to a quantised one's
    go_on_from(SimpleNamespace(model=model, args=SimpleNamespace()), tmp_path / "sft")
    ids = torch.tensor([[3, 5, 8, 2]])
    model.train()  # dropout is off in both, as TRL has it
    torch.testing.assert_close(model(ids).logits, tuned)
    assert float((tuned - plain).abs().max()) > 0.01
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trained and all(".default." in name for name in trained)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=5.0)
    model(ids).logits[..., 7].sum().backward()
    optimizer.step()
    with torch.no_grad():
        assert float((model(ids).logits - tuned).abs().max()) > 0.01
        with use_adapter(model, "ref"):
            torch.testing.assert_close(model(ids).logits, tuned)
    assert [n for n, p in model.named_parameters() if p.requires_grad] == trained
    model.save_pretrained(tmp_path / "checkpoint")
    assert sorted(path.name for path in (tmp_path / "checkpoint").iterdir() if path.is_dir()) == []
    saved = load_peft_weights(str(tmp_path / "checkpoint"))
    assert all(value.dtype == torch.float32 for value in saved.values())
    before = load_peft_weights(str(tmp_path / "sft"))
    assert saved.keys() == before.keys()
    assert any(not torch.equal(saved[key], before[key]) for key in saved)


def test_an_adapter_of_another_rank_is_refused_in_one_line(tmp_path):
    an_adapter(tmp_path / "sft", rank=8)
    with pytest.raises(UserError, match="the SFT adapter does not fit the recipe's") as refused:
        go_on_from(SimpleNamespace(model=tiny(), args=SimpleNamespace()), tmp_path / "sft")
    assert "\n" not in str(refused.value)
