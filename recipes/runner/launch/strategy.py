"""GPUS, PROCESSES, STRATEGY, NODES ... as flags of `accelerate launch`."""

from __future__ import annotations

from dataclasses import dataclass, field

from recipes.runner.core.address import free_port
from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import did_you_mean, display_path
from recipes.runner.estimate.gpu import count_gpus, device_names
from recipes.runner.estimate.sharding import FOLDER, STRATEGIES


@dataclass(frozen=True)
class Launch:
    """How a run is spread.

    Attributes:
        flags: for `accelerate launch`.
        processes: ranks on this machine.
        strategy: how they share the model; ddp where there is one alone.
        environment: variables that the ranks need.
    """

    flags: list[str]
    processes: int
    strategy: str = "ddp"
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Wanted:
    """What the command line asked for, as text; empty where it was silent."""

    gpus: str = ""
    processes: str = ""
    strategy: str = ""
    nodes: str = ""
    node_rank: str = ""
    master: str = ""


def plan_launch(wanted: Wanted) -> Launch:
    """Settle processes and flags: by default all visible GPUs, ddp; without a GPU one process.

    Raises:
        UserError: a number that is none, more GPUs than there are, or a strategy that is unknown
            or has nothing to share.
    """
    strategy = _strategy(wanted.strategy)
    there = count_gpus()
    gpus = _number("GPUS", wanted.gpus, there, least=0)
    if gpus > there:
        raise UserError(f"{gpus} GPUs asked for, {there} visible here", "GPUS", f"GPUS={there}")
    processes = _number("PROCESSES", wanted.processes, max(gpus, 1), least=1)
    if gpus and processes != gpus:
        raise UserError("a GPU carries one process", "PROCESSES", f"Leave it out, or GPUS={gpus}")
    nodes = _number("NODES", wanted.nodes, 1, least=1)
    # What else a process sees, the Trainer uses: one would split each batch between two.
    used = ",".join(device_names(there)[:gpus])
    environment = {"CUDA_VISIBLE_DEVICES": used} if gpus < there else {}
    if strategy != "ddp" and (not gpus or processes * nodes == 1):
        raise _nothing_shared(strategy, gpus)
    if processes * nodes == 1:
        return Launch([*_config("single"), "--num_processes", "1"], 1, environment=environment)
    flags = [*_config(strategy), "--num_processes", str(processes * nodes)]
    if nodes > 1:
        flags += _machines(nodes, wanted)
    else:
        flags += ["--main_process_port", str(free_port())]
    return Launch(flags, processes, strategy, environment)


def plan_spread(wanted: Wanted) -> tuple[int, str]:
    """GPUs, over all machines, and strategy of a plan; those need not be here.

    Raises:
        UserError: a number that is none, or a strategy that is unknown or has nothing to share.
    """
    gpus = _number("GPUS", wanted.gpus, 1, least=0)
    strategy = _strategy(wanted.strategy)
    if strategy != "ddp" and gpus < 2:
        raise _nothing_shared(strategy, gpus)
    return max(gpus, 1), strategy


def _nothing_shared(strategy: str, gpus: int) -> UserError:
    return UserError(
        f"{strategy} shares a model between GPUs, and this run has {gpus or 'none'}",
        "STRATEGY",
        "Leave it out, or GPUS=2 and more; a QLoRA of 7B fits one GPU whole (make plan)",
    )


def _strategy(name: str) -> str:
    strategy = name or "ddp"
    if strategy not in STRATEGIES:
        hint = did_you_mean(strategy, STRATEGIES, "Strategies")
        raise UserError(f"there is no strategy {strategy!r}", "STRATEGY", hint)
    return strategy


def _machines(nodes: int, wanted: Wanted) -> list[str]:
    host, _, port = wanted.master.partition(":")
    if not host or not port.isdigit() or not wanted.node_rank.isdigit():
        raise UserError(
            "several machines need NODE_RANK and MASTER",
            "NODES",
            "NODES=2 NODE_RANK=0 MASTER=host:port, on each machine with its own NODE_RANK",
        )
    if int(wanted.node_rank) >= nodes:
        raise UserError(f"{wanted.node_rank} of {nodes} nodes", "NODE_RANK", "Count from 0")
    return [
        *("--num_machines", str(nodes), "--machine_rank", wanted.node_rank),
        *("--main_process_ip", host, "--main_process_port", port),
    ]


def _config(name: str) -> list[str]:
    return ["--config_file", display_path(FOLDER / f"{name}.yaml")]


def _number(name: str, text: str, default: int, least: int) -> int:
    if not text:
        return default
    if not text.isdigit() or int(text) < least:
        raise UserError(f"{text!r} is no number from {least} up", name, f"{name}={max(default, 1)}")
    return int(text)
