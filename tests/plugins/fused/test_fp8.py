"""Frozen products in fp8 on the way back: numbers, kernels, whole models, who may have it.

Kernels run as compiled on CUDA, without it in Triton's interpreter, in a process of its own. The
card's product itself is tested on CUDA only; without it the same numbers are multiplied in float32.
"""

from __future__ import annotations

import copy
import importlib.util
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from plugins.falcon import model as falcon
from plugins.fused import backends, fp8
from plugins.fused.args import FusedOptions
from plugins.fused.backend import Backend, full_weight
from plugins.fused.backends import Choice, Machine, choose, chosen
from plugins.fused.fp8 import FP8, Rows, multiply, quantize_rows, weight_scale, why_not_fp8
from plugins.fused.fp8_backend import Fp8Backend
from plugins.fused.projection import Group, Projection
from plugins.llama import model as llama
from recipes.runner.core.fallbacks import fallbacks_taken, forget_fallbacks
from tests.plugins.falcon.tiny_falcon import TARGETS as FALCON_TARGETS
from tests.plugins.falcon.tiny_falcon import make_falcon
from tests.plugins.fused.comparison import outputs_and_gradients, pack, relative, with_adapter
from tests.plugins.llama.tiny_llama import TARGETS as LLAMA_TARGETS
from tests.plugins.llama.tiny_llama import make_llama

CUDA = torch.cuda.is_available()
DEVICE = "cuda" if CUDA else "cpu"
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
HAS_TRITON = importlib.util.find_spec("triton") is not None
kernels_run = pytest.mark.skipif(
    not (HAS_TRITON and (CUDA or INTERPRETED)), reason="needs Triton on CUDA or its interpreter"
)
on_card = pytest.mark.skipif(
    not CUDA or torch.cuda.get_device_capability() < (8, 9), reason="needs a card with fp8"
)
STEP = 2.0**-4  # half the distance of two e4m3 numbers, relative, at most


@pytest.mark.skipif(CUDA or INTERPRETED or not HAS_TRITON, reason="runs directly, or no Triton")
def test_in_the_interpreter() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "kernel", __file__],
        env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert "passed" in done.stdout


