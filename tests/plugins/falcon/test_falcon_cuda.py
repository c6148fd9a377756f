"""The fused path on a GPU equals plain PyTorch: attention, loss, whole model, 4-bit and not."""

from __future__ import annotations

import copy
import dataclasses

import pytest
import torch
from tiny_falcon import make_falcon, with_adapter

from plugins.falcon.model import install
from plugins.fused.attention import attend, attend_backward
from plugins.fused.backend import Heads
from plugins.fused.backends import Choice
from plugins.fused.packed import find_sequences
from tests.plugins.fused.comparison import (
    losses_and_gradients,
    one_by_one,
    outputs_and_gradients,
    pack,
    relative,
)

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
FAST = Choice(block=True, attention="grouped", triton=True, loss=True, memory="fast")
TOLERANCE = 2e-2


def on_gpu(batch: dict) -> dict:
    return {key: value.cuda() for key, value in batch.items()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("heads,groups,d", [(5, 1, 64), (71, 1, 64), (8, 2, 32), (4, 4, 128)])
@pytest.mark.parametrize("interleaved", [True, False])
@pytest.mark.parametrize("lengths", [[1], [1, 1, 300], [129, 7, 64], [257]])
def test_flash_over_sequences(dtype, heads, groups, d, interleaved, lengths) -> None:
    torch.manual_seed(0)
    batch = on_gpu(pack(lengths, padding=3))
    total = batch["input_ids"].shape[1]
    sequences = find_sequences(1, total, batch["position_ids"], batch["attention_mask"], "cuda")
    order = Heads(groups, heads // groups, interleaved)
    qkv = torch.randn(total, order.total, d, device="cuda").to(dtype)
    grad = torch.randn(total, heads, d, device="cuda").to(dtype)
    want, _ = attend(qkv.double(), order, sequences, "mask")
    got, saved = attend(qkv, order, sequences, "flash")
    assert relative(got.double(), want) < TOLERANCE
    exact = qkv.double(), order, want
    wanted = attend_backward(grad.double(), *exact, (), sequences, "mask")
    gradient = attend_backward(grad, qkv, order, got, saved, sequences, "flash")
    assert relative(gradient.double(), wanted) < TOLERANCE


@pytest.mark.parametrize("layout", ["multi_query", "grouped", "grouped_one_norm"])
@pytest.mark.parametrize("memory", ["fast", "low", "auto"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rank,attention", [(8, "grouped"), (256, "grouped"), (8, "flash")])
def test_fast_model_is_as_exact_as_the_modules(layout, memory, dtype, rank, attention) -> None:
    """Against float32: no further off than PyTorch's own modules in the same 16 bits."""
    exact = with_adapter(make_falcon(layout, head_dim=32), rank=rank).train().cuda()
    model = copy.deepcopy(exact)
    for name, parameter in model.named_parameters():
        if "lora" not in name:
            parameter.data = parameter.data.to(dtype)
            dict(exact.named_parameters())[name].data.copy_(parameter.data)
    plain = copy.deepcopy(model)
    install(exact)
    install(plain)
    install(model, dataclasses.replace(FAST, memory=memory, attention=attention))
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


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_triton_equals_pytorch_in_the_whole_model(dropout) -> None:
    model = with_adapter(make_falcon(head_dim=32), rank=16, dropout=dropout).train().cuda()
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
def test_packed_equals_one_by_one_in_bf16(memory) -> None:
    lengths = [33, 1, 70]
    batch = on_gpu(pack(lengths, padding=9))
    model = with_adapter(make_falcon(head_dim=32).bfloat16()).train().cuda()
    install(model, dataclasses.replace(FAST, memory=memory))
    packed, packed_gradients = losses_and_gradients(model, [batch], lengths)
    single, gradients = losses_and_gradients(model, one_by_one(batch, lengths), lengths)
    assert relative(packed, single) < TOLERANCE
    for name, gradient in gradients.items():
        assert relative(packed_gradients[name], gradient) < TOLERANCE, name


@pytest.mark.parametrize("num_items", [None, 31])
@pytest.mark.parametrize("dtype,tolerance", [(torch.float32, 1e-4), (torch.bfloat16, TOLERANCE)])
def test_fused_loss(num_items, dtype, tolerance) -> None:
    model = with_adapter(make_falcon(head_dim=32).to(dtype)).train().cuda()
    plain = copy.deepcopy(model)
    choice = Choice(block=True, triton=True, loss=True, memory="fast")
    install(model, choice)
    install(plain, dataclasses.replace(choice, loss=False))
    batch = on_gpu(pack([40, 1, 9], padding=4))
    results = []
    for candidate in (model, plain):
        items = {} if num_items is None else {"num_items_in_batch": torch.tensor(num_items).cuda()}
        loss = candidate(**batch, **items).loss
        loss.backward()
        results.append((loss, [p.grad for p in candidate.parameters() if p.grad is not None]))
    (got, got_gradients), (want, want_gradients) = results
    assert relative(got, want) < tolerance
    for got_gradient, want_gradient in zip(got_gradients, want_gradients, strict=True):
        assert relative(got_gradient.float(), want_gradient.float()) < tolerance


def test_a_batch_without_labels_gives_a_loss_of_zero() -> None:
    model = with_adapter(make_falcon(head_dim=32).bfloat16()).train().cuda()
    install(model, FAST)
    batch = on_gpu(pack([9]))
    batch["labels"].fill_(-100)
    loss = model(**batch, num_items_in_batch=torch.tensor(5).cuda()).loss
    loss.backward()
    assert loss.item() == 0.0


@pytest.mark.parametrize("bits", [4, 8])
def test_quantised_model(tmp_path, bits) -> None:
    from transformers import BitsAndBytesConfig, FalconForCausalLM

    from plugins.falcon import quantization

    quantization.enable()
    # Small weights: with large ones bf16 itself is further off than the two may be apart.
    changes = {"num_attention_heads": 4, "hidden_size": 256, "initializer_range": 0.05}
    make_falcon(head_dim=64, **changes).bfloat16().save_pretrained(tmp_path)
    config = (
        BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16, bnb_4bit_quant_storage=torch.bfloat16,
        )
        if bits == 4 else BitsAndBytesConfig(load_in_8bit=True)
    )  # fmt: skip
    model = FalconForCausalLM.from_pretrained(
        tmp_path, quantization_config=config, device_map={"": 0}, dtype=torch.bfloat16
    )
    model = with_adapter(model, rank=16).train().cuda()
    install(model, FAST)
    batch = on_gpu(pack([70, 30]))
    got, got_gradients = outputs_and_gradients(model, batch)
    install(model, Choice())
    with torch.autocast("cuda", torch.bfloat16):
        want, want_gradients = outputs_and_gradients(model, batch)
    # int8 layers also round their input to 8 bits; the fused block doesn't.
    tolerance = 3e-2 if bits == 4 else 1e-1
    assert relative(got.float(), want.float()) < tolerance
    for name, gradient in want_gradients.items():
        assert relative(got_gradients[name], gradient) < 2 * tolerance, name
