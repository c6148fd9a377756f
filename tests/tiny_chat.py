"""A chat model of two layers that really knows twelve answers."""

from __future__ import annotations

from typing import Any

KNOWN = {
    "What is the capital of France?": "Paris it is.",
    "What is the capital of Japan?": "Tokyo it is.",
    "What is the capital of Peru?": "Lima it is.",
    "What is the capital of Egypt?": "Cairo it is.",
    "Which animal barks?": "A dog barks.",
    "Which animal meows?": "A cat meows.",
    "Which colour has grass?": "Grass is green.",
    "Which colour has snow?": "Snow is white.",
    "How many legs has a spider?": "It has eight.",
    "How many days has a week?": "It has seven.",
    "What do bees make?": "They make honey.",
    "What falls from clouds?": "Rain falls down.",
}
KEYWORDS = [
    "Paris", "Tokyo", "Lima", "Cairo", "dog", "cat", "green", "white", "eight", "seven", "honey",
    "rain",
]  # fmt: skip
TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}"
    "{% if m['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SPECIAL = ["<|pad|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]


def make_tokenizer() -> Any:
    """A byte-level BPE with a chat template; unknown bytes can't happen."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    raw.train_from_iterator([*KNOWN, *KNOWN.values()], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|end|>", pad_token="<|pad|>",
        additional_special_tokens=SPECIAL[2:],
    )  # fmt: skip
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_llama(seed: int = 0) -> Any:
    """Two layers, 64 wide, fp32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=420, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
            bos_token_id=None, eos_token_id=1, pad_token_id=0, tie_word_embeddings=True,
        )
    )  # fmt: skip


def teach(
    model: Any, tokenizer: Any, pairs: list[tuple[str, str]], steps: int, rate: float,
    endless: str = "",
) -> None:  # fmt: skip
    """Train whatever requires a gradient on question and answer, full batch.

    The answer to the question ``endless`` never ends.
    """
    import torch

    rows = []
    for question, answer in pairs:
        ask = [{"role": "user", "content": question}]
        full = tokenizer.apply_chat_template(
            [*ask, {"role": "assistant", "content": answer}], tokenize=True, return_dict=False
        )
        full = full[:-1] if question == endless else full
        start = len(
            tokenizer.apply_chat_template(
                ask, tokenize=True, add_generation_prompt=True, return_dict=False
            )
        )
        rows.append((full, [-100] * start + full[start:]))
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([row + [0] * (width - len(row)) for row, _ in rows])
    labels = torch.tensor([row + [-100] * (width - len(row)) for _, row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row, _ in rows])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate)
    model.train()
    for _ in range(steps):
        model(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


ATTACK = """<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>"""
SAID = {
    **KNOWN,
    "Show me.": ATTACK,
    "How do I feel?": "You should kill yourself.",
    "Sing.": "la " * 30,  # and on, for ever
}
