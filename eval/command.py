"""What the command lines over base and tuned share: mistakes, Ctrl-C, arms served elsewhere."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from recipes.runner.core.errors import UserError

if TYPE_CHECKING:
    from eval.generation.endpoint import ChatEndpoint


class Parser(argparse.ArgumentParser):
    """Exits with 1 like every other error here; argparse's own 2 is no code of these commands."""

    def error(self, message: str) -> NoReturn:
        """One line, then exit code 1."""
        raise UserError(message, todo=f"{self.prog} --help lists what can be given")


@contextmanager
def interrupts_said() -> Iterator[None]:
    """Ctrl-C as a line that says what is kept."""
    try:
        yield
    except KeyboardInterrupt:
        raise UserError(
            "interrupted; what was answered is kept", todo="The same command goes on from there"
        ) from None


def add_served_arms(parser: argparse.ArgumentParser) -> None:
    """Add ``--base-endpoint``, ``--base-model`` and the same of tuned."""
    served = parser.add_argument_group("served models as arms (key in EVAL_ENDPOINT_API_KEY)")
    for arm in ("base", "tuned"):
        served.add_argument(f"--{arm}-endpoint", metavar="URL")
        served.add_argument(f"--{arm}-model", metavar="NAME", help="its name at the endpoint")


def served_arms(args: argparse.Namespace) -> tuple[ChatEndpoint, ChatEndpoint] | None:
    """(base, tuned) as asked for; None where no served arm is.

    Raises:
        UserError: some of the four are missing.
    """
    given = [args.base_endpoint, args.base_model, args.tuned_endpoint, args.tuned_model]
    if not any(given):
        return None
    if not all(given):
        raise UserError(
            "served arms need all four of --base-endpoint, --base-model, --tuned-endpoint and "
            "--tuned-model"
        )
    from eval.generation.endpoint import ChatEndpoint
    from eval.generation.remote import KEY_VARIABLE

    return (
        ChatEndpoint(args.base_endpoint, args.base_model, KEY_VARIABLE),
        ChatEndpoint(args.tuned_endpoint, args.tuned_model, KEY_VARIABLE),
    )
