"""How much memory a recipe takes on each device, part by part; what preflight and plan show.

An estimate from shapes, not a measurement: the parts that a run can't do without, and what stands
beside them at the worst moment of a step. Trained tensors, gradients and optimizer are counted
exactly; tests/recipes/test_measured_peaks.py holds the whole to peaks of plugins/falcon/NOTES.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recipes.runner.estimate.activations import Block, Loss, block_of, loss_of, way_through
from recipes.runner.estimate.optimizer import KINDS, kind_of, state_bytes
from recipes.runner.estimate.passes import copies_reference, gives_rewards, passes_of
from recipes.runner.estimate.settings import refuse_unreadable, whole
from recipes.runner.estimate.trained import (
    FLOAT32,
    Tensor,
    base_bytes,
    computing_bytes,
    head_of,
    held,
    trained_tensors,
    trains_head,
    unpacked_bytes,
    width_of,
)
from recipes.runner.models.architecture import Architecture
from recipes.runner.models.families import LORA_KERNELS, family_of

GIB = 2**30
DEFAULT_LENGTH = 512  # Axolotl's `sequence_len`

# What a CUDA process holds before the first tensor.
_CUDA_CONTEXT = 0.6 * GIB
# cuBLAS's, of the thread that goes forward and of autograd's: 32 MiB each on a Hopper card, 8 on
# others (torch/aten: `getChosenWorkspaceSize`); torch counts them.
_WORKSPACE = 64 * 2**20
_LOGIT = 12  # bytes a logit in the backward: log-softmax, its gradient, the logits' one, in float32
_LOGIT_FORWARD = 8  # and without a backward, beside the 16-bit logits: float32 copy, log-softmax
_SCORE_FORWARD = 2 * FLOAT32  # bytes of a score without a backward: itself and its softmax
_CHUNKS = 8  # of a chunked cross entropy
# Inputs of fused blocks on the card while the others wait in host memory: one at work, one on its
# way, and one that waits for its copy (plugins/fused/memory.py counts so, too).
_INPUTS_AT_ONCE = 3
_NO_PARTS = ("accumulates", "paged", "added")


@dataclass(frozen=True)
class Memory:
    """Bytes on one device, by part.

    Attributes:
        weights: the base as it is held, on a CPU with what it keeps out of four bits; trained in
            place where there is no adapter.
        adapters: trained parameters beside the base.
        reference: a second model that `rl` compares with.
        gradients: of all that is trained.
        optimizer: its state, what it pages to the host too.
        activations: kept for the backward at this micro-batch and sequence length.
        block: what one decoder block needs beyond that while it goes backward.
        logits: of the loss.
        evaluation: logits and one block of a held-out batch, when nothing is kept for a backward.
        step: copies of the trained weights while the optimizer steps.
        added: the largest gradient that is made beside the one it is added to, at the end of the
            backward.
        workspace: of matrix products.
        context: CUDA's own.
        accumulates: whether gradients stand through the next forward.
        paged: what of the optimizer moves to the host where the card has no room for it; never in
            torch's own count.
    """

    weights: float
    adapters: float
    reference: float
    gradients: float
    optimizer: float
    activations: float
    block: float
    logits: float
    evaluation: float
    step: float
    added: float
    workspace: float
    context: float
    accumulates: bool
    paged: float

    def moments(self) -> dict[str, float]:
        """What stands beside the fixed parts at each of the moments that can be the worst."""
        before = self.gradients if self.accumulates else 0.0
        return {
            "the loss": before + self.activations + self.logits,
            "the backward": before + self.activations + self.block,
            "the end of the backward": self.gradients + max(self.block, self.added),
            "the optimizer's step": self.gradients + self.step,
            "evaluation": self.evaluation,
        }

    @property
    def worst(self) -> str:
        """The moment at which most memory is taken."""
        moments = self.moments()
        return max(moments, key=moments.__getitem__)

    @property
    def allocated(self) -> float:
        """Most bytes in tensors at once, as `torch.cuda.max_memory_allocated` counts them."""
        fixed = self.weights + self.adapters + self.reference + self.optimizer - self.paged
        fixed += self.workspace
        return fixed + max(self.moments().values())

    @property
    def total(self) -> float:
        """Most bytes that the process takes at once."""
        return self.needed + self.paged

    @property
    def needed(self) -> float:
        """The least that it can do with: what can move to the host does."""
        return self.allocated + self.context

    def parts(self) -> dict[str, float]:
        """Part to bytes, in the order they are shown; they don't all stand at once."""
        return {name: value for name, value in vars(self).items() if name not in _NO_PARTS}


