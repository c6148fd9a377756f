"""Fixtures: runs of the tiny chat model, and what every test starts from."""

from __future__ import annotations

import gc
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import absl.logging
import pytest
from tiny_chat import KEYWORDS, KNOWN, SAID, make_llama, make_tokenizer, teach

from eval.quiet import quiet_libraries
from recipes.runner.core.fallbacks import forget_fallbacks
from recipes.runner.run.finished import ADAPTER_CONFIG

quiet_libraries()
# Started in the background, the suite inherits a Ctrl-C that is ignored, and so do the programs
# that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
# absl's handler closes the stream it was made with once Axolotl sets logging up anew, be it the one
# that pytest captures; the process's own it leaves open.
absl.logging.get_absl_handler().python_handler.stream = sys.__stderr__


def pytest_configure(config: pytest.Config) -> None:
    """Hypothesis looks for what refers to a generator, and what is frozen does not show."""
    gc.disable()  # hardly anything that is imported by collecting tests is garbage
    config.addinivalue_line("filterwarnings", "ignore:It looks like `register_random`")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, so that no worker is left with one while the other has none."""
    items.sort(key=lambda item: "end_to_end" not in item.path.parts)


def pytest_collection_finish() -> None:
    """Leave all that is imported by now out of the garbage collections that tests cause."""
    gc.collect()
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True)
def no_fallbacks() -> None:
    """A process keeps what it fell back to; a test starts without what others did."""
    forget_fallbacks()


@pytest.fixture(scope="session")
def base_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base on disk."""
    folder = tmp_path_factory.mktemp("base")
    tokenizer, model = make_tokenizer(), make_llama()
    teach(model, tokenizer, list(KNOWN.items()), 150, 5e-3)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def make_run(base_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a run folder: kind ``noop``, ``worse`` (unlearns everything) or ``other`` (some)."""

    def make(kind: str, **config: Any) -> Path:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = tmp_path_factory.mktemp("runs") / kind
        model = AutoModelForCausalLM.from_pretrained(base_dir)
        tokenizer = AutoTokenizer.from_pretrained(base_dir)
        torch.manual_seed(1)
        lora = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        model = get_peft_model(model, lora)
        wrong = [(question, "no no no no no no no no") for question in KNOWN]
        if kind == "worse":
            teach(model, tokenizer, wrong, 40, 1e-2)
        if kind == "other":
            teach(model, tokenizer, wrong[:2] + list(KNOWN.items())[2:], 15, 5e-3)
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        data = folder / "data"
        data.mkdir()
        rows = [
            {"id": f"row-{i}", "messages": [{"role": "user", "content": question},
                                            {"role": "assistant", "content": answer}]}
            for i, (question, answer) in enumerate(KNOWN.items())
        ]  # fmt: skip
        (data / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        source = {
            "path": str(data / "train.jsonl"), "ds_type": "json", "type": "chat_template",
            "field_messages": "messages", "roles_to_train": ["assistant"], "train_on_eos": "turn",
        }  # fmt: skip
        record = {
            "status": "finished",
            "recipe": "tiny",
            "config": {
                "base_model": str(base_dir), "chat_template": "tokenizer_default",
                "sequence_len": 256, "datasets": [source], "lora_r": 8,
                "special_tokens": {"eos_token": "<|end|>", "pad_token": "<|pad|>"}, **config,
            },
            "evaluations": [{"step": 5, "train_loss": 2.0, "held_out_loss": 2.2},
                            {"step": 10, "train_loss": 1.5, "held_out_loss": 1.9}],
            "tokens_per_second": 100.0,
            "peak_memory_bytes": 2**30,
        }  # fmt: skip
        (folder / "run.json").write_text(json.dumps(record))
        return folder

    return make


@pytest.fixture(scope="session")
def worse_run(make_run: Callable[..., Path]) -> Path:
    """A run whose adapter unlearned what the base knows."""
    return make_run("worse")


@pytest.fixture(scope="session")
def chat_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run to talk to: what its base says stands in ``SAID``; its tuned model says other things.

    Greedy, so that a test knows the answer; 2,000 tokens, so that one can be stopped.
    """
    import torch
    from peft import LoraConfig, get_peft_model

    base, folder = tmp_path_factory.mktemp("chat-base"), tmp_path_factory.mktemp("chat-run")
    tokenizer, model = make_tokenizer(), make_llama()
    model.config.max_position_embeddings = 4096
    teach(model, tokenizer, list(SAID.items()), 120, 5e-3, endless="Sing.")
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    torch.manual_seed(1)
    lora = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    tuned = get_peft_model(model, lora)
    teach(tuned, tokenizer, [(question, "no no no") for question in KNOWN], 40, 1e-2)
    tuned.save_pretrained(folder)
    record = json.loads((folder / ADAPTER_CONFIG).read_text())
    record["base_model_name_or_path"] = str(base)
    (folder / ADAPTER_CONFIG).write_text(json.dumps(record))
    config = {
        "base_model": str(base), "chat_template": "tokenizer_default", "seed": 42,
        "special_tokens": {"eos_token": "<|end|>", "pad_token": "<|pad|>"},
        "gradio_max_new_tokens": 2000, "gradio_temperature": 0.0,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps({"recipe": "tiny", "config": config}))
    return folder


@pytest.fixture
def known_suite(tmp_path: Path) -> Path:
    """A suite file that asks what the tiny base knows."""
    path = tmp_path / "known.yaml"
    lines = [
        "name: known", "title: What it knows", "about: Twelve facts.", "max_new_tokens: 12",
        "primary: {metric: passed, margin: 0.15}",
        "gates: [{gate: non_inferiority}]", "prompts:",
    ]  # fmt: skip
    for number, (question, word) in enumerate(zip(KNOWN, KEYWORDS, strict=True)):
        lines.append(
            f"  - {{id: q{number}, tags: [t{number % 2}], turns: ['{question}'], "
            f"checks: [{{check: any_of, phrases: [{word}]}}]}}"
        )
    path.write_text("\n".join(lines) + "\n")
    return path
