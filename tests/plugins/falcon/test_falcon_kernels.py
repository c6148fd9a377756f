"""The Triton kernels equal the same functions in PyTorch, over odd shapes and all ranks.

On CUDA they run as compiled; without it in Triton's interpreter, in a process of its own because
Triton reads that switch at import.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest
import torch

from plugins.falcon import operations as ops
from plugins.falcon.attention import attend, attend_backward
from plugins.falcon.documents import find_documents

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


def random(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, device=DEVICE).to(dtype)


def assert_near(got: torch.Tensor, want: torch.Tensor, dtype: torch.dtype) -> None:
    assert got.shape == want.shape
    error = (got.double() - want.double()).norm() / want.double().norm().clamp_min(1e-9)
    assert error < TOLERANCE[dtype]


@direct
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_lora(dtype: torch.dtype, shape: tuple[int, int], rank: int, dropout: float) -> None:
    torch.manual_seed(0)
    x, a = random(*shape, dtype=dtype), random(rank, shape[1], dtype=dtype)
    du = random(shape[0], rank, dtype=dtype)
    seed = 0x7ABCDEF1
    exact = [t.double() for t in (x, a, du)]
    want = ops.lora_down(exact[0], exact[1], 0.5, dropout, seed, triton=False)
    assert_near(ops.lora_down(x, a, 0.5, dropout, seed, triton=True), want, dtype)
    active, exact_active = torch.empty_like(x), torch.empty_like(exact[0])
    want = ops.lora_down(exact[0], exact[1], 0.5, dropout, seed, False, exact_active)
    assert_near(ops.lora_down(x, a, 0.5, dropout, seed, True, active), want, dtype)
    assert_near(active, exact_active, dtype)
    for gelu in (False, True):
        dx = random(*shape, dtype=dtype)
        exact_dx = dx.double()
        rest = dropout, seed, gelu
        want = ops.lora_backward_(exact_dx, exact[2], exact[1], exact[0], *rest, False)
        assert_near(ops.lora_backward_(dx, du, a, x, *rest, True), want, dtype)
        assert_near(dx, exact_dx, dtype)


@direct
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("heads,per_group,d", [(7, 7, 8), (12, 6, 16), (73, 73, 64), (160, 10, 64)])
def test_rotary(dtype: torch.dtype, heads: int, per_group: int, d: int) -> None:
    qkv = random(9, heads, d, dtype=dtype)
    before = qkv.clone()
    angle = torch.rand(9, d // 2, device=DEVICE) * 6
    want = qkv.float().clone()
    ops.rotate_(want, angle.cos(), angle.sin(), per_group, 1.0, triton=False)
    ops.rotate_(qkv, angle.cos(), angle.sin(), per_group, 1.0, triton=True)
    assert_near(qkv, want, dtype)
    values = qkv.view(9, -1, per_group, d)[:, :, -1]
    assert torch.equal(values, before.view(9, -1, per_group, d)[:, :, -1])
    ops.rotate_(qkv, angle.cos(), angle.sin(), per_group, -1.0, triton=True)
    assert_near(qkv, before, dtype)


@direct
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_norm_backward(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    grad, x, added = (random(*shape, dtype=dtype) for _ in range(3))
    weight = random(shape[1], dtype=dtype)
    exact = [t.double() for t in (grad, x, weight, added)]
    mean = exact[1].mean(-1, keepdim=True)
    rstd = (exact[1].var(-1, correction=0, keepdim=True) + 1e-5).rsqrt()
    want = ops.norm_backward(*exact[:2], mean, rstd, *exact[2:], triton=False)
    got = ops.norm_backward(grad, x, mean.float(), rstd.float(), weight, added, triton=True)
    assert_near(got, want, dtype)


LAYOUTS = [(1, 3, 16), (1, 71, 64), (2, 4, 32)]
if CUDA:
    LAYOUTS += [(8, 16, 64), (1, 5, 128)]
DOCUMENTS = [[1], [1, 1, 70], [33, 7, 2]]
if CUDA:
    DOCUMENTS += [[257], [129, 7, 64, 500], [2048, 3]]


@direct
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("groups,heads,d", LAYOUTS)
@pytest.mark.parametrize("lengths", DOCUMENTS)
def test_shared_attention(dtype, groups, heads, d, lengths) -> None:
    torch.manual_seed(0)
    positions = torch.cat([torch.arange(n) for n in lengths])[None].to(DEVICE)
    documents = find_documents(1, positions.shape[1], positions, None, torch.device(DEVICE))
    qkv = random(positions.shape[1], groups * (heads + 2), d, dtype=dtype)
    grad = random(positions.shape[1], groups * heads, d, dtype=dtype)
    exact = qkv.double(), heads + 2
    want, _ = attend(*exact, documents, "mask")
    got, saved = attend(qkv, heads + 2, documents, "shared")
    assert_near(got, want, dtype)
    wanted = attend_backward(grad.double(), *exact, want, (), documents, "mask")
    gradient = attend_backward(grad, qkv, heads + 2, got, saved, documents, "shared")
    by_head = (gradient.unflatten(1, (groups, -1)), wanted.unflatten(1, (groups, -1)))
    for part in (slice(0, -2), slice(-2, -1), slice(-1, None)):  # queries, keys, values
        got_part, want_part = (t[:, :, part] for t in by_head)
        if want_part.norm() > 1e-6:  # one token alone gives its query and key no gradient
            assert_near(got_part, want_part, dtype)
        else:
            assert got_part.float().norm() < 1e-2
