"""Which parts run fused on this machine and by what, and why not the fast way."""

from __future__ import annotations

import importlib.util
from dataclasses import asdict, dataclass

import torch

from plugins.fused.args import FusedOptions
from plugins.fused.attention import flash_runs, grouped_runs
from plugins.fused.backend import Backend
from plugins.fused.fp8 import fp8_runs
from plugins.fused.fp8_backend import Fp8Backend
from recipes.runner.core.fallbacks import note_fallback

FSDP2 = "FSDP2"
ZERO3 = "DeepSpeed ZeRO-3"
GATHERING = (FSDP2, ZERO3)
"""Those that gather the weights of a whole block as one, around its module (`gathered.py`)."""


@dataclass(frozen=True)
class Choice:
    """How each part runs; False is transformers' or PyTorch's plain way.

    Attributes:
        block: blocks as one autograd function each.
        attention: ``grouped`` by Triton; of a fused block also ``flash`` by PyTorch's kernels; of
            modules on a CPU ``padded``, each sequence by itself; or ``mask``.
        triton: a fused block's LoRA, norms, rotary embedding and 4-bit weights by Triton.
        loss: language model head and cross entropy fused.
        memory: how many blocks keep their activations: all (fast), none (low), or what fits (auto).
        offload: inputs of blocks that keep nothing else, in host memory.
        cuda_graphs: passes of a shape that comes again, recorded and replayed.
        gathered: a fused block runs inside its module, around which the weights are gathered.
        fp8: frozen products on the way back in fp8, in place of the dtype of training.
    """

    block: bool = False
    attention: str = "mask"
    triton: bool = False
    loss: bool = False
    memory: str = "auto"
    offload: bool = False
    cuda_graphs: bool = False
    gathered: bool = False
    fp8: bool = False

    def backend(self) -> Backend:
        """Of a fused block."""
        if not self.triton:
            return Fp8Backend() if self.fp8 else Backend()
        # Triton may be absent where nothing asks for it.
        if self.fp8:
            from plugins.fused.fp8_triton_backend import Fp8TritonBackend

            return Fp8TritonBackend()
        from plugins.fused.triton_backend import TritonBackend

        return TritonBackend()


_chosen: dict[str, bool | str | int | float] = {}


def chosen() -> dict[str, bool | str | int | float]:
    """How the model last set up in this process runs, ready for JSON; empty before."""
    return dict(_chosen)


def also_chosen(**more: bool | str | int | float) -> None:
    """Add to what `chosen` tells."""
    _chosen.update(more)


def triton_runs(device: torch.device) -> str:
    """Why Triton's kernels can't run; empty when they can."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed"
    if torch.cuda.get_device_capability(device) < (8, 0):
        return "Triton takes GPUs from Ampere on"
    return ""


def _liger_runs(device: torch.device) -> str:
    """Why liger's kernels can't run; empty when they can."""
    if importlib.util.find_spec("liger_kernel") is None:
        return "liger-kernel is not installed"
    return triton_runs(device)


@dataclass(frozen=True)
class Machine:
    """What the choice depends on, besides the options.

    Attributes:
        device: where the model trains.
        dtype: of the activations in training.
        head_dim: width of an attention head.
        sharded: FSDP, `FSDP2` or `ZERO3` by name, empty when parameters are whole on every device.
        not_fused: why the blocks of this model can't be fused, empty when they can.
        attends_in_modules: whether ``grouped`` runs in transformers' modules too.
        pads_in_modules: whether ``padded`` runs in transformers' modules.
        not_fp8: why the frozen layers can't be multiplied in fp8, empty when they can.
        deepspeed: whether DeepSpeed takes up the gradients.
    """

    device: torch.device
    dtype: torch.dtype
    head_dim: int
    sharded: str = ""
    not_fused: str = ""
    attends_in_modules: bool = False
    pads_in_modules: bool = False
    not_fp8: str = ""
    deepspeed: bool = False


def choose(options: FusedOptions, machine: Machine, name: str) -> Choice:
    """Take every fast way that the options allow and the machine has; note the others.

    Args:
        options: the recipe's.
        machine: that it runs on, and the model.
        name: of the architecture, for the notes.
    """
    device, sharded = machine.device, machine.sharded
    block = options.block == "auto"
    if block and sharded and sharded not in GATHERING:
        note_fallback(f"{name}.block", "the modules", f"{sharded} gathers weights in their hooks")
        block = False
    if block and device.type != "cuda":
        note_fallback(f"{name}.block", "the modules in plain PyTorch", "there is no CUDA device")
        block = False
    if block and machine.not_fused:
        note_fallback(f"{name}.block", "the modules", machine.not_fused)
        block = False
    triton = device.type == "cuda" and options.kernels == "auto"
    if triton and (reason := triton_runs(device)):
        note_fallback(f"{name}.kernels", "plain PyTorch", reason)
        triton = False
    attention = "mask"
    if device.type == "cuda" and (block or machine.attends_in_modules):
        attention = _choose_attention(options, machine, block, triton, name)
    if device.type == "cpu" and machine.pads_in_modules and options.attention == "auto":
        attention = "padded"
    # Where blocks run inside their modules, so does the loss inside the head's.
    loss = options.loss == "auto" and (block or not sharded)
    if loss and device.type == "cuda" and (reason := _liger_runs(device)):
        note_fallback(f"{name}.loss", "all logits at once", reason)
        loss = False
    offload = block and options.offload and options.memory != "fast"
    # Elsewhere the program is told numbers by the GPU, or calls what can't be recorded.
    graphs = block and triton and attention == "grouped" and options.cuda_graphs and not sharded
    if graphs and machine.deepspeed:
        # On two H200 the norm after the first recorded pass was 3.5 times one GPU's.
        note_fallback(f"{name}.cuda_graphs", "a launch for each kernel", "DeepSpeed's gradients")
        graphs = False
    gathered = block and bool(sharded)
    fp8 = options.compute == "fp8"
    if fp8 and (reason := _why_not_fp8(machine, block, triton)):
        note_fallback(f"{name}.compute", str(machine.dtype).removeprefix("torch."), reason)
        fp8 = False
    choice = Choice(
        block, attention, block and triton, loss, options.memory, offload, graphs, gathered, fp8
    )
    _chosen.clear()
    _chosen.update(asdict(choice))
    return choice


def _why_not_fp8(machine: Machine, block: bool, triton: bool) -> str:
    """Why frozen products can't be in fp8; empty when they can."""
    if not (block and triton):
        return "only fused blocks with Triton's kernels multiply in fp8"
    if machine.sharded:
        return f"{machine.sharded} cuts the weights"
    return machine.not_fp8 or fp8_runs(machine.device, machine.dtype)


def _choose_attention(
    options: FusedOptions, machine: Machine, block: bool, triton: bool, name: str
) -> str:
    if options.attention == "plain":
        return "mask"
    if reason := flash_runs(machine.device, machine.dtype, machine.head_dim):
        note_fallback(f"{name}.attention", "SDPA with a mask", reason)
        return "mask"
    # Only a fused block calls PyTorch's flash kernels over packed sequences.
    kind, said = ("flash", "flash attention") if block else ("mask", "SDPA with a mask")
    if options.attention == "flash" and not block:
        note_fallback(f"{name}.attention", said, "only fused blocks call flash attention")
    if options.attention == "flash" or not triton:
        return kind
    if reason := grouped_runs(machine.head_dim):
        note_fallback(f"{name}.attention", said, reason)
        return kind
    return "grouped"
