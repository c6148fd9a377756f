"""Batched generation equals one-by-one in fp32; memory, ends, seeds and held-out likelihood."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_chat import KNOWN, make_llama, make_tokenizer

from eval.generation.decoding import Decoding
from eval.generation.generate import end_tokens, generate, out_of_memory, prompt_ids
from eval.generation.heldout import negative_log_likelihood, perplexity, read_held_out
from eval.generation.loop_stop import LoopStop
from recipes.runner.core.fallbacks import fallbacks_taken

TEXTS = [
    "Hi", "What is the capital of France?", "I feel a bit lost today and do not know why.",
    "Why?", "My sister and I walk to the sea every Thursday, rain or not, and talk.",
]  # fmt: skip
BATCH = [[{"role": "user", "content": text}] for text in TEXTS]


def tiny_falcon() -> Any:
    """Falcon-7B's shape (one key/value head, parallel attention, rotary), untrained."""
    from transformers import FalconConfig, FalconForCausalLM

    torch.manual_seed(0)
    config = FalconConfig(
        vocab_size=420, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
        multi_query=True, parallel_attn=True, bias=False, alibi=False,
        new_decoder_architecture=False, bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    return lively(FalconForCausalLM(config))


def lively(model: Any) -> Any:
    """Fresh weights give near-uniform logits, whose argmax is rounding noise: sharpen them."""
    for weights in model.parameters():
        if weights.dim() > 1:
            weights.data.mul_(6.0)
    return model.eval()


def tiny_llama() -> Any:
    """The tiny Llama, untrained."""
    return lively(make_llama())


@pytest.mark.parametrize("make", [tiny_llama, tiny_falcon])
def test_a_batch_answers_as_one_by_one(make: Any) -> None:
    model, tokenizer = make(), make_tokenizer()
    ends = end_tokens(model, tokenizer)
    decoding = Decoding(24)
    together = generate(model, tokenizer, BATCH, decoding, ends, "x")
    alone = [generate(model, tokenizer, [row], decoding, ends, "x")[0] for row in BATCH]
    assert together == alone
    assert len({answer.text for answer in together}) > 1


def test_it_stops_at_the_end_token_and_says_so(base_dir: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base_dir).eval()
    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    batch = [[{"role": "user", "content": question}] for question in KNOWN]
    ends = end_tokens(model, tokenizer)
    answers = generate(model, tokenizer, batch, Decoding(30), ends, "x")
    assert [answer.text for answer in answers] == list(KNOWN.values())
    assert all(answer.stopped and not answer.special for answer in answers)
    cut = generate(model, tokenizer, batch[:1], Decoding(2), ends, "x")[0]
    assert not cut.stopped and cut.tokens == 2


def test_a_row_that_loops_is_ended_while_the_others_go_on() -> None:
    """Rows as a model would write them, token by token, through the real criterion."""
    tokenizer = make_tokenizer()
    looping = tokenizer.encode("You can talk to a friend about it. " * 30)
    sound = tokenizer.encode(
        "That sounds hard. What happened today, and who was there with you when it did? I would "
        "like to hear more of it, as slowly as you want, from where it began to where you are now."
    )
    ended = [*tokenizer.encode("It helps. " * 3), 1]
    length = len(looping)
    rows = [looping, (sound * 9)[:length], ended + [0] * (length - len(ended))]
    rows[1] = sound + tokenizer.encode("?") + [0] * (length - len(sound) - 1)
    stop = LoopStop(tokenizer, 3, [1])
    for step in range(1, length + 1):
        ids = torch.tensor([[5, 6, 7, *row[:step]] for row in rows])
        over = stop(ids, torch.empty(0))  # type: ignore[arg-type]
        if over[0]:
            break
    assert over.tolist() == [True, False, False]
    assert set(stop.ended_at) == {0} and step < length / 2


class Scripted:
    """Writes given token rows, and asks the stopping criteria after every step as generate does."""

    device = torch.device("cpu")

    def __init__(self, rows: list[list[int]]) -> None:
        self.rows, self.steps = rows, 0

    def generate(self, input_ids: torch.Tensor, **settings: Any) -> torch.Tensor:
        """Rows that are over are filled with padding."""
        over = torch.zeros(len(self.rows), dtype=torch.bool)
        for step in range(settings["max_new_tokens"]):
            new = [0 if over[i] else row[step] for i, row in enumerate(self.rows)]
            input_ids = torch.cat([input_ids, torch.tensor(new).unsqueeze(1)], dim=1)
            over |= settings["stopping_criteria"](input_ids, None)
            over |= input_ids[:, -1] == 1
            self.steps = step + 1
            if over.all():
                break
        return input_ids


def test_what_loops_costs_little_and_is_known_for_a_loop() -> None:
    tokenizer = make_tokenizer()
    looping = tokenizer.encode("You can talk to a friend about it. " * 40)
    ends = [*tokenizer.encode("It helps to talk to someone."), 1]
    model = Scripted([looping, ends])
    answers = generate(model, tokenizer, BATCH[:2], Decoding(len(looping)), [1], "x")
    assert model.steps < len(looping) / 2
    assert answers[0].loop and not answers[0].stopped and not answers[0].cut
    assert answers[0].tokens == model.steps and answers[0].degenerate.startswith("loops: ")
    assert answers[1].text == "It helps to talk to someone." and answers[1].stopped
    assert not answers[1].degenerate


def test_rows_that_are_over_are_dropped_and_nothing_changes(base_dir: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base_dir).eval()
    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    batch = [[{"role": "user", "content": question}] for question in [*KNOWN, *TEXTS]]
    ends, rows = end_tokens(model, tokenizer), []
    plain = model.generate

    def counted(**settings: Any) -> Any:
        rows.append(len(settings["input_ids"]))
        return plain(**settings)

    alone = [generate(model, tokenizer, [row], Decoding(60), ends, "x")[0] for row in batch]
    model.generate = counted
    assert generate(model, tokenizer, batch, Decoding(60), ends, "x") == alone
    assert len({answer.tokens for answer in alone}) > 3
    assert len(rows) > 1 and rows == sorted(rows, reverse=True) and rows[1] <= len(batch) / 2


def test_special_tokens_inside_an_answer_are_reported() -> None:
    from eval.generation.generate import _read

    tokenizer = make_tokenizer()
    user = tokenizer.convert_tokens_to_ids("<|user|>")
    ids = [*tokenizer.encode("So then", add_special_tokens=False), user, 1, user]
    answer = _read(tokenizer, ids, [1])
    assert answer.special == ("<|user|>",) and answer.stopped
    assert answer.text.startswith("So then")


def test_sampling_is_seeded_and_differs_between_batches() -> None:
    model, tokenizer = tiny_llama(), make_tokenizer()
    ends = end_tokens(model, tokenizer)
    decoding = Decoding(12, samples=2)
    first, again, other = (
        generate(model, tokenizer, BATCH, decoding, ends, name) for name in ("a", "a", "b")
    )
    assert first == again
    assert first != other
    reseeded = Decoding(12, samples=2, seed=7)
    assert generate(model, tokenizer, BATCH, reseeded, ends, "a") != first


class Small:
    """The real model behind a memory that holds ``room`` rows."""

    def __init__(self, model: Any, room: int, error: BaseException) -> None:
        self.model, self.room, self.error = model, room, error
        self.device, self.generation_config = model.device, model.generation_config

    def generate(self, input_ids: torch.Tensor, **settings: Any) -> torch.Tensor:
        """Fail above the room, as torch does."""
        if len(input_ids) > self.room:
            raise self.error
        return self.model.generate(input_ids=input_ids, **settings)


CPU_ERROR = RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ...")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), CPU_ERROR])
def test_out_of_memory_halves_and_goes_on(error: BaseException) -> None:
    model, tokenizer = tiny_llama(), make_tokenizer()
    ends = end_tokens(model, tokenizer)
    whole = generate(model, tokenizer, BATCH, Decoding(10), ends, "x")
    halved = generate(Small(model, 2, error), tokenizer, BATCH, Decoding(10), ends, "x")
    assert halved == whole
    taken = fallbacks_taken()
    assert [fallback["part"] for fallback in taken] == ["eval.generate"]
    with pytest.raises(type(error)) as caught:
        generate(Small(model, 0, error), tokenizer, BATCH, Decoding(10), ends, "x")
    assert out_of_memory(caught.value)


def test_another_error_is_not_taken_for_memory() -> None:
    model, tokenizer = tiny_llama(), make_tokenizer()
    broken = Small(model, 0, RuntimeError("shape mismatch"))
    with pytest.raises(RuntimeError, match="shape"):
        generate(broken, tokenizer, BATCH, Decoding(4), [1], "x")


CONFIG = {
    "chat_template": "tokenizer_default", "sequence_len": 256,
    "datasets": [{"type": "chat_template", "field_messages": "messages",
                  "roles_to_train": ["assistant"], "train_on_eos": "turn"}],
}  # fmt: skip
TALK = [
    {"role": "user", "content": "Which animal barks?"},
    {"role": "assistant", "content": "A dog barks."},
    {"role": "user", "content": "And which meows?"},
    {"role": "assistant", "content": "A cat meows."},
]


def test_only_assistant_tokens_count_and_the_sum_is_the_models_loss(
    base_dir: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base_dir)
    model = AutoModelForCausalLM.from_pretrained(base_dir).eval()
    path = tmp_path / "test.jsonl"
    path.write_text(json.dumps({"id": "a", "messages": TALK}) + "\n")
    rows = read_held_out(path, {**CONFIG, "base_model": str(base_dir)}, tokenizer)
    row = rows[0]
    assert list(row.ids) == prompt_ids(tokenizer, TALK)[:-1]  # less the generation prompt
    said = tokenizer.decode([label for label in row.labels if label != -100])
    assert said == "A dog barks.<|end|>A cat meows.<|end|>"
    loss = model(input_ids=torch.tensor([row.ids]), labels=torch.tensor([row.labels])).loss
    tokens = sum(label != -100 for label in row.labels)
    nats = negative_log_likelihood(model, row.ids, row.labels)
    assert nats == pytest.approx(float(loss) * tokens, rel=1e-5)
    assert perplexity([(nats, tokens)]) == pytest.approx(float(torch.exp(loss)), rel=1e-5)
