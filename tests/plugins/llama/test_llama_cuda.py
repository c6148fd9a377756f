"""The fused Llama block on a GPU is as exact as the modules: whole models, 4-bit and not."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_llama import KINDS, TARGETS, make_4bit_llama, make_llama

from plugins.fused.backends import Choice
from plugins.llama.model import install
from tests.plugins.fused.comparison import (
    losses_and_gradients,
    one_by_one,
    outputs_and_gradients,
    pack,
    relative,
    with_adapter,
)

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
TOLERANCE = 2e-2


def fast(memory: str = "fast", attention: str = "flash") -> Choice:
    return Choice(block=True, attention=attention, triton=True, loss=True, memory=memory)


def on_gpu(batch: dict) -> dict:
    return {key: value.cuda() for key, value in batch.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("memory", ["fast", "low"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("attention", ["flash", "grouped"])
def test_fast_model_is_as_exact_as_the_modules(kind, memory, dtype, attention) -> None:
    """Against float32: no further off than PyTorch's own modules in the same 16 bits."""
    if attention == "grouped" and kind == "falcon3":
        pytest.skip("heads of 256 fit no tile")
    exact = with_adapter(make_llama(kind), TARGETS, rank=8).train().cuda()
    model = copy.deepcopy(exact)
    for name, parameter in model.named_parameters():
        if "lora" not in name:
            parameter.data = parameter.data.to(dtype)
            dict(exact.named_parameters())[name].data.copy_(parameter.data)
    plain = copy.deepcopy(model)
    install(exact)
    install(plain)
    install(model, fast(memory, attention))
    batch = on_gpu(pack([130, 1, 61], padding=5))
    want, want_gradients = outputs_and_gradients(exact, batch)
    got, got_gradients = outputs_and_gradients(model, batch)
    with torch.autocast("cuda", dtype):
        usual, usual_gradients = outputs_and_gradients(plain, batch)
    assert relative(got, want) < max(TOLERANCE, 1.3 * relative(usual, want))
    assert got_gradients.keys() == want_gradients.keys()
    for name, gradient in want_gradients.items():
        allowed = max(TOLERANCE, 1.3 * relative(usual_gradients[name], gradient))
        assert relative(got_gradients[name], gradient) < allowed, name


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("rank", [8, 12, 136])
def test_triton_equals_pytorch_in_the_whole_model(kind, dropout, rank) -> None:
    model = with_adapter(make_llama(kind), TARGETS, rank, dropout).train().cuda()
    plain = copy.deepcopy(model)
    install(model, Choice(block=True, triton=True, memory="fast"))
    install(plain, Choice(block=True, memory="fast"))
    batch = on_gpu(pack([130, 1, 61], padding=5))
    torch.manual_seed(7)
    got, got_gradients = outputs_and_gradients(model, batch)
    torch.manual_seed(7)
    want, want_gradients = outputs_and_gradients(plain, batch)
    assert relative(got, want) < 1e-4
    for name, gradient in want_gradients.items():
        assert relative(got_gradients[name], gradient) < 1e-4, name


@pytest.mark.parametrize("memory", ["fast", "low"])
@pytest.mark.parametrize("attention", ["flash", "grouped"])
def test_packed_equals_one_by_one_in_bf16(memory, attention) -> None:
    lengths = [33, 1, 70]
    batch = on_gpu(pack(lengths, padding=9))
    model = with_adapter(make_llama("qwen2").bfloat16(), TARGETS).train().cuda()
    install(model, fast(memory, attention))
    packed, packed_gradients = losses_and_gradients(model, [batch], lengths)
    single, gradients = losses_and_gradients(model, one_by_one(batch, lengths), lengths)
    assert relative(packed, single) < TOLERANCE
    for name, gradient in gradients.items():
        assert relative(packed_gradients[name], gradient) < TOLERANCE, name


@pytest.mark.parametrize("memory", ["fast", "low"])
@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_quantised_model(tmp_path, kind, memory) -> None:
    model = make_4bit_llama(tmp_path, kind, "cuda")
    model = with_adapter(model, TARGETS, rank=16).train().cuda()
    reference = copy.deepcopy(model)
    install(reference)
    install(model, Choice(block=True, triton=True, memory=memory))
    batch = on_gpu(pack([70, 30]))
    got, got_gradients = outputs_and_gradients(model, batch)
    want, want_gradients = outputs_and_gradients(reference, batch)
    assert relative(got, want) < 1e-4
    for name, gradient in want_gradients.items():
        assert relative(got_gradients[name], gradient) < 1e-4, name


def test_fused_loss() -> None:
    model = with_adapter(make_llama("smollm2").bfloat16(), TARGETS).train().cuda()
    plain = copy.deepcopy(model)
    install(model, fast())
    install(plain, Choice(block=True, triton=True, attention="flash", memory="fast"))
    batch = on_gpu(pack([40, 1, 9], padding=4))
    losses = [candidate(**batch).loss for candidate in (model, plain)]
    assert relative(*losses) < TOLERANCE
