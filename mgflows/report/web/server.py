"""The web server of the live view."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mgflows import errors
from mgflows.errors import InputError, ServiceError

if TYPE_CHECKING:
    from pathlib import Path

    from mgflows.database import GlassDatabase

__all__ = ["LiveView", "open_server"]

_THREADS = 4
_SHORTEST_TOKEN = 16


@dataclass(frozen=True)
class LiveView:
    """A bound server.

    Parameters
    ----------
    server
        Waitress's server; its ``run`` blocks until Ctrl-C.
    address
        Address to open in a browser, with the token.
    """

    server: object
    address: str

    def run(self) -> None:
        """Answer requests until Ctrl-C."""
        self.server.run()  # type: ignore[attr-defined]

    def close(self) -> None:
        """Free the port."""
        self.server.close()  # type: ignore[attr-defined]


def open_server(
    database: GlassDatabase,
    host: str = "127.0.0.1",
    port: int = 8765,
    token: str | None = None,
    experiments: Path | None = None,
) -> LiveView:
    """Bind the live view of a database to an address.

    Parameters
    ----------
    database
        The database.
    host
        Address to listen at. If other machines can reach it, requests need a token.
    port
        Its port; 0 takes a free one.
    token
        The token, of at least 16 characters; by default a random one if `host` needs one.
    experiments
        A file of your own measured values and curves, for the reports.

    Raises
    ------
    MissingDependencyError
        If Flask, waitress, matplotlib or jinja2 is not installed.
    InputError
        If the token is too short.
    ServiceError
        If the address is in use or not one of this machine.
    """
    for module in ("flask", "waitress", "jinja2", "matplotlib"):
        errors.require(module, "serve", "the live view")
    import waitress

    from mgflows.report.web.access import is_loopback
    from mgflows.report.web.app import create_app

    if token is not None and len(token) < _SHORTEST_TOKEN:
        raise InputError(
            f"the token has {len(token)} characters but must have at least {_SHORTEST_TOKEN}",
            hint="leave --token out to get a random one",
        )
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)
    try:
        server = waitress.create_server(
            create_app(database, token, experiments),
            host=host,
            port=port,
            threads=_THREADS,
            ident=None,
        )
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None)
        reason = os.strerror(number) if number and number > 0 else str(error)
        raise ServiceError(
            f"the live view cannot listen at {host}, port {port}: {reason}",
            hint="choose another --port (0 takes a free one) or --host",
        ) from error
    # Names with several addresses have several sockets of the same port.
    used = getattr(server, "effective_port", None) or server.effective_listen[0][1]
    shown = f"[{host}]" if ":" in host else host
    query = f"?token={token}" if token else ""
    return LiveView(server, f"http://{shown}:{used}/{query}")
