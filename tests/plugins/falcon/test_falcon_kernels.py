"""The Triton kernels equal the same functions in PyTorch, over odd shapes and all ranks.

On CUDA they run as compiled; without it in Triton's interpreter, in a process of its own because
Triton reads that switch at import.
"""

from __future__ import annotations

import copy
import importlib.util
import os
import subprocess
import sys

import pytest
import torch
from tiny_falcon import make_4bit_falcon, make_falcon, with_adapter
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from plugins.falcon.block import read_block
from plugins.falcon.model import install
from plugins.fused.attention import attend, attend_backward
from plugins.fused.backend import Activation, AdapterBackward, Backend, Heads
from plugins.fused.backends import Choice
from plugins.fused.packed import find_sequences
from tests.plugins.fused.comparison import outputs_and_gradients, pack

CUDA = torch.cuda.is_available()
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
HAS_TRITON = importlib.util.find_spec("triton") is not None
DEVICE = "cuda" if CUDA else "cpu"
direct = pytest.mark.skipif(
    not (HAS_TRITON and (CUDA or INTERPRETED)), reason="needs Triton on CUDA or its interpreter"
)
RANKS = [8, 24, 256] if not CUDA else [8, 16, 24, 32, 64, 128, 256]
DTYPES = [torch.float32] if not CUDA else [torch.float32, torch.bfloat16, torch.float16]
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}
SHAPES = [(1, 48), (67, 200)] if not CUDA else [(1, 48), (67, 200), (130, 4544), (1000, 999)]


@pytest.mark.skipif(CUDA or INTERPRETED or not HAS_TRITON, reason="runs directly, or no Triton")
def test_in_the_interpreter() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert "passed" in done.stdout


PLAIN = Backend()


def kernels() -> Backend:
    """Triton's; imported late, since it may be absent."""
    from plugins.fused.triton_backend import TritonBackend

    return TritonBackend()


def random(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, device=DEVICE).to(dtype)


def assert_near(got: torch.Tensor, want: torch.Tensor, dtype: torch.dtype) -> None:
    assert got.shape == want.shape
    error = (got.double() - want.double()).norm() / want.double().norm().clamp_min(1e-9)
    assert error < TOLERANCE[dtype]


