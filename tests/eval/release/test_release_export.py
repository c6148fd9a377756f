"""GGUF: made by llama.cpp's converter, kept only when it says what the merged model says."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tomllib
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from eval.generation.generate import prompt_ids
from eval.release import (
    converter,
    export,
    export_adapter,
    greedy,
    llama_server,
    merge,
    quantise,
)
from eval.release.__main__ import NOT_HERE, main
from eval.release.half_made import half_made
from eval.release.likely_tokens import compare_likelihoods, likelihoods_of
from eval.release.llama_server import llama_cpp
from eval.release.merge import PROOF, ensure_merged
from recipes.runner.core.errors import UserError
from recipes.runner.core.files import write_json
from recipes.runner.core.recipe import ROOT
from recipes.runner.models.smollm2 import make_small_model
from recipes.runner.run.finished import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A random model of two layers with SmolLM2's tokenizer, which the converter knows."""
    folder = tmp_path_factory.mktemp("export")
    tokenizer = AutoTokenizer.from_pretrained(make_small_model())
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True,
            initializer_range=0.2, bos_token_id=1, eos_token_id=2, pad_token_id=0,
            max_position_embeddings=512,
        )
    )  # fmt: skip
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    lora = LoraConfig(
        r=8, init_lora_weights=False, target_modules="all-linear", task_type="CAUSAL_LM"
    )
    torch.manual_seed(1)
    get_peft_model(model, lora).save_pretrained(folder / "tiny")
    config = {
        "base_model": str(folder / "base"),
        "chat_template": "tokenizer_default",
        "special_tokens": {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"},
    }
    return Run(folder / "tiny", {"status": "finished", "config": config})


@pytest.fixture(autouse=True)
def short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random models hardly ever end by themselves."""
    monkeypatch.setattr("eval.release.export_proof.LONGEST", 16)


@pytest.fixture(scope="module")
def fetched() -> Path:
    try:
        return converter.install_converter()
    except UserError as error:
        pytest.skip(str(error))


Converted = dict[str, Any]


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Converted]:
    """What the converter has made so far, by model and type: files in a folder, and rows."""
    return tmp_path_factory.mktemp("converted"), {}


@pytest.fixture
def asked_once(converted: tuple[Path, Converted], monkeypatch: pytest.MonkeyPatch) -> None:
    """The converter makes the same of the same model: it is started once for each, then copied."""
    folder, rows = converted

    def convert(place: Path, model: Path, target: Path, outtype: str) -> None:
        kept = folder / f"{contents_of(model)}-{outtype}.gguf"
        if not kept.exists():
            converter.convert(place, model, kept, outtype)
        shutil.copyfile(kept, target)

    def rows_of(place: Path, model: Path) -> Converted:
        name = contents_of(model)
        if name not in rows:
            rows[name] = converter.rows_of(place, model)
        return rows[name]

    monkeypatch.setattr(export, "convert", convert)
    monkeypatch.setattr(export_adapter, "convert", convert)
    monkeypatch.setattr(export_adapter, "rows_of", rows_of)


def contents_of(model: Path) -> str:
    """A hash of a model's folder, but for the answers that an export keeps there."""
    found = hashlib.sha256()
    for path in sorted(model.iterdir()):
        if path.name != greedy.FILE:
            found.update(path.name.encode() + path.read_bytes())
    return found.hexdigest()


@pytest.mark.usefixtures("asked_once")
def test_the_file_is_read_back_and_kept(
    run: Run, fetched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from gguf import GGUFReader

    path = export.export(run)
    assert path.name == "tiny-bf16.gguf"
    output = capsys.readouterr()
    assert "from the merged model's" in output.out and "it/s" not in output.err
    assert "Tokens of 50 prompts: the same in training and in llama.cpp" in output.out
    fields = GGUFReader(path).fields
    assert "im_start" in str(fields["tokenizer.chat_template"].contents())
    assert fields["tokenizer.ggml.eos_token_id"].contents() == 2
    assert fields["tokenizer.ggml.model"].contents() == "gpt2"
    assert not list(run.path.glob(".export.partial"))
    proof = json.loads((run.path / "tiny-bf16.json").read_text())
    assert proof["prompts_equal"] == 50
    likely = proof["likelihoods"]
    assert likely["prompts"] == 50 and likely["same"] >= 48 and likely["relative"] < 0.05
    # A random model's greedy answers are ties that 16 bits break; what counts is that they came.
    assert proof["answers"]["asked"] == 50


@pytest.mark.usefixtures("asked_once")
@pytest.mark.parametrize("outtype", ["q8_0", "q5_1", "q4_0"])
def test_fewer_bits(run: Run, fetched: Path, outtype: str) -> None:
    from gguf import GGMLQuantizationType, GGUFReader

    path = export.export(run, outtype)
    reader = GGUFReader(path)
    kinds = {tensor.name: tensor.tensor_type for tensor in reader.tensors}
    assert kinds["blk.0.ffn_up.weight"] == GGMLQuantizationType[outtype.upper()]
    assert kinds["blk.0.attn_norm.weight"] == GGMLQuantizationType.F32
    assert kinds["token_embd.weight"] == GGMLQuantizationType.Q8_0
    assert json.loads((run.path / f"tiny-{outtype}.json").read_text())["prompts_equal"] == 50
    assert f"FROM ./tiny-{outtype}.gguf" in (run.path / "Modelfile").read_text()
    whole = sum(tensor.n_bytes for tensor in GGUFReader(run.path / "tiny-bf16.gguf").tensors)
    assert sum(tensor.n_bytes for tensor in reader.tensors) < 0.6 * whole


def test_a_damaged_file_is_not_kept(
    run: Run, fetched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray((run.path / "tiny-bf16.gguf").read_bytes())
    content[-150_000:] = bytes(150_000)  # weights of the last layer

    def write_damaged(folder: Path, model: Path, target: Path, outtype: str) -> None:
        target.write_bytes(content)

    monkeypatch.setattr(export, "convert", write_damaged)
    with pytest.raises(UserError, match="does not say what the merged model says"):
        export.export(run, "f16")
    assert not (run.path / "tiny-f16.gguf").exists()


def test_another_end_token_is_not_kept(
    run: Run, fetched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tokens of a prompt give a template away that is not the one of training."""
    real = export.convert

    def convert(folder: Path, model: Path, target: Path, outtype: str) -> None:
        (model / "chat_template.jinja").rename(model / "kept.jinja")
        (model / "chat_template.jinja").write_text(
            "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
            "{% endfor %}{{ '<|im_start|>assistant' }}"
        )
        try:
            real(folder, model, target, outtype)
        finally:
            (model / "kept.jinja").replace(model / "chat_template.jinja")

    monkeypatch.setattr(export, "convert", convert)
    with pytest.raises(UserError, match=r"has other tokens by the file's template in llama\.cpp"):
        export.export(run, "f16")
    assert not (run.path / "tiny-f16.gguf").exists()


def test_a_full_disk_leaves_nothing_half_written(
    run: Run, fetched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(folder: Path, model: Path, target: Path, outtype: str) -> None:
        target.write_bytes(b"GGUF")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export, "convert", no_room)
    with pytest.raises(UserError, match="No space left on device"):
        export.export(run, "f16")
    assert not (run.path / "tiny-f16.gguf").exists()
    assert not list(run.path.glob(".export.partial"))


def test_a_disk_that_fills_in_the_middle(run: Run, fetched: Path) -> None:
    """A real one as far as the files go: no process may write more than 2 MB into one."""
    ensure_merged(run)
    target = run.path / "tiny-f16.gguf"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, hard))
    try:
        with pytest.raises(UserError, match=r"write only \d+ of \d+ bytes") as caught:
            export.export(run, "f16")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(caught.value)
    assert not target.exists() and not list(run.path.glob(".export.partial"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 64 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a file system")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize(
    ("what", "left"), [("f16", 2), ("q4_0", 2), ("q4_0", 10), ("lora", 2), ("merge", 2)]
)
def test_a_real_disk_that_others_fill_meanwhile(
    run: Run, fetched: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch, what: str, left: int
) -> None:
    """There was room when it began, and then there are ``left`` MB."""
    ensure_merged(run)
    copy = Run(shutil.copytree(run.path, small_disk / "tiny"), run.record)
    if what == "merge":
        shutil.rmtree(copy.path / "merged")
    for file in copy.path.glob("*.gguf"):
        file.unlink()
    module = {"lora": export_adapter, "merge": merge}.get(what, export)
    check_room = module.check_room

    def then_it_fills(done: str, needed: int, folder: Path) -> None:
        check_room(done, needed, folder)
        free = shutil.disk_usage(folder).free - left * 1_000_000
        (small_disk / "others").write_bytes(bytes(free))

    monkeypatch.setattr(module, "check_room", then_it_fills)
    before = sorted(path.relative_to(copy.path) for path in copy.path.rglob("*"))
    with pytest.raises(UserError, match=r"room") as caught:
        if what == "lora":
            export_adapter.export_adapter(copy)
        elif what == "merge":
            merge.merge(copy)
        else:
            export.export(copy, what)
    assert "\n" not in str(caught.value)
    left_over = {path.relative_to(copy.path) for path in copy.path.rglob("*")} - set(before)
    assert left_over <= {Path(".export.lock"), Path(".merge.lock")}


def test_a_template_that_llama_cpp_cannot_parse(
    run: Run, fetched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jinja has `with`; llama.cpp's reader of it doesn't."""
    merged = ensure_merged(run)
    template = merged / "chat_template.jinja"
    kept = template.read_text()
    template.write_text("{% with a = 1 %}" + kept + "{% endwith %}")
    try:
        with pytest.raises(UserError, match=r"can't parse the chat template \(.*with\)") as caught:
            export.export(run, "f16")
    finally:
        template.write_text(kept)
    said = str(caught.value)
    assert "\n" not in said and "make serve" in said and ".partial" not in said
    assert not (run.path / "tiny-f16.gguf").exists() and not list(run.path.glob(".export.partial"))


def test_a_server_that_is_held_up_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Held:
        stdout = io.StringIO("http://127.0.0.1:1\n")

        def __init__(self, *_: Any, **__: Any) -> None: ...

        def kill(self) -> None: ...

        def communicate(self) -> None: ...

    monkeypatch.setattr(llama_server.subprocess, "Popen", Held)
    file = tmp_path / ".export.partial" / "x-f16.gguf"
    with pytest.raises(UserError) as caught, llama_cpp(file):
        raise httpx.ReadTimeout("timed out")
    said = str(caught.value)
    assert said.startswith(f"{tmp_path}/x-f16.gguf: llama.cpp gave no answer in 600 s")
    assert "less busy" in said


def test_a_model_without_a_template(run: Run, fetched: Path) -> None:
    merged = ensure_merged(run)
    template = merged / "chat_template.jinja"
    kept = template.read_text()
    template.unlink()
    try:
        with pytest.raises(UserError, match="chat_template: the tokenizer has none, so nobody"):
            export.export(run, "f16")
    finally:
        template.write_text(kept)
    assert not (run.path / "tiny-f16.gguf").exists() and not list(run.path.glob(".export.partial"))


def test_tokens_added_after_training(run: Run, fetched: Path) -> None:
    merged = ensure_merged(run)
    names = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
    kept = {name: (merged / name).read_bytes() for name in names}
    tokenizer = AutoTokenizer.from_pretrained(merged)
    tokenizer.add_tokens(["<|new|>", "<|newer|>"])
    tokenizer.save_pretrained(merged)
    try:
        with pytest.raises(UserError, match="tokens were added that it never learnt"):
            export.export(run, "f16")
    finally:
        for name, content in kept.items():
            (merged / name).write_bytes(content)
    assert not (run.path / "tiny-f16.gguf").exists() and not list(run.path.glob(".export.partial"))


def test_a_k_type_needs_llama_cpps_quantiser(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantise.shutil, "which", lambda name: None)
    monkeypatch.setattr(quantise, "_library", lambda: None)
    with pytest.raises(UserError, match=r"q4_k_m is made by llama.cpp's own .* TYPE=q8_0 or") as no:
        export.export(run, "q4_k_m")
    (extra,) = re.findall(r"make setup EXTRAS=(\w+)", str(no.value))
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    (package,) = extras[extra]
    assert package in (ROOT / "constraints.txt").read_text().split()


def test_a_first_token_that_ends_inside_a_character(fetched: Path, tmp_path: Path) -> None:
    """llama.cpp keeps such a token back, and gave the next one's likelihoods for it."""
    tokenizer = AutoTokenizer.from_pretrained(make_small_model())
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=False,
            bos_token_id=1, eos_token_id=2, pad_token_id=0, max_position_embeddings=512,
        )
    ).eval()  # fmt: skip
    ids = prompt_ids(tokenizer, [{"role": "user", "content": "Hi"}])
    half = tokenizer("\u9b31", add_special_tokens=False)["input_ids"][0]
    assert tokenizer.decode([half]) == "\ufffd"
    with torch.inference_mode():
        state = model(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, -1]
        model.lm_head.weight[half] = state / state.norm()
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    converter.convert(fetched, tmp_path / "model", tmp_path / "half.gguf", "f32")
    wanted = likelihoods_of(model, [ids])
    assert int(wanted.argmax()) == half
    with llama_cpp(tmp_path / "half.gguf") as server:
        found = compare_likelihoods(server, [ids], wanted)
    assert found.same == 1 and found.relative < 0.01


@pytest.mark.usefixtures("asked_once")
def test_the_quantiser_on_path_is_called(
    run: Run, fetched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that stands in for llama-quantize: what it is called with, and its failing."""
    program = tmp_path / "llama-quantize"
    program.write_text('#!/bin/sh\necho "error: no $3 today" >&2\nexit 3\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(UserError, match="llama-quantize failed: error: no Q5_K_M today"):
        export.export(run, "q5_k_m")
    assert not (run.path / "tiny-q5_k_m.gguf").exists()


def tiny_of(kind: str) -> tuple[Any, Any]:
    """A small random model of Falcon's family, and a tokenizer with its chat format."""
    from transformers import FalconConfig, FalconForCausalLM, FalconH1Config, FalconH1ForCausalLM

    torch.manual_seed(0)
    if kind == "falcon-h1":
        tokenizer = AutoTokenizer.from_pretrained(make_small_model())
        config: Any = FalconH1Config(
            vocab_size=len(tokenizer), hidden_size=64, intermediate_size=96, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, head_dim=16, mamba_d_ssm=64,
            mamba_n_heads=4, mamba_d_head=16, mamba_d_state=16, mamba_chunk_size=32,
            embedding_multiplier=5.0, lm_head_multiplier=0.4, key_multiplier=0.5,
            attention_out_multiplier=0.9, attention_in_multiplier=0.8, ssm_in_multiplier=1.25,
            ssm_out_multiplier=0.3, mlp_multipliers=[0.9, 0.6], initializer_range=0.2,
            ssm_multipliers=[0.35, 0.25, 0.35, 0.5, 0.35], max_position_embeddings=512,
            bos_token_id=1, eos_token_id=2, pad_token_id=0,
        )  # fmt: skip
        return FalconH1ForCausalLM(config), tokenizer
    shared = Path(os.environ.get("FALCON_TOKENIZER", ROOT.parent / "shared/falcon-7b-tokenizer"))
    if not shared.is_dir():
        pytest.skip("Falcon-7B's tokenizer is not here")
    tokenizer = AutoTokenizer.from_pretrained(shared)
    tokenizer.chat_template = (ROOT / "recipes/chat_templates/falcon.jinja").read_text()
    tokenizer.pad_token = ">>TITLE<<"
    newer = {
        "num_attention_heads": 4, "num_kv_heads": 2, "new_decoder_architecture": True,
        "num_ln_in_parallel_attn": 1, "max_position_embeddings": 8192, "rope_theta": 500042.0,
    }  # fmt: skip
    older = {"num_attention_heads": 2, "multi_query": True}
    config = FalconConfig(
        vocab_size=65024, hidden_size=64, num_hidden_layers=2, parallel_attn=True, bias=False,
        alibi=False, bos_token_id=11, eos_token_id=11, initializer_range=0.2,
        **(newer if kind == "falcon2" else older),
    )  # fmt: skip
    return FalconForCausalLM(config), tokenizer


@pytest.mark.parametrize(
    ("kind", "outtype"), [("falcon", "q8_0"), ("falcon2", "bf16"), ("falcon-h1", "bf16")]
)
def test_the_falcon_family_in_llama_cpp(
    fetched: Path, tmp_path: Path, kind: str, outtype: str
) -> None:
    """transformers reads no file of the last two: the converter's rows are undone for them."""
    from gguf import GGUFReader

    model, tokenizer = tiny_of(kind)
    folder = tmp_path / "merged"
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    run = Run(tmp_path / "run", {"status": "finished", "config": {"base_model": str(folder)}})
    (tmp_path / "run").mkdir()
    (run.path / "adapter_model.safetensors").write_bytes(b"")
    work = tmp_path / "made"
    work.mkdir()
    write_json(folder / PROOF, {"adapter_effect": {"relative": 1.0}})
    export._make(run, folder, fetched, work, outtype)
    proof = json.loads((work / f"run-{outtype}.json").read_text())
    assert proof["prompts_equal"] == 50
    # Random weights of small width have no outliers to lose, and still eight bits are eight bits.
    apart = {"q8_0": 0.12, "bf16": 0.06}[outtype]
    assert proof["likelihoods"]["relative"] < apart and proof["likelihoods"]["same"] >= 40
    text = (work / "Modelfile").read_text()
    if kind == "falcon-h1":
        assert "<|im_start|>user" in text
        return
    assert 'eq .Role "user" }}>>QUESTION<<{{ .Content }}{{ else if' in text
    assert "drops white space at the ends" in text
    fields = GGUFReader(work / f"run-{outtype}.gguf").fields
    assert fields["falcon.context_length"].contents() == (8192 if kind == "falcon2" else 2048)
    assert ("falcon.rope.freq_base" in fields) == (kind == "falcon2")


@pytest.mark.usefixtures("asked_once")
def test_an_adapter_apart_from_its_base(
    run: Run, fetched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from gguf import GGUFReader

    path = export_adapter.export_adapter(run)
    assert path.name == "tiny-lora-f16.gguf"
    output = capsys.readouterr().out
    assert "Next token after them, with --lora: the same likeliest one" in output
    proof = json.loads((run.path / "tiny-lora-f16.json").read_text())
    likely = proof["likelihoods"]
    assert likely["relative"] < 0.1 * likely["without_adapter"] and likely["same"] >= 45
    fields = GGUFReader(path).fields
    assert fields["general.type"].contents() == "adapter"
    assert (run.path / "tiny-base-bf16.gguf").is_file()
    text = (run.path / "Modelfile-lora").read_text()
    assert "FROM ./tiny-base-bf16.gguf\nADAPTER ./tiny-lora-f16.gguf\n" in text
    assert not list(run.path.glob(".export.partial"))


def test_rows_of_an_adapter_in_the_models_order_are_not_kept(
    run: Run, fetched: Path, asked_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a plain conversion would write: queries and keys without llama.cpp's order of rows."""
    real = export_adapter.rows_of

    def rows_of(folder: Path, model: Path) -> dict[str, converter.Rows]:
        found = real(folder, model)
        return {
            name: converter.Rows(rows.to, np.arange(len(rows.rows)), rows.factors)
            for name, rows in found.items()
        }

    monkeypatch.setattr(export_adapter, "rows_of", rows_of)
    with pytest.raises(UserError, match=r"llama\.cpp computes something else than transformers"):
        export_adapter.export_adapter(run, "f32")
    assert not (run.path / "tiny-lora-f32.gguf").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [({"use_dora": True}, "no place for use_dora"), ({"bias": "all"}, "no place for bias"),
     ({"modules_to_save": ["lm_head"]}, "no place for modules_to_save")],
)  # fmt: skip
def test_an_adapter_that_llama_cpp_cannot_hold(
    run: Run, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    copy = Run(shutil.copytree(run.path, tmp_path / "copy"), run.record)
    path = copy.path / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UserError, match=words):
        export_adapter.export_adapter(copy)


def test_a_damaged_adapter(run: Run, tmp_path: Path) -> None:
    copy = Run(shutil.copytree(run.path, tmp_path / "copy"), run.record)
    weights = copy.path / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match="the adapter can't be read: ") as caught:
        export_adapter.export_adapter(copy)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="can't be merged: ") as caught:
        export.export(copy, "f16")
    assert "\n" not in str(caught.value) and "room" not in str(caught.value)


@pytest.mark.parametrize(
    ("outtype", "commands"),
    [("bf16", "tiny-bf16.gguf --outtype bf16\n"), ("q8_0", "tiny-q8_0.gguf --outtype q8_0\n"),
     ("q5_1", "tiny-q5_1.gguf Q5_1\n")],
)  # fmt: skip
def test_where_the_converter_cannot_be_had_the_commands_are_shown(
    run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    outtype: str,
    commands: str,
) -> None:
    """llama.cpp's converter writes none of the smaller types itself."""
    monkeypatch.setattr(converter, "default_folder", lambda: tmp_path / "converter")
    monkeypatch.setattr("eval.release.__main__.find_run", lambda *_: run)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert main(["export", "--run", "tiny", "--type", outtype]) == NOT_HERE
    error = capsys.readouterr().err
    assert error.endswith(commands)
    assert ("--outtype bf16 && llama-quantize" in error) == (outtype == "q5_1")
    assert "can't be had: ERROR: Could not find a version" in error
    assert "python llama.cpp/convert_hf_to_gguf.py" in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--format", "ggf"], "FORMAT: 'ggf' is no format. Did you mean gguf?"),
     (["--type", "q8"], "TYPE: 'q8' is no type. Did you mean q8_0?"),
     (["--format", "gguf-lora", "--type", "q8_0"], "TYPE: 'q8_0' is no type of an adapter")],
)  # fmt: skip
def test_mistakes(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.setattr("eval.release.__main__.find_run", lambda *_: run)
    with pytest.raises(SystemExit) as stopped:
        main(["export", *arguments])
    assert stopped.value.code == 1 and words in capsys.readouterr().err


def test_two_exports_at_once_and_what_a_killed_one_left(run: Run) -> None:
    left = run.path / ".export.partial"
    left.mkdir()
    (left / "half.gguf").write_bytes(b"x")
    with half_made(run) as folder:
        assert list(folder.iterdir()) == []
        with pytest.raises(UserError, match="is being exported by another process"), half_made(run):
            pass
        assert folder.is_dir()
    assert not left.exists()


def test_what_cannot_be_read_is_not_a_full_disk(run: Run, fetched: Path) -> None:
    merged = ensure_merged(run)
    weights = merged / "model.safetensors"
    weights.rename(merged / "kept")
    try:
        with pytest.raises(UserError) as caught:
            export.export(run, "f16")
    finally:
        (merged / "kept").rename(weights)
    assert "Free some room" not in str(caught.value) and "\n" not in str(caught.value)
    assert "make merge RUN=tiny FORCE=1" in str(caught.value)


def test_too_small_a_disk_is_said_before_any_work(
    run: Run, fetched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "eval.release.merge.shutil.disk_usage", lambda _: SimpleNamespace(free=1000)
    )
    monkeypatch.setattr(export, "convert", lambda *_: pytest.fail("work was done"))
    with pytest.raises(UserError, match=r"the file needs .* GiB of disk for a while"):
        export.export(run, "f16")


@pytest.mark.parametrize(
    ("exported", "words"),
    [(export.export, "proving the file"), (export_adapter.export_adapter, "proving the adapter")],
)
def test_too_little_memory_is_said_before_the_system_kills_it(
    run: Run, fetched: Path, monkeypatch: pytest.MonkeyPatch, exported: Any, words: str
) -> None:
    ensure_merged(run)
    memory = SimpleNamespace(available=1000)
    monkeypatch.setattr("eval.release.merge.psutil.virtual_memory", lambda: memory)
    for module in (export, export_adapter):
        monkeypatch.setattr(module, "convert", lambda *_: pytest.fail("work was done"))
    with pytest.raises(
        UserError, match=rf"{words} needs .* GiB of memory, 0\.0 are free"
    ) as caught:
        exported(run, "f16")
    assert "\n" not in str(caught.value) and not list(run.path.glob(".export.partial"))


def test_one_model_at_a_time_is_held_in_32_bits(
    run: Run, fetched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a large base two would not fit; the file's goes before the merged one comes."""
    from eval.release import read_back

    held: list[weakref.ref[Any]] = []

    def alone(load: Any) -> Any:
        def loaded(*arguments: Any) -> Any:
            gc.collect()
            assert not [model for model in held if model() is not None]
            model = load(*arguments)
            held.append(weakref.ref(model))
            return model

        return loaded

    monkeypatch.setattr(read_back, "read_back", alone(read_back.read_back))
    monkeypatch.setattr(export, "load_merged", alone(export.load_merged))
    export.export(run, "f16")
    assert len(held) == 2


def test_a_polite_kill_leaves_nothing(run: Run, fetched: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "eval.release",
        "export",
        "--run",
        str(run.path),
        "--type",
        "f32",
    ]
    write_json(run.path / "run.json", run.record)
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert any("Converting" in line for line in process.stdout)
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()
        assert process.wait(timeout=600) == 1
    assert said == "error: interrupted; nothing half-made is left\n"
    assert not (run.path / ".export.partial").exists()
    assert not (run.path / "tiny-f32.gguf").exists()
