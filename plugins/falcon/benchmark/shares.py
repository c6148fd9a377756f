"""What a step's kernels are for, and how fast its large products run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

PRODUCTS = "products"
# Kinds by a part of a kernel's name; the first that fits counts.
KINDS = (
    ("_dequantize_kernel", "weights made anew"),
    ("_weight_kernel", "weights made anew"),
    ("_rows_kernel", "gradients to fp8"),
    ("_norm_kernel", "norms"),
    ("_norm_backward_kernel", "norms"),
    ("_down_kernel", "adapters, forward"),
    ("_backward_kernel", "adapters, back"),
    ("_rotate_kernel", "rotary embedding"),
    ("_sum_kernel", "sums of parts"),
    ("splitKreduce", "sums of parts"),
    ("liger_cross_entropy", "loss"),
    ("multi_tensor", "optimizer"),
    ("flash", "attention"),
    ("_forward_kernel", "attention"),
    ("_queries_kernel", "attention"),
    ("_keys_kernel", "attention"),
    ("nvjet", PRODUCTS),
    ("gemm", PRODUCTS),
    ("cutlass", PRODUCTS),
    ("Memcpy", "copies"),
    ("Memset", "copies"),
    ("at::native", "PyTorch, element by element"),
)


def kind_of(kernel: str) -> str:
    """What a kernel is for, by its name."""
    return next((kind for part, kind in KINDS if part in kernel), "other")


def shares_of(kernels: Mapping[str, tuple[float, int]], flops: float) -> dict[str, Any]:
    """Milliseconds of a step by kind of kernel, the longest first, and the products' TFLOP/s.

    The adapters' own small products count as products, in time and not in operations.

    Args:
        kernels: milliseconds and launches by name.
        flops: operations of the frozen products of the step.
    """
    found: dict[str, float] = {}
    for name, (ms, _) in kernels.items():
        kind = kind_of(name)
        found[kind] = found.get(kind, 0.0) + ms
    shares: dict[str, Any] = {
        kind: round(ms, 1) for kind, ms in sorted(found.items(), key=lambda one: -one[1])
    }
    if found.get(PRODUCTS):
        shares["products_tflops"] = round(flops / found[PRODUCTS] / 1e9)
    return shares


def frozen_flops(model: Any, labelled: int, tokens: int) -> float:
    """Operations of the frozen layers and the head in a step, forward and back.

    Args:
        model: with its adapters.
        labelled: tokens that the head is multiplied by.
        tokens: of the step.
    """
    total = 0.0
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and "lora_" not in name:
            rows = labelled if name.endswith("lm_head") else tokens
            total += 4.0 * rows * module.in_features * module.out_features
    return total