@direct
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 3, 7, 33), (1, 16, 64, 24)])
def test_sums_of_parts(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    from plugins.fused.sums import sum_parts

    torch.manual_seed(0)
    partial = random(*shape)
    got = sum_parts(partial, dtype)
    assert got.dtype == dtype
    assert_near(got, partial.double().sum(1), dtype)


@direct
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_lora(dtype: torch.dtype, shape: tuple[int, int], rank: int, dropout: float) -> None:
    torch.manual_seed(0)
    x, a = random(*shape, dtype=dtype), random(rank, shape[1], dtype=dtype)
    du = random(shape[0], rank, dtype=dtype)
    # On an odd place among seeds, as half of a pass's are.
    seed = torch.tensor([5, 0x7ABCDEF1], device=DEVICE)[1]
    exact = [t.double() for t in (x, a)]
    for activation in Activation:
        if activation is Activation.SWIGLU:
            x = random(shape[0], 2 * shape[1], dtype=dtype)
            exact[0] = x.double()
        want, exact_active = PLAIN.lora_down(exact[0], exact[1], 0.5, dropout, seed, activation)
        got, active = kernels().lora_down(x, a, 0.5, dropout, seed, activation)
        assert_near(got, want, dtype)
        assert_near(active, exact_active, dtype)
    second = random(shape[0], rank, dtype=dtype), random(rank, shape[1], dtype=dtype), seed + 9
    wide = random(shape[0], shape[1] + 24, dtype=dtype)
    none, gelu, swiglu = Activation
    for activation, pair in ((none, False), (gelu, False), (swiglu, False), (none, True)):
        adapters = [AdapterBackward(du, a, seed), AdapterBackward(*second)][: 1 + pair]
        exact = [AdapterBackward(one.du.double(), one.a.double(), one.seed) for one in adapters]
        dx, entered = wide.clone()[:, 8:-16], wide.flip(0)[:, : shape[1]]
        if activation is swiglu:
            entered = x.clone()
        exact_dx = dx.double()
        want_dx, want = PLAIN.lora_backward_(exact_dx, entered.double(), exact, dropout, activation)
        got_dx, got = kernels().lora_backward_(dx, entered, adapters, dropout, activation)
        for got_a, want_a in zip(got, want, strict=True):
            assert_near(got_a, want_a, dtype)
        assert_near(got_dx, want_dx, dtype)


@direct
@pytest.mark.parametrize("rank", [24, 96])
@pytest.mark.parametrize(
    "down,back",
    [
        ("DOWN", "BACKWARD"), ("DOWN_ACTIVATED", "BACKWARD_GELU"),
        ("DOWN_ACTIVATED", "BACKWARD_SWIGLU"), ("DOWN", "BACKWARD_WIDE"),
    ],
)  # fmt: skip
def test_lora_by_every_tile(monkeypatch, rank, down, back) -> None:
    """In float32, where an error would show; in training some are for 16 bits alone."""
    from plugins.fused import lora_kernels

    monkeypatch.setattr(lora_kernels, "_tile_down", lambda *args: getattr(lora_kernels, down))
    monkeypatch.setattr(lora_kernels, "_tile_back", lambda *args: getattr(lora_kernels, back))
    test_lora(torch.float32, (67, 200), rank, 0.3)


ORDERS = [
    (Heads(1, 5, True), 8), (Heads(2, 4, True), 16), (Heads(1, 71, True), 64),
    (Heads(16, 8, True), 64), (Heads(3, 2, False), 48), (Heads(8, 1, False), 128),
]  # fmt: skip


@direct
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("heads,d", ORDERS)
def test_rotary(dtype: torch.dtype, heads: Heads, d: int) -> None:
    qkv = random(9, heads.total, d, dtype=dtype)
    before = qkv.clone()
    angle = torch.rand(9, d // 2, device=DEVICE) * 6
    want = qkv.float().clone()
    PLAIN.rotate_(want, angle.cos(), angle.sin(), heads, 1.0)
    kernels().rotate_(qkv, angle.cos(), angle.sin(), heads, 1.0)
    assert_near(qkv, want, dtype)
    assert torch.equal(heads.split(qkv)[2], heads.split(before)[2])
    kernels().rotate_(qkv, angle.cos(), angle.sin(), heads, -1.0)
    assert_near(qkv, before, dtype)


@direct
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("centered", [True, False])
def test_norm(dtype: torch.dtype, shape: tuple[int, int], centered: bool) -> None:
    torch.manual_seed(0)
    x, added = random(*shape, dtype=dtype), random(*shape, dtype=dtype)
    grad = random(shape[0], shape[1] + 40, dtype=dtype)[:, : shape[1]]
    layer = torch.nn.LayerNorm(shape[1]) if centered else LlamaRMSNorm(shape[1])
    layer.to(DEVICE, dtype)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    out, statistics = kernels().norm(x, layer, 8)
    exact_layer = copy.deepcopy(layer).double()
    want, exact_statistics = PLAIN.norm(x.double(), exact_layer, 8)
    assert out.shape == want.shape == (shape[0], shape[1] + 8)
    assert_near(out[:, : shape[1]], want[:, : shape[1]], dtype)
    want = PLAIN.norm_backward(
        grad.double(), x.double(), exact_layer, exact_statistics, added.double()
    )
    assert_near(kernels().norm_backward(grad, x, layer, statistics, added), want, dtype)


@direct
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("shape", [(3, 64), (40, 200), (129, 1000)])
def test_dequantised_as_by_bitsandbytes(dtype, kind, nested, shape) -> None:
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Params4bit

    from plugins.fused.dequantize import can_dequantize, dequantize_into

    torch.manual_seed(0)
    storage = torch.uint8 if nested else dtype
    weight = Params4bit(
        random(*shape, dtype=dtype), requires_grad=False, quant_type=kind,
        compress_statistics=nested, quant_storage=storage,
    ).to(DEVICE)  # fmt: skip
    weight = weight._quantize(DEVICE) if weight.quant_state is None else weight
    assert can_dequantize(weight)
    got = torch.full((shape[0], shape[1] + 56), 7.0, dtype=dtype, device=DEVICE)
    dequantize_into(weight, got[:, : shape[1]])
    assert torch.equal(got[:, : shape[1]], dequantize_4bit(weight.data, weight.quant_state))
    assert (got[:, shape[1] :] == 7.0).all()


@direct
@pytest.mark.parametrize("memory", ["fast", "low"])
@pytest.mark.parametrize("ranks", [{}, {"query_key_value": 16}])
def test_adapters_in_the_product_of_a_4bit_base(tmp_path, memory, ranks) -> None:
    model = make_4bit_falcon(tmp_path, DEVICE)
    model = with_adapter(model, rank=8, dropout=0.3, rank_pattern=ranks).train()
    batch = {key: value.to(DEVICE) for key, value in pack([9, 1, 4], padding=2).items()}
    results = []
    for triton in (True, False):
        install(model, Choice(block=True, triton=triton, memory=memory))
        layer = read_block(
            model.base_model.model.transformer.h[0], 0, True, True, kernels() if triton else PLAIN
        )
        assert layer.joined == (triton and not ranks)
        torch.manual_seed(7)
        results.append(outputs_and_gradients(model, batch))
    (got, got_gradients), (want, want_gradients) = results
    assert_near(got, want, torch.float32)
    for name, gradient in want_gradients.items():
        assert_near(got_gradients[name], gradient, torch.float32)


LAYOUTS = [
    (Heads(1, 3, True), 16), (Heads(1, 71, True), 64), (Heads(2, 4, True), 32),
    (Heads(2, 3, False), 16), (Heads(4, 1, False), 32),
]  # fmt: skip
if CUDA:
    LAYOUTS += [(Heads(8, 16, True), 64), (Heads(1, 5, True), 128), (Heads(4, 7, False), 128)]
SEQUENCES = [[1], [1, 1, 70], [33, 7, 2]]
if CUDA:
    SEQUENCES += [[257], [129, 7, 64, 500], [2048, 3]]


@direct
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("heads,d", LAYOUTS)
@pytest.mark.parametrize("lengths", SEQUENCES)
def test_grouped_attention(dtype, heads, d, lengths) -> None:
    torch.manual_seed(0)
    positions = torch.cat([torch.arange(n) for n in lengths])[None].to(DEVICE)
    sequences = find_sequences(1, positions.shape[1], positions, None, torch.device(DEVICE))
    qkv = random(positions.shape[1], heads.total, d, dtype=dtype)
    grad = random(positions.shape[1], heads.queries, d, dtype=dtype)
    exact = qkv.double(), heads
    want, _ = attend(*exact, sequences, "mask")
    got, saved = attend(qkv, heads, sequences, "grouped")
    assert_near(got, want, dtype)
    wanted = attend_backward(grad.double(), *exact, want, (), sequences, "mask")
    gradient = attend_backward(grad, qkv, heads, got, saved, sequences, "grouped")
    for got_part, want_part in zip(heads.split(gradient), heads.split(wanted), strict=True):
        if want_part.norm() > 1e-6:  # one token alone gives its query and key no gradient
            assert_near(got_part, want_part, dtype)
        else:
            assert got_part.float().norm() < 1e-2


@direct
@pytest.mark.parametrize("heads,d", LAYOUTS)
def test_keys_by_one_program_or_several(heads, d, monkeypatch) -> None:
    """Several programs share a tile of keys where there are few; else it writes them in place."""
    from plugins.fused import grouped_attention

    torch.manual_seed(0)
    positions = torch.cat([torch.arange(n) for n in (70, 61)])[None].to(DEVICE)
    sequences = find_sequences(1, positions.shape[1], positions, None, torch.device(DEVICE))
    qkv = random(positions.shape[1], heads.total, d)
    grad = random(positions.shape[1], heads.queries, d)
    out, saved = attend(qkv, heads, sequences, "grouped")
    results = []
    for waves in (16, 0):
        monkeypatch.setattr(grouped_attention, "WAVES", waves)
        results.append(attend_backward(grad, qkv, heads, out, saved, sequences, "grouped"))
    assert_near(*results, torch.float32)


@pytest.fixture
def grouped_calls(monkeypatch):
    """The dtype of every qkv that goes through the shared kernels' forward."""
    from plugins.fused import grouped_attention as grouped_attention

    seen, run = [], grouped_attention.forward
    monkeypatch.setattr(
        grouped_attention, "forward", lambda qkv, *args: seen.append(qkv.dtype) or run(qkv, *args)
    )
    return seen


@direct
@pytest.mark.parametrize("layout", ["multi_query", "grouped", "sequential", "own_keys"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_packed_attention_in_the_modules(layout, checkpointing, grouped_calls) -> None:
    """As with a mask; two passes wait for their backward, which checkpointing makes once more."""
    changes = {"multi_query": False} if layout == "own_keys" else {}
    made = make_falcon("multi_query" if changes else layout, head_dim=16, **changes)
    model = with_adapter(made).to(DEVICE).train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    results = []
    for attention in ("grouped", "mask"):
        install(model, Choice(attention=attention))
        model.zero_grad()
        total = torch.zeros((), device=DEVICE)
        for lengths in ([9, 1, 4], [3, 13]):
            batch = {key: value.to(DEVICE) for key, value in pack(lengths, padding=2).items()}
            real = batch["attention_mask"].bool()
            total += model(**batch, use_cache=False).logits[real].square().mean()
        total.backward()
        results.append((total, [p.grad for p in model.parameters() if p.grad is not None]))
    # Passes, layers, and again for the backward.
    assert len(grouped_calls) == 2 * 2 * (1 + checkpointing)
    (got, got_gradients), (want, want_gradients) = results
    assert_near(got, want, torch.float32)
    for gradient, wanted in zip(got_gradients, want_gradients, strict=True):
        assert_near(gradient, wanted, torch.float32)


@direct
def test_packed_attention_computes_in_autocasts_dtype(grouped_calls) -> None:
    model = with_adapter(make_falcon(head_dim=16)).to(DEVICE).train()
    install(model, Choice(attention="grouped"))
    # As a 4-bit layer does, which answers a float32 norm in float32.
    projection = model.base_model.model.transformer.h[0].self_attention.query_key_value
    projection.register_forward_hook(lambda module, args, output: output.float())
    batch = {key: value.to(DEVICE) for key, value in pack([9, 4]).items()}
    with torch.autocast(DEVICE, torch.bfloat16):
        loss = model(**batch, use_cache=False).loss
    loss.backward()
    assert grouped_calls == [torch.bfloat16] * 2
