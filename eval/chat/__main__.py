"""Chat with a run: its base, its tuned model, or both on the same question."""

from __future__ import annotations

import argparse
import sys

from eval.chat.model_process import ModelProcess
from eval.chat.session import open_session
from eval.quiet import quiet_libraries
from recipes.runner.core.address import HOST, LOCAL, free_port, port_number
from recipes.runner.core.errors import UserError, user_errors_exit
from recipes.runner.core.recipe import did_you_mean
from recipes.runner.run.finished import find_run

UIS = ("web", "terminal")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m eval.chat", description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--run", help="a run's folder, or its name in runs/")
    which.add_argument("--recipe", help="the recipe whose run is talked to")
    parser.add_argument("--ui", default="", help="web (default) or terminal")
    parser.add_argument("--host", default="", help="address of the page (default: 127.0.0.1)")
    parser.add_argument("--port", default="", help="port of the page (default: 7860)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Chat until the user leaves; returns the exit code."""
    with user_errors_exit():
        args = build_parser().parse_args(argv)
        ui = args.ui or "web"
        if ui not in UIS:
            raise UserError(f"there is no {ui!r}", "UI", did_you_mean(ui, UIS))
        session = open_session(find_run(args.run, args.recipe))
        host, port = args.host or HOST, port_number(args.port or "7860")
        if ui == "web":
            port = free_port(port, host)
        quiet_libraries()
        model = ModelProcess(session.run.path)
        try:
            print(f"loading {session.title} ...", flush=True)
            ready = model.start()
            print(f"loaded in {ready['load']:.1f} s: {ready['held']}", flush=True)
            if ui == "terminal":
                from eval.chat.terminal_chat import chat_in_terminal

                return chat_in_terminal(session, model)
            from eval.chat.server import serve

            if host not in LOCAL:
                print(
                    f"warning: {host} lets others on the network read and write here; there is no "
                    "password",
                    file=sys.stderr,
                )
            return serve(session, model, host, port)
        except KeyboardInterrupt:
            return 130
        finally:
            model.close()
    return 1


if __name__ == "__main__":
    sys.exit(main())
