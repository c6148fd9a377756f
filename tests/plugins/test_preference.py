"""Preference training: it begins from the SFT adapter, and a fall of the chosen is warned of."""

import json
from types import SimpleNamespace

import pytest

from datasets_prep.settings import ContaminationSettings
from datasets_prep.suites import listed_in, references_of, suite_files
from plugins.preference import rows
from plugins.preference import watch as watching
from plugins.preference.reference import go_on_from
from plugins.preference.watch import PreferenceWatch, figures
from recipes.runner.core.errors import UserError, UserErrors

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
        "reward_margin": 0.4, "reward_accuracy": 0.75, "chosen_logp": -45.0,
        "chosen_reward": pytest.approx(0.5),
    }  # fmt: skip
    assert figures({"loss": 1.0}) == {}


def test_the_picture_shows_whether_chosen_rises(tmp_path):
    from matplotlib import image

    from plugins.run_record.curves import draw_curves

    losses = [{"step": n, "loss": 0.7 - n / 20, "learning_rate": 1e-5} for n in range(1, 5)]
    points = [{"step": n, "held_out_loss": 0.7 - n / 20} for n in (0, 4)]
    draw_curves(losses, points, "plain", tmp_path / "plain.png")
    rewarded = [point | figures(logs(0.1)) for point in points]
    draw_curves(losses, rewarded, "rewards", tmp_path / "rewards.png")
    heights = [image.imread(tmp_path / name).shape[0] for name in ("plain.png", "rewards.png")]
    assert heights[1] > heights[0] + 100


def test_rows_that_nobody_made_yet_are_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "ROOT", tmp_path)
    config = {"lora_model_dir": "runs/mine", "datasets": [{"path": "data/preferences/train.jsonl"}]}
    with pytest.raises(UserError, match="there are no preference rows yet") as refused:
        rows.look_at_rows(config)
    assert "make pairs RUN=mine" in str(refused.value)
    rows.look_at_rows({"datasets": [{"path": "mine.jsonl"}]})  # a user's own file


def test_answers_of_another_run_are_said(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(rows, "ROOT", tmp_path)
    monkeypatch.setattr(rows, "send", lambda kind, **data: said.append((kind, data["text"])))
    (tmp_path / "data" / "sources").mkdir(parents=True)
    (tmp_path / "data" / "sources" / "preferences.jsonl").write_text('{"run": "other"}\n')
    config = {"lora_model_dir": "runs/mine", "datasets": [{"path": "data/preferences/train.jsonl"}]}
    rows.look_at_rows(config)
    [(kind, text)] = said
    assert kind == "warning" and "answers of other, and training goes on from mine" in text
    rows.look_at_rows({**config, "lora_model_dir": "runs/other"})
    assert len(said) == 1
    twice = {**config, "test_datasets": [{"path": "data/preferences/validation.jsonl"}]}
    rows.look_at_rows(twice)
    assert len(said) == 2


@pytest.mark.parametrize("rl", ["orpo", None])
def test_the_plugin_refuses_what_it_does_not_set_up(rl):
    from plugins.preference.plugin import PreferencePlugin

    with pytest.raises(UserError, match="goes with rl: dpo, ipo or kto alone"):
        PreferencePlugin().register({"rl": rl})


@pytest.mark.parametrize("name", ["data/mine/train.jsonl", "mine.json"])
def test_a_user_s_own_file_is_looked_at_wherever_it_lies(tmp_path, monkeypatch, name):
    monkeypatch.setattr(rows, "ROOT", tmp_path)
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    near = {"prompt": "bad day", "chosen": "Oh?", "rejected": "So?"}
    listed = [{**near, "prompt": "My tap drips."}, near]
    as_lines = "\n".join(map(json.dumps, listed))
    path.write_text(json.dumps(listed, indent=1) if path.suffix == ".json" else as_lines)
    with pytest.raises(UserErrors) as refused:
        rows.look_at_rows({"datasets": [{"path": name}], "test_datasets": [{"path": name}]})
    [error] = refused.value.errors
    assert f"{name}: row 2: is " in str(error) or f"{name}:2: is " in str(error)


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "Bad day!"}], "chosen": "Oh?", "rejected": "So?"},
        {"prompt": "bad day", "chosen": "Oh?", "rejected": "So?"},
        {"completion": [{"role": "user", "content": "bad day"},
                        {"role": "assistant", "content": "Oh?"}], "label": True},
        {"prompt": "Well?", "rejected": "No.", "chosen": {"role": "assistant", "content":
         "So on Monday my boss told me I'd have to take over the accounts, you say."}},
    ],
)  # fmt: skip
def test_a_row_near_a_suite_s_prompt_is_refused_by_line(tmp_path, row):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"prompt": "My tap drips.", "chosen": "Oh?", "rejected": "So?"}\n'
                    + json.dumps(row) + "\n")  # fmt: skip
    with pytest.raises(UserErrors) as refused:
        rows.look_at_rows({"datasets": [{"path": str(path)}]})
    [error] = refused.value.errors
    assert str(error).startswith(f"{path}:2: is ") and "coherence/" in str(error)