def rows_of(tokens: int, width: int) -> torch.Tensor:
    """Activations whose rows differ 10,000 times in size, some channels 30 times, one row zero."""
    torch.manual_seed(0)
    x = (
        torch.randn(tokens, width, device=DEVICE)
        * torch.logspace(-4, 4, tokens, device=DEVICE)[:, None]
    )
    x[:, 3::17] *= 30
    x[tokens // 2] = 0
    return x


def quantised(out: int, width: int, nested: bool = True, scale: float = 0.02) -> nn.Module:
    """A linear layer of 4 bits."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    torch.manual_seed(1)
    layer = Linear4bit(width, out, bias=False, quant_type="nf4", device="meta")
    weight = Params4bit(
        torch.randn(out, width) * scale, requires_grad=False, quant_type="nf4",
        compress_statistics=nested, module=layer,
    )  # fmt: skip
    layer.weight = weight.to(DEVICE)
    return layer


def test_every_number_of_a_row_is_off_by_a_sixteenth_at_most() -> None:
    x = rows_of(9, 200)
    rows = quantize_rows(x)
    assert rows.values.dtype == FP8 and rows.scale.shape == (9, 1)
    back = rows.values.float() * rows.scale
    normal = x.abs() > rows.scale * 2.0**-6
    assert ((back - x).abs()[normal] <= x.abs()[normal] * STEP * 1.001).all()
    assert torch.equal(back[4], torch.zeros_like(back[4]))
    assert torch.allclose(back.abs().amax(1), x.abs().amax(1))


def test_what_is_no_number_stays_none() -> None:
    x = rows_of(3, 32)
    x[0, 5], x[2, 1] = float("nan"), float("inf")
    back = quantize_rows(x)
    finite = torch.isfinite(back.values.float() * back.scale).all(1)
    assert finite.tolist() == [False, True, False]


@pytest.mark.parametrize("nested", [True, False])
def test_the_scale_comes_from_the_blocks_alone(nested) -> None:
    layers = [quantised(48, 64, nested), quantised(16, 64, nested, scale=0.5)]
    scale = weight_scale(layers)
    largest = max(full_weight(one.weight, one, torch.float32).abs().max().item() for one in layers)
    value = scale.columns[0, 0].item()
    assert 448 * value >= largest * 0.999 > 224 * value * 0.999
    assert torch.log2(scale.inverse).item() % 1 == 0 and scale.inverse.item() == 1 / value
    assert scale.columns.shape == (1, 64) and (scale.columns == value).all()


def test_forward_is_as_ever_and_back_in_fp8() -> None:
    dtype = torch.bfloat16 if CUDA else torch.float32
    group = Group(tuple(Projection(quantised(out, 64)) for out in (32, 16)))
    product, plain = Fp8Backend().product(group, dtype), Backend().product(group, dtype)
    x, bias = torch.randn(5, 64, device=DEVICE).to(dtype), torch.randn(48, device=DEVICE).to(dtype)
    u, b = torch.randn(5, 4, device=DEVICE).to(dtype), torch.randn(48, 4, device=DEVICE).to(dtype)
    assert torch.equal(product.forward(x, bias), plain.forward(x, bias))
    assert torch.equal(product.with_adapters(x, u, b, None), plain.with_adapters(x, u, b, None))
    y = torch.randn(5, 48, device=DEVICE).to(dtype)
    assert torch.equal(product.add_(y.clone(), x), plain.add_(y.clone(), x))
    dout = torch.randn(5, 48, device=DEVICE).to(dtype)
    back = product.backward(Fp8Backend().gradient(dout)).float()
    want = plain.backward(dout).float()
    assert 0.01 < relative(back, want) < 0.06
    dx = torch.randn(5, 64, device=DEVICE).to(dtype)
    added = product.add_backward_(dx.clone(), Fp8Backend().gradient(dout)).float()
    assert relative(added, dx.float() + back) < (0.01 if CUDA else 1e-6)


@pytest.mark.parametrize("tokens,width,out", [(1, 48, 64), (67, 96, 208), (130, 32, 4544)])
def test_a_product_is_as_exact_as_its_operands(tokens, width, out) -> None:
    """Outlier channels of 30 times the size included, and rows of any size."""
    dout, layer = rows_of(tokens, out), quantised(out, width)
    dtype = torch.bfloat16 if CUDA else torch.float32
    got = Fp8Backend().product(Group((Projection(layer),)), dtype).backward(quantize_rows(dout))
    want = dout.double() @ full_weight(layer.weight, layer, torch.float32).double()
    by_row = (got.double() - want).norm(dim=1) / want.norm(dim=1).clamp_min(1e-30)
    assert by_row.max() < 0.1
    assert tokens == 1 or by_row.mean() < 0.05


def agree(got: torch.Tensor, want: torch.Tensor) -> None:
    """To the bit on CUDA, but for sums of a scale in another order. The interpreter loses the carry
    where rounding reaches the next power of two."""
    off = got.view(torch.uint8) != want.view(torch.uint8)
    assert off.float().mean() < (0.001 if CUDA else 0.08)
    a, b = got.float()[off], want.float()[off]
    assert ((a - b).abs() <= (0.126 if CUDA else 0.501) * b.abs() + 2.0**-9).all()


@kernels_run
@pytest.mark.parametrize("tokens,width", [(1, 48), (9, 200), (5, 4544), (3, 9000), (2, 18176)])
def test_kernel_of_rows(tokens, width) -> None:
    from plugins.fused import fp8_kernels

    x = rows_of(tokens, width + 8)[:, :width]
    got, want = fp8_kernels.quantize_rows(x), quantize_rows(x)
    assert torch.allclose(got.scale, want.scale)
    agree(got.values, want.values)


@kernels_run
@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize(
    "out,width", [(32, 64), (144, 192), (16, 1024), (4672, 4544)][: 4 if CUDA else 3]
)
def test_kernel_of_weights(nested, out, width) -> None:
    from plugins.fused import fp8_kernels

    layer = quantised(out, width, nested)
    inverse = weight_scale([layer]).inverse
    want = (full_weight(layer.weight, layer, torch.float32) * inverse).to(FP8).T.contiguous()
    room = torch.zeros((width, out + 16), device=DEVICE).to(FP8)
    fp8_kernels.fill_flipped(room[:, :out], layer.weight, inverse)
    agree(room[:, :out].contiguous(), want)
    assert not room[:, out:].float().any()


def quantise_all(model: nn.Module) -> nn.Module:
    """Every linear layer but the head in nf4 with double quantisation, where the model lies."""
    from bitsandbytes.nn import Linear4bit, Params4bit

    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if not isinstance(child, nn.Linear) or name == "lm_head":
                continue
            small = Linear4bit(
                child.in_features, child.out_features, child.bias is not None, device="meta",
                compute_dtype=child.weight.dtype, quant_type="nf4",
            )  # fmt: skip
            small.weight = Params4bit(
                child.weight.data, requires_grad=False, quant_type="nf4",
                compress_statistics=True, module=small,
            ).to(child.weight.device)  # fmt: skip
            small.bias = child.bias
            setattr(parent, name, small)
    model.is_loaded_in_4bit = True
    return model


READERS = {
    "input_layernorm": ("query_key_value", "dense_h_to_4h", "q_proj", "k_proj", "v_proj"),
    "ln_attn": ("query_key_value",),
    "ln_mlp": ("dense_h_to_4h",),
    "post_attention_layernorm": ("gate_proj", "up_proj"),
}


def give_outliers(block: nn.Module) -> None:
    """Make some channels of what the norms put out 30 times larger, as in real models: the layers
    that read them weigh them less, and the block's function stays."""
    for norm, readers in READERS.items():
        if not hasattr(block, norm):
            continue
        for parameter in getattr(block, norm).parameters():
            parameter.data[7::61] *= 30
        for name, layer in block.named_modules():
            if name.split(".")[-1] in readers:
                layer.weight.data[:, 7::61] /= 30


def make(family: str, rank: int = 8):
    """A model of two blocks over nf4, its adapter not zero, and the module that installs."""
    if family.startswith("falcon"):
        layout = "grouped" if family == "falcon-grouped" else "multi_query"
        made = make_falcon(layout, head_dim=32, initializer_range=0.05)
        targets, module = FALCON_TARGETS, falcon
    else:
        made = make_llama(family, hidden_size=128, intermediate_size=256, initializer_range=0.05)
        targets, module = LLAMA_TARGETS, llama
    for layer in getattr(made, made.base_model_prefix).children():
        for block in layer if isinstance(layer, nn.ModuleList) else ():
            give_outliers(block)
    model = with_adapter(quantise_all(made.to(DEVICE)), targets, rank)
    return model.to(DEVICE).train(), module


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return torch.cosine_similarity(a.flatten().double(), b.flatten().double(), dim=0).item()


@pytest.mark.parametrize("family", ["falcon", "falcon-grouped", "llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("memory", ["fast", "low"])
def test_a_whole_model_trains_as_in_float32(family, memory) -> None:
    """Outlier channels in the norms; gradients of the adapters within a cosine of 0.99."""
    model, module = make(family)
    exact = copy.deepcopy(model)
    module.install(exact)
    choice = Choice(block=True, memory=memory, fp8=True)
    if CUDA:
        choice = Choice(block=True, attention="flash", triton=True, memory=memory, fp8=True)
        model = model.to(torch.bfloat16)
    module.install(model, choice)
    batch = {key: value.to(DEVICE) for key, value in pack([30, 9, 25], padding=5).items()}
    want, want_gradients = outputs_and_gradients(exact, batch)
    got, gradients = outputs_and_gradients(model, batch)
    assert relative(got.float(), want) < (2e-2 if CUDA else 1e-5)
    assert gradients.keys() == want_gradients.keys() and gradients
    for name, gradient in gradients.items():
        assert cosine(gradient, want_gradients[name]) > 0.99, name
    assert any(relative(g.float(), want_gradients[n]) > 0.005 for n, g in gradients.items())


NEW = Machine(torch.device("cuda"), torch.bfloat16, 64)


@pytest.fixture
def new_card(monkeypatch):
    for asked in ("flash_runs", "triton_runs", "fp8_runs"):
        monkeypatch.setattr(backends, asked, lambda *_: "")
    forget_fallbacks()


def test_off_unless_asked_for_and_said_in_the_record(new_card) -> None:
    assert not choose(FusedOptions(), NEW, "falcon").fp8
    assert chosen()["fp8"] is False
    choice = choose(FusedOptions(compute="fp8"), NEW, "falcon")
    assert choice.fp8 and choice.backend().name == "triton-fp8"
    assert chosen()["fp8"] is True and not fallbacks_taken()
    with pytest.raises(ValidationError):
        FusedOptions(compute="fp4")


@pytest.mark.parametrize(
    "options,machine,reason",
    [
        ({"kernels": "plain"}, {}, "Triton's kernels"),
        ({"block": "plain"}, {}, "fused blocks"),
        ({}, {"sharded": "FSDP2"}, "FSDP2 cuts"),
        ({}, {"not_fp8": "the frozen weights are not of 4 bits"}, "not of 4 bits"),
    ],
)
def test_else_a_line_and_the_dtype_of_training(new_card, options, machine, reason) -> None:
    machine = Machine(torch.device("cuda"), torch.bfloat16, 64, **machine)
    choice = choose(FusedOptions(compute="fp8", **options), machine, "llama")
    assert not choice.fp8 and chosen()["fp8"] is False
    (said,) = [one for one in fallbacks_taken() if one["part"] == "llama.compute"]
    assert reason in said["reason"] and said["took"] == "bfloat16"


def test_a_card_without_fp8_or_another_dtype(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (8, 6))
    assert "no fp8" in fp8.fp8_runs(torch.device("cuda"), torch.bfloat16)
    assert "float16" in fp8.fp8_runs(torch.device("cuda"), torch.float16)


def test_what_a_card_answers_decides(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    cpu = torch.device("cpu")
    assert fp8.fp8_runs(cpu, torch.bfloat16) == ""

    def refuse(*_: object) -> torch.Tensor:
        raise RuntimeError("no kernel for this card\nmore")

    monkeypatch.setattr(fp8, "multiply", refuse)
    assert fp8.fp8_runs(cpu, torch.bfloat16) == "PyTorch says: no kernel for this card"
    monkeypatch.setattr(fp8, "multiply", lambda *_: torch.zeros(32, 32))
    assert "wrong" in fp8.fp8_runs(cpu, torch.bfloat16)


def test_which_layers_can() -> None:
    good = quantised(32, 64)
    assert why_not_fp8([good, SimpleNamespace(base_layer=good)]) == ""
    assert "4 bits" in why_not_fp8([good, nn.Linear(64, 32)])
    assert "40 x 32" in why_not_fp8([quantised(32, 40)])
    assert "multiple of 16" in why_not_fp8([quantised(40, 64)])


@on_card
@pytest.mark.parametrize("tokens", [1, 7, 100, 1000])
def test_the_card_multiplies_what_float32_does(tokens) -> None:
    """Fast accumulation included."""
    x, weight = quantize_rows(rows_of(tokens, 4544)), torch.randn(64, 4544, device=DEVICE).to(FP8)
    scale = torch.full((1, 64), 0.5, device=DEVICE)
    got = multiply(x, weight, scale, torch.bfloat16)
    cpu = Rows(x.values.cpu(), x.scale.cpu())
    want = multiply(cpu, weight.cpu(), scale.cpu(), torch.float32)
    assert relative(got.float().cpu(), want) < 0.005
