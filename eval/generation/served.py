"""The command line's way to two arms that are served elsewhere, in place of a run's own."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from recipes.runner.core.errors import UserError

if TYPE_CHECKING:
    from eval.generation.endpoint import ChatEndpoint


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
