"""Ports of this machine."""

import socket

LOOPBACK = "127.0.0.1"


class PortUnusable(Exception):
    """A port cannot be had; says why."""


def free_port(port: int = 0) -> int:
    """Give the port back, or for 0 one that nobody uses; raises `PortUnusable` when it is taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do, so that a port which was used a moment ago does not count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except PermissionError as error:
            raise PortUnusable(f"port {port} may not be used by this user") from error
        except OSError as error:
            raise PortUnusable(f"port {port} is taken") from error
        bound: int = probe.getsockname()[1]
        return bound


def is_listening(port: int) -> bool:
    """Tell whether somebody accepts connections on this port; one who is slow to do so counts too."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except TimeoutError:
        return True
    except OSError:
        return False