def estimate(
    config: dict[str, Any], shape: Architecture, on_gpu: bool = True, sharded: bool = False
) -> Memory:
    """Estimate the memory of one device that holds the whole model (one GPU, or DDP).

    Args:
        config: the recipe's keys.
        shape: the base model's shape.
        on_gpu: whether CUDA's context counts, and its kernels run.
        sharded: whether the weights will be in shards, where the fused path steps aside.

    Raises:
        UserError: what is trained can't be known (another adapter, names that match nothing).
    """
    refuse_unreadable(config)
    if not on_gpu:
        config = _on_cpu(config)
    trained = trained_tensors(config, shape)
    kind = kind_of(config) or KINDS["adamw_torch"]
    base = sum(base_bytes(config, shape))
    beside = 0.0 if on_gpu else unpacked_bytes(config, shape)
    passes = passes_of(config)
    batch = Batch.of(config, passes.sequences)
    block = block_of(config, shape, sharded)
    loss = loss_of(config, shape, sharded)
    weight_bytes = sum(tensor.bytes for tensor in trained)
    return Memory(
        weights=base + beside,
        adapters=sum(tensor.bytes for tensor in trained if not tensor.in_base),
        reference=_reference(config, base, trained),
        gradients=weight_bytes,
        optimizer=state_bytes(kind, trained),
        activations=_kept(config, block, batch, shape, sharded),
        block=_block_backward(config, block, batch, shape, sharded),
        logits=_logits(config, shape, loss, batch),
        evaluation=_evaluation(config, shape, block, loss),
        step=kind.copies * weight_bytes,
        added=_added_gradient(config, shape, trained),
        workspace=_WORKSPACE if on_gpu else 0.0,
        context=_CUDA_CONTEXT if on_gpu else 0.0,
        accumulates=whole(config, "gradient_accumulation_steps", 1) > 1,
        paged=state_bytes(kind, trained) - state_bytes(kind, trained, paged=False),
    )


def _reference(config: dict[str, Any], base: float, trained: list[Tensor]) -> float:
    """Of the reference: a second base, a frozen SFT adapter in 32 bits, or nothing."""
    if copies_reference(config):
        return base
    frozen = passes_of(config).reference and config.get("lora_model_dir")
    return float(FLOAT32 * sum(tensor.size for tensor in trained)) if frozen else 0.0


def _added_gradient(config: dict[str, Any], shape: Architecture, trained: list[Tensor]) -> float:
    """A tied head's gradient stands already when the embeddings' own comes; any, over several
    micro-batches."""
    if whole(config, "gradient_accumulation_steps", 1) > 1:
        return float(max((tensor.bytes for tensor in trained), default=0))
    head = head_of(shape)
    if head is None or head.path == shape.head or not trains_head(config, shape):
        return 0.0
    return float(math.prod(head.weight) * width_of(head, held(config, shape), shape))


@dataclass(frozen=True)
class Batch:
    """A micro-batch on one device: how many sequences, and how long each may be."""

    rows: int
    length: int

    @classmethod
    def of(cls, config: Mapping[str, Any], sequences: int = 1, key: str = "") -> Batch:
        """The longest that a recipe allows: packed rows are that long, padded ones at most."""
        rows = whole(config, "micro_batch_size", 1)
        rows = whole(config, key, rows) if key else rows
        return cls(rows * sequences, whole(config, "sequence_len", DEFAULT_LENGTH))

    @property
    def tokens(self) -> int:
        """Of all sequences."""
        return self.rows * self.length

    @property
    def scores(self) -> int:
        """Pairs of a query and a key in all sequences, for one head."""
        return self.rows * self.length**2


def recomputes(config: Mapping[str, Any], shape: Architecture, sharded: bool = False) -> bool:
    """Whether the least that a run needs keeps each block's input alone.

    Falcon's plugin recomputes what the card has no room for (`memory: auto`), unless told not to.
    """
    family = family_of(shape.model_type)
    if family.helped(config):
        options = config.get(str(family.options)) or {}
        if options.get("enabled", True):
            return options.get("memory") != "fast"
    fsdp = config.get("fsdp_config") or {}
    if any(fsdp.get(f"{old}activation_checkpointing") for old in ("", "fsdp_")):
        return True
    return bool(config.get("gradient_checkpointing") or config.get("activation_offloading"))


def offloads_all(config: Mapping[str, Any]) -> bool:
    """Whether all that a block keeps goes there: Axolotl's way where there is an adapter."""
    return config.get("activation_offloading") in (True, "disk") and bool(config.get("adapter"))


def offloads(config: Mapping[str, Any]) -> bool:
    """Whether what is kept for the backward goes to the host or the disk."""
    kinds = config.get("gradient_checkpointing"), config.get("activation_offloading")
    return kinds[0] in ("offload", "offload_disk") or bool(kinds[1])


