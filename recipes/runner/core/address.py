"""Ports and addresses of the servers that listen on this machine."""

from __future__ import annotations

import errno
import socket

from recipes.runner.core.errors import UserError

HOST = "127.0.0.1"
LOCAL = (HOST, "localhost", "::1")


def port_number(text: str, least: int = 1) -> int:
    """PORT as a number, from ``least`` up.

    Raises:
        UserError: it is none.
    """
    if not text.isdecimal() or not least <= int(text) < 65536:
        raise UserError(f"{text!r} is no port", "PORT", f"Give a number from {least} to 65535")
    return int(text)


def free_port(port: int = 0, host: str = HOST) -> int:
    """The port itself when nobody listens there; for 0 one that is free.

    Raises:
        UserError: it is no port or can't be had, or the host is no address of this machine.
    """
    if not 0 <= port < 65536:
        raise UserError(f"{port} is no port", "PORT", "Give a number from 0 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            # Else the port of a server that has just ended counts as taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except OSError as error:
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise UserError(
                f"{host} is no address of this machine", "HOST", f"Leave it out for {HOST}"
            ) from None
        raise UserError(
            f"port {port} can't be had on {host}: {(error.strerror or 'no reason').lower()}",
            "PORT",
            f"Give another: PORT={port + 1 if port < 65535 else port - 1}",
        ) from None
