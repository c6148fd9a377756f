"""How fast this machine multiplies matrices: no training step can be faster than its products."""

from __future__ import annotations

import argparse
import json
import time

import torch

from plugins.run_record import facts
from recipes.runner.models.architecture import build


def matmul_rate(size: int, repeats: int = 10) -> float:
    """FLOP/s of a square matrix product on random numbers: bf16 on a GPU that has it, else fp32."""
    gpu = torch.cuda.is_available()
    device = "cuda" if gpu else "cpu"
    dtype = torch.float32
    if gpu:
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        dtype = torch.bfloat16 if bf16 else torch.float16
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    for _ in range(3):
        a @ b
    if gpu:
        torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(repeats):
        a @ b
    if gpu:
        torch.cuda.synchronize()
    return repeats * 2 * size**3 / (time.perf_counter() - began)


def machine() -> dict[str, object]:
    """Device, its memory in bytes, versions, and the matrix rate in FLOP/s."""
    gpu = torch.cuda.is_available()
    return facts.machine() | {
        "packages": facts.package_versions(),
        "matmul_flops": matmul_rate(8192 if gpu else 1024),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parameters", type=json.loads, help="count this configuration's instead")
    config = parser.parse_args().parameters
    print(json.dumps(build(config).parameters if config else machine()))