def test_a_row_that_teaches_a_suite_s_own_answer_is_refused(tmp_path):
    listed = listed_in(suite_files(ContaminationSettings()))
    answer, name = next(iter(references_of(listed).items()))
    path = tmp_path / "mine.jsonl"
    row = {"prompt": "Well, tell me.", "chosen": answer.upper(), "rejected": "So?"}
    path.write_text(
        json.dumps({**row, "chosen": "No.", "rejected": answer}) + "\n" + json.dumps(row)
    )
    with pytest.raises(UserErrors) as refused:
        rows.look_at_rows({"datasets": [{"path": str(path)}]})
    [error] = refused.value.errors
    assert f"{path}:2: is the answer of the suite to '{name}'" in str(error)


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


ROWS = [
    {"prompt": "Which animal barks?", "chosen": "A dog barks.", "rejected": "A cat.",
     "completion": "A dog barks.", "label": True},
    {"prompt": "What do bees make?", "chosen": "They make honey.", "rejected": "Green rain, I say.",
     "completion": "Green rain.", "label": False},
]  # fmt: skip


def trainer_of(rl, model, folder, peft_config=None):
    from datasets import Dataset
    from tiny_chat import make_tokenizer
    from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

    tokenizer = make_tokenizer()
    kind, settings = (DPOTrainer, DPOConfig) if rl == "dpo" else (KTOTrainer, KTOConfig)
    keys = ("chosen", "rejected") if rl == "dpo" else ("completion", "label")
    rows = [{"prompt": row["prompt"], **{key: row[key] for key in keys}} for row in ROWS]
    args = settings(
        output_dir=str(folder), beta=0.3, per_device_train_batch_size=2, report_to=[],
        use_cpu=True, bf16=False, max_length=64,
    )  # fmt: skip
    return kind(model=model, args=args, train_dataset=Dataset.from_list(rows),
                processing_class=tokenizer, peft_config=peft_config)  # fmt: skip


@pytest.mark.parametrize("rl", ["dpo", "kto"])
def test_values_and_gradients_are_those_of_trl_with_a_loaded_adapter(rl, tmp_path):
    """TRL's own way, for a model that comes with a trained adapter, against ours."""
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from tiny_chat import make_llama

    lora = LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"],
                      task_type="CAUSAL_LM")  # fmt: skip
    trained = get_peft_model(make_llama(), lora)
    for name, parameter in trained.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    trained.save_pretrained(tmp_path / "sft")

    tuned = PeftModel.from_pretrained(make_llama(), tmp_path / "sft", is_trainable=True)
    plain = trainer_of(rl, tuned, tmp_path / "p")
    ours = trainer_of(rl, make_llama(), tmp_path / "o", lora)
    go_on_from(ours, tmp_path / "sft")
    found = []
    for trainer in (plain, ours):
        # Away from the reference, where margins and gradients are no longer those of a start.
        torch.manual_seed(5)
        for _, parameter in sorted(trainer.model.named_parameters()):
            if parameter.requires_grad:
                parameter.data += 0.1 * torch.randn_like(parameter)
        trainer.model.train()
        batch = trainer.data_collator([trainer.train_dataset[i] for i in range(2)])
        loss = trainer.compute_loss(trainer.model, batch)
        loss.backward()
        gradients = {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}
        figures = {key: value[-1] for key, value in trainer._metrics["train"].items()}
        found.append((loss.detach(), gradients, figures, batch))
    (loss, gradients, figures, batch), (own_loss, own_gradients, own_figures, _) = found
    torch.testing.assert_close(own_loss, loss)
    assert gradients.keys() == own_gradients.keys()
    assert all(".default." in name for name in gradients)
    for name, gradient in gradients.items():
        torch.testing.assert_close(own_gradients[name], gradient)
    assert max(float(g.abs().max()) for g in gradients.values()) > 1e-3
    assert own_figures == pytest.approx(figures)
    assert abs(figures["rewards/margins"]) > 0.01
    if rl == "dpo":
        assert float(loss) == pytest.approx(by_hand(ours.model, batch), rel=1e-4)


def by_hand(model, batch, beta=0.3):
    """Rafailov et al., "Direct Preference Optimization", 2023, equation 7."""
    import torch
    from trl.trainer.utils import use_adapter

    def log_probabilities():
        with torch.no_grad():
            logits = model(batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        wanted = batch["input_ids"][:, 1:, None]
        each = logits[:, :-1].log_softmax(-1).gather(2, wanted)[..., 0]
        return (each * batch["completion_mask"][:, 1:]).sum(1)

    policy = log_probabilities()
    with use_adapter(model, "ref"):
        change = policy - log_probabilities()
    chosen, rejected = change.chunk(2)
    return float(-torch.nn.functional.logsigmoid(beta * (chosen - rejected)).mean())
