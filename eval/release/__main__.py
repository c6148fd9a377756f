"""What the Makefile calls on a finished run: card, merge, publish, serve, export."""

from __future__ import annotations

import argparse
import signal
import sys

from eval.quiet import quiet_libraries
from recipes.runner.core.address import port_number
from recipes.runner.core.errors import UserError, user_errors_exit
from recipes.runner.core.flags import flag
from recipes.runner.core.recipe import did_you_mean, display_path
from recipes.runner.run.finished import Run, find_run

# Exit code where this machine can't do it, and the commands to do it elsewhere were shown.
NOT_HERE = 2


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m eval.release", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, what in (
        ("card", "write the run's README.md anew"),
        ("merge", "base and adapter in one model, proven the same"),
        ("publish", "push adapter and card to the Hub"),
        ("serve", "an OpenAI-compatible API on 127.0.0.1"),
        ("export", "the merged model as a file for llama.cpp"),
    ):
        command = commands.add_parser(name, help=what)
        command.add_argument("--run", default="", help="a run's folder, or its name in runs/")
        command.add_argument("--recipe", default="", help="or the recipe that it was made from")
        if name == "merge":
            command.add_argument("--dtype", default="", help="of the merged weights")
        if name == "serve":
            command.add_argument(
                "--port", default="", help="8000 where nothing is said; 0: a free one"
            )
            command.add_argument("--queue", default="", help="requests at a time: 64")
        if name == "export":
            command.add_argument(
                "--format", default="", help="gguf, or gguf-lora: the adapter apart"
            )
            command.add_argument(
                "--type", default="", help="of the weights; empty: bf16, of an adapter f16"
            )
        if name == "publish":
            command.add_argument("--repo", default="", help="user/name")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    args = build_parser().parse_args(argv)
    with user_errors_exit():
        # A polite kill cleans up as Ctrl-C does.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        quiet_libraries()
        try:
            return _COMMANDS[args.command](find_run(args.run, args.recipe), args)
        except KeyboardInterrupt:
            raise UserError("interrupted; nothing half-made is left") from None


def _card(run: Run, args: argparse.Namespace) -> int:
    from eval.release.card import write_card

    print(f"Card: {display_path(write_card(run))}")
    return 0


def _merge(run: Run, args: argparse.Namespace) -> int:
    from eval.release.merge import merge, merged_folder

    there = None if flag("FORCE") or args.dtype else merged_folder(run)
    if there:
        print(f"Merged already: {display_path(there)} (FORCE=1 merges again)")
        return 0
    print(f"Merged: {display_path(merge(run, args.dtype))}")
    return 0


def _publish(run: Run, args: argparse.Namespace) -> int:
    from eval.release.publish import Wishes, publish

    public = flag("PUBLIC")
    address = publish(run, Wishes(args.repo, public, flag("WITHOUT_EVAL")))
    print(f"Published ({'public' if public else 'private'}): {address}")
    return 0


def _serve(run: Run, args: argparse.Namespace) -> int:
    from eval.release.serve import PORT, serve
    from eval.release.server import QUEUE

    queue = args.queue or str(QUEUE)
    if not queue.isdecimal() or int(queue) < 1:
        raise UserError(f"{queue!r} is no number of requests", "QUEUE", "Give one from 1 on")
    return serve(run, port_number(args.port or str(PORT), least=0), int(queue))


def _export(run: Run, args: argparse.Namespace) -> int:
    from eval.release.export import NoConverter, export
    from eval.release.export_adapter import export_adapter
    from eval.release.facts import run_commands

    formats = {"gguf": export, "gguf-lora": export_adapter}
    wanted = (args.format or "gguf").lower()
    if wanted not in formats:
        raise UserError(f"{wanted!r} is no format", "FORMAT", did_you_mean(wanted, list(formats)))
    try:
        made = formats[wanted](run, args.type)
        print("\n  ".join([f"Exported: {display_path(made)}", *run_commands(made)]))
    except NoConverter as error:
        print(f"error: {error}", file=sys.stderr)
        return NOT_HERE
    return 0


_COMMANDS = {
    "card": _card,
    "merge": _merge,
    "publish": _publish,
    "serve": _serve,
    "export": _export,
}

if __name__ == "__main__":
    sys.exit(main())
