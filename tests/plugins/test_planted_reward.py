"""A planted reward, answers that end in a question: DPO from own samples raises their rate."""

from __future__ import annotations

import torch
from axolotl.core.trainers.dpo.args import AxolotlDPOConfig
from axolotl.utils.dict import DictDefault
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from tiny_chat import KNOWN, make_llama, make_tokenizer, teach

from plugins.llama.plugin import LlamaPlugin
from plugins.preference.reference import go_on_from
from plugins.preference.trainer import PackedDPOTrainer

ASKED, HELD_OUT = list(KNOWN)[:8], list(KNOWN)[8:]
SAMPLES = 25
LORA = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj", "up_proj", "down_proj"],
                  task_type="CAUSAL_LM")  # fmt: skip


def as_question(answer: str) -> str:
    return answer.rstrip(".") + "?"


def samples(model, tokenizer, prompts: list[str]) -> dict[str, list[str]]:
    """Answers drawn at temperature 1."""
    torch.manual_seed(7)
    found = {}
    model.eval()
    for prompt in prompts:
        ids = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True,
            return_tensors="pt", return_dict=False,
        )  # fmt: skip
        drawn = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0,
            max_new_tokens=12, num_return_sequences=SAMPLES, pad_token_id=tokenizer.pad_token_id,
        )  # fmt: skip
        found[prompt] = tokenizer.batch_decode(drawn[:, ids.shape[1] :], skip_special_tokens=True)
    return found


def rate(answers: dict[str, list[str]]) -> float:
    said = [text for texts in answers.values() for text in texts]
    return sum(text.endswith("?") for text in said) / len(said)


def test_the_rate_of_what_is_preferred_rises_on_prompts_never_asked(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)  # else the path is the card's
    tokenizer, base = make_tokenizer(), make_llama()
    either = [pair for q, a in KNOWN.items() for pair in ((q, a), (q, as_question(a)))]
    teach(base, tokenizer, either, steps=120, rate=5e-3)
    base.save_pretrained(tmp_path / "base")  # before LoRA's layers are put into it
    get_peft_model(base, LORA).save_pretrained(tmp_path / "sft")

    trained = type(base).from_pretrained(tmp_path / "base")
    before = samples(trained, tokenizer, [*ASKED, *HELD_OUT])
    began = rate({prompt: before[prompt] for prompt in HELD_OUT})
    assert 0.25 < began < 0.75
    rows = []
    for prompt in ASKED:  # of its own samples, one of each kind
        good = [text for text in before[prompt] if text.endswith("?")]
        bad = [text for text in before[prompt] if text.endswith(".")]
        rows += [{"prompt": [{"role": "user", "content": prompt}],
                  "chosen": [{"role": "assistant", "content": one}],
                  "rejected": [{"role": "assistant", "content": other}]}
                 for one, other in zip(good[:4], bad[:4], strict=False)]  # fmt: skip
    args = AxolotlDPOConfig(
        output_dir=str(tmp_path / "run"), beta=0.3, per_device_train_batch_size=4,
        num_train_epochs=3, learning_rate=2e-3, report_to=[], use_cpu=True, bf16=False,
        max_length=64, save_strategy="no", logging_steps=5,
    )  # fmt: skip
    trainer = PackedDPOTrainer(model=trained, args=args, train_dataset=Dataset.from_list(rows),
                               processing_class=tokenizer, peft_config=LORA)  # fmt: skip
    go_on_from(trainer, tmp_path / "sft")
    LlamaPlugin().post_trainer_create(
        DictDefault({"rl": "dpo", "torch_dtype": torch.float32}), trainer
    )
    assert trainer.packs
    trainer.train()
    after = samples(trainer.model, tokenizer, HELD_OUT)
    assert rate(after) > began + 0.2, (began, after)
