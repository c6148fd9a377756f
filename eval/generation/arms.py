"""The two arms of the comparison: base and tuned."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Protocol

import torch

from eval.answers import Answer, ArmName, Messages
from eval.generation.base_model import Base
from eval.generation.decoding import Decoding
from eval.generation.generate import end_tokens, generate, prompt_ids
from recipes.runner.core.errors import UserError
from recipes.runner.core.recipe import display_path
from recipes.runner.run.fingerprint import digest, folder_digest
from recipes.runner.run.finished import ADAPTER_CONFIG, ADAPTER_WEIGHTS, Run

_PROBES = (
    "I feel anxious and I can't sleep. What can I do?",
    "What is the capital of France?",
    "My sister doesn't talk to me any more and it hurts.",
)


class Arm(Protocol):
    """Anything that answers conversations.

    Attributes:
        name: which of the two it is.
        digest: hash of everything about it that its answers depend on.
        context: tokens that fit, None when it is not known.
    """

    name: ArmName
    digest: str
    context: int | None

    def answer(self, batch: list[Messages], decoding: Decoding, seed: str) -> list[Answer]:
        """One answer for each conversation of the batch."""

    def count_tokens(self, messages: Messages) -> int | None:
        """Tokens of a conversation with its template; None when it is not known."""


class LocalArm:
    """A local model, with the adapter switched on or off.

    Attributes:
        model: both arms hold the same one.
        tokenizer: of the base, with the run's chat template.
        ends: ids that end an answer.
    """

    def __init__(
        self, name: ArmName, base: Base, model: Any, identity: str, eot: list[str]
    ) -> None:
        self.name = name
        self.digest = identity
        self.context: int | None = base.context
        self.tokenizer = base.tokenizer
        self.model = model
        self.ends = end_tokens(base.model, base.tokenizer, eot)

    @contextlib.contextmanager
    def active(self) -> Iterator[Any]:
        """The model, with the adapter in this arm's state."""
        if self.name == "base" and hasattr(self.model, "disable_adapter"):
            with self.model.disable_adapter():
                yield self.model
        else:
            yield self.model

    def answer(self, batch: list[Messages], decoding: Decoding, seed: str) -> list[Answer]:
        """See `generate`."""
        with self.active() as model:
            return generate(model, self.tokenizer, batch, decoding, self.ends, seed)

    def count_tokens(self, messages: Messages) -> int | None:
        """Tokens of a conversation with its template."""
        return len(prompt_ids(self.tokenizer, messages))

    @torch.inference_mode()
    def probe(self) -> torch.Tensor:
        """Logits of the last position of each probe, float32, shape (probes, vocabulary)."""
        with self.active() as model:
            rows = []
            for text in _PROBES:
                ids = prompt_ids(self.tokenizer, [{"role": "user", "content": text}])
                logits = model(torch.tensor([ids], device=model.device)).logits
                rows.append(logits[0, -1].float().cpu())
        return torch.stack(rows)


def local_arms(run: Run, base: Base) -> tuple[LocalArm, LocalArm]:
    """Both arms from one load of the base: (base, tuned).

    Raises:
        UserError: the adapter does not fit the base, changes nothing, or switching it off does
            not give the base back.
    """
    eot = list(run.config.get("eot_tokens") or [])
    plain = LocalArm("base", base, base.model, base.digest, eot).probe()
    identity = tuned_digest(run, base)
    model = attach_adapter(run, base)
    off = LocalArm("base", base, model, base.digest, eot)
    on = LocalArm("tuned", base, model, identity, eot)
    prove_honest(plain, off.probe(), on.probe(), display_path(run.path))
    return off, on


def tuned_digest(run: Run, base: Base) -> str:
    """Hash of a run's tuned model: its base with its adapter."""
    return digest([base.digest, folder_digest(run.path, (ADAPTER_WEIGHTS, ADAPTER_CONFIG))])


@contextlib.contextmanager
def misfits_said(run: Run) -> Iterator[None]:
    """Turn what PEFT raises where a run's adapter doesn't fit the base into a `UserError`."""
    try:
        yield
    except (RuntimeError, ValueError, KeyError) as error:
        first = next(
            (line.strip() for line in str(error).splitlines() if "size mismatch" in line),
            str(error).strip().splitlines()[0],
        )
        raise UserError(
            f"the adapter does not fit the base {run.base_model}: {first}",
            display_path(run.path / ADAPTER_WEIGHTS),
            "It was trained on another base",
        ) from None


def refuse_strange(run: Run, strange: list[str]) -> None:
    """Raise `UserError` where a run's adapter has weights that have no place in the base."""
    if strange:
        raise UserError(
            f"the adapter has weights for layers that {run.base_model} does not have, "
            f"for example {strange[0]}",
            display_path(run.path / ADAPTER_WEIGHTS),
            "It was trained on another base",
        )


def prove_honest(plain: torch.Tensor, off: torch.Tensor, on: torch.Tensor, where: str) -> None:
    """Off must be the plain base, and on must differ from off.

    Args:
        plain: logits before the adapter was attached; all of shape (probes, vocabulary).
        off: logits with the adapter switched off.
        on: logits with the adapter switched on.
        where: the run, for the message.

    Raises:
        UserError: either does not hold.
    """
    # The same kernels on the same numbers: equal to the bit on a CPU, nearly so on a GPU.
    noise = 0.0 if not torch.cuda.is_available() else 1e-4 * float(plain.abs().max())
    drift = float((off - plain).abs().max())
    if not drift <= noise:
        raise UserError(
            f"with the adapter off the model is not the plain base (logits differ by {drift:.3g})",
            where,
            "The adapter changed the base's own weights; evaluate a merged model instead",
        )
    if not float((on - off).abs().max()) > noise:
        raise UserError(
            "this adapter changes nothing: logits with it on and off are the same",
            where,
            "Check that training ran, and that it saved the trained adapter",
        )


def attach_adapter(run: Run, base: Base) -> Any:
    """The base with the run's adapter on it, a PEFT model in eval mode.

    Raises:
        UserError: the adapter was trained on another base.
    """
    from peft import PeftModel
    from peft.utils import load_peft_weights

    with misfits_said(run):
        # In the base's dtype, as autocast computes it in training; fp32 would slow every token.
        model = PeftModel.from_pretrained(
            base.model, str(run.path), is_trainable=False, autocast_adapter_dtype=False
        )
    held = {name.replace(".default.", ".") for name in model.state_dict()}
    refuse_strange(
        run, sorted(name for name in load_peft_weights(str(run.path)) if name not in held)
    )
    return model.eval()