def _on_cpu(config: dict[str, Any]) -> dict[str, Any]:
    """As the plugins fit a recipe to a CPU: no kernels, and float32 unless bf16 was asked for."""
    plain: dict[str, Any] = dict.fromkeys(LORA_KERNELS, False)
    # Blocks are not fused there, and nothing waits elsewhere.
    plain |= {key: {**(config.get(key) or {}), "offload": False} for key in ("falcon", "fused")}
    bf16 = config.get("bf16")
    return {**config, **plain, "bf16": False if bf16 == "auto" else bf16, "fp16": False}


def _kept(
    config: dict[str, Any], block: Block, batch: Batch, shape: Architecture, sharded: bool
) -> float:
    if offloads_all(config):
        return 2 * _inside(block, batch)  # the one at work, and the one on its way
    if offloads(config):
        return 2 * batch.tokens * block.entry
    if recomputes(config, shape, sharded):
        waits = _inputs_wait(config, shape, sharded)
        inputs = min(_INPUTS_AT_ONCE, shape.layers) if waits else shape.layers
        return inputs * batch.tokens * block.entry
    return shape.layers * _inside(block, batch)


def _inputs_wait(config: dict[str, Any], shape: Architecture, sharded: bool) -> bool:
    """Whether fused blocks that are made anew leave their inputs in host memory."""
    options = config.get(str(family_of(shape.model_type).options)) or {}
    fused = way_through(config, shape, sharded) == "fused"
    return fused and options.get("offload", True) is not False


def _inside(block: Block, batch: Batch) -> float:
    return batch.tokens * block.kept + batch.scores * block.score_kept


def _block_backward(
    config: dict[str, Any], block: Block, batch: Batch, shape: Architecture, sharded: bool
) -> float:
    """What a block takes beyond what was kept: made again where it was not, and in passing."""
    passing = batch.tokens * block.passing + block.weights
    passing += batch.scores * max(block.score_passing - block.score_kept, 0.0)
    again = recomputes(config, shape, sharded) and not offloads_all(config)
    return passing + (_inside(block, batch) if again else 0.0)


def _logits(config: dict[str, Any], shape: Architecture, loss: Loss, batch: Batch) -> float:
    if gives_rewards(config):
        return 0.0
    computing = computing_bytes(config)
    rows = batch.tokens * shape.vocabulary
    hidden = batch.tokens * shape.hidden_size * computing
    reference = 0.0
    if passes_of(config).reference:
        reference = rows * (computing + FLOAT32)
    head = _head_in_the_loss(config, shape, loss)
    if loss == "fused":
        # liger cuts the tokens into as many chunks as the vocabulary is wider than the model.
        chunks = math.ceil(shape.vocabulary / shape.hidden_size)
        each = 2 ** math.ceil(math.log2(max(math.ceil(batch.tokens / chunks), 1)))
        logits = min(each, batch.tokens) * shape.vocabulary * 2 * computing
        return hidden + logits + reference + head
    if loss == "cut":
        return hidden + reference
    if loss == "chunked":
        return rows * (2 * computing + _LOGIT / _CHUNKS) + reference
    return rows * _LOGIT + reference + head


def _head_in_the_loss(config: dict[str, Any], shape: Architecture, loss: Loss) -> float:
    """The output layer's weight beside itself: cast to 16 bits, and its gradient.

    liger 0.8 makes that gradient in the forward, and each part of it beside the sum.
    """
    head = head_of(shape)
    if head is None:
        return 0.0
    computing, elements = computing_bytes(config), math.prod(head.weight)
    width = width_of(head, held(config, shape), shape)
    cast = elements * computing if width > computing else 0
    if loss != "fused" or not trains_head(config, shape):
        return float(cast)
    part = cast if cast else elements * (computing + FLOAT32)
    return float(elements * width + cast + part)


def _evaluation(config: dict[str, Any], shape: Architecture, block: Block, loss: Loss) -> float:
    """liger's and the cut loss make all logits where the model doesn't train; Falcon's doesn't."""
    if not (config.get("test_datasets") or config.get("val_set_size")):
        return 0.0
    batch = Batch.of(config, passes_of(config).sequences, "eval_batch_size")
    passing = batch.tokens * block.passing + block.weights
    if block.score_passing:
        passing += batch.scores * shape.attention_heads * _SCORE_FORWARD
    each = computing_bytes(config) + _LOGIT_FORWARD
    if gives_rewards(config) or (loss == "fused" and not _liger_asked(config)):
        return passing
    return max(passing, batch.tokens * shape.vocabulary * float(each))


def _liger_asked(config: Mapping[str, Any]) -> bool:
    return bool(config.get("liger_fused_linear_cross_entropy"))


def show(memory: Memory) -> list[str]:
    """The parts as lines of a table, in GiB, and the moment at which most stands at once."""
    parts = memory.parts()
    lines = [f"  {name:<12}{parts[name] / GIB:7.2f} GiB" for name in parts if parts[name]]
    return [*lines, f"  {'total':<12}{memory.total / GIB:7.2f} GiB, at {memory.worst}"]
