"""What a recipe may say about the fused path: the `falcon:` or `fused:` block."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class FusedOptions(BaseModel):
    """How the model is trained; the defaults are right on any machine."""

    model_config = ConfigDict(extra="forbid")

    enabled: bool = True
    """False trains with transformers' own modules (a Falcon with packing leaks and all): for
    comparison only."""

    block: Literal["auto", "plain"] = "auto"
    """auto: one fused autograd function a decoder block, where it can run; plain: the modules."""

    attention: Literal["auto", "flash", "plain"] = "auto"
    """auto: the fastest kernels over packed sequences that can run, or in a Llama's modules on a
    CPU each sequence by itself; flash: PyTorch's flash kernels over them, in fused blocks; plain:
    the modules' own attention with a mask."""

    loss: Literal["auto", "plain"] = "auto"
    """auto: of the trained tokens only, on a GPU fused with the language model head; plain: all
    logits at once."""

    kernels: Literal["auto", "plain"] = "auto"
    """auto: Triton for norms, rotary embedding and LoRA on CUDA; plain: PyTorch."""

    compute: Literal["auto", "fp8"] = "auto"
    """auto: products of the frozen layers in the dtype of training; fp8: over a 4-bit base, on Ada,
    Hopper and later, those on the way back in e4m3; forward and adapters as before. FP8.md says
    what that gives."""

    memory: Literal["auto", "fast", "low"] = "auto"
    """fast: keep what the backward needs; low: keep only each block's input and recompute the
    rest; auto: fast for as many blocks as the card's free memory holds."""

    offload: bool = True
    """Keep some of what the backward needs in pinned memory of the host, copied beside the work: of
    recomputed blocks, and of all where the card doesn't hold everything."""

    cuda_graphs: bool = True
    """Record a pass of up to 8,192 tokens once, and replay it with one launch: for CUDA with the
    kernels and grouped attention, where the card has room for it."""

    merge_micro_batches: bool = True
    """Run the micro-batches of an optimizer step in fewer, larger passes where the card has room:
    the same rows, loss and gradients. run.json says how many became one."""

    opening_weight: float = Field(default=1.0, ge=1.0, le=20.0)
    """In training, how many times as much as another the first tokens of each answer count: of a
    small model they decide what kind of answer it becomes. Evaluation weighs all alike."""

    opening_tokens: int = Field(default=8, ge=1, le=64)
    """How many tokens `opening_weight` is for."""

    @model_validator(mode="after")
    def _weighs_in_the_fused_loss(self) -> Self:
        if self.opening_weight != 1.0 and (self.loss == "plain" or not self.enabled):
            raise ValueError("opening_weight needs enabled: true and loss: auto")
        return self
