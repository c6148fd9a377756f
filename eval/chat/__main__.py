"""Chat with a run: its base, its tuned model, or both on the same question."""

from __future__ import annotations

import argparse
import errno
import socket
import sys

from eval.chat.model_process import ModelProcess
from eval.chat.session import open_session
from eval.quiet import quiet_libraries
from eval.runs import find_run
from recipes.errors import UserError, user_errors_exit
from recipes.recipe import did_you_mean

UIS = ("web", "terminal")
LOCAL = ("127.0.0.1", "localhost", "::1")


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
        host, port = args.host or "127.0.0.1", _port(args.port or "7860")
        if ui == "web":
            _check_free(host, port)
        quiet_libraries()
        model = ModelProcess(session.run.path)
        try:
            print(f"loading {session.title} ...", flush=True)
            ready = model.start()
            print(f"loaded in {ready['load']:.1f} s: {ready['held']}", flush=True)
            if ui == "terminal":
                from eval.chat.terminal import chat_in_terminal

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


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise UserError(f"{text!r} is no port", "PORT", "Give a number from 1 to 65535")
    return int(text)


def _check_free(host: str, port: int) -> None:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise UserError(
                f"{host} is no address of this machine", "HOST", "Leave it out for 127.0.0.1"
            ) from None
        raise UserError(
            f"port {port} on {host} can't be had: {(error.strerror or 'no reason').lower()}",
            "PORT",
            f"Give another: PORT={port + 1 if port < 65535 else port - 1}",
        ) from None


if __name__ == "__main__":
    sys.exit(main())
