"""Access to the live view: from this machine, or with a token."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import flask

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

__all__ = ["Access", "is_loopback"]

_COOKIE = "mgflows"
_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens at an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Access:
    """Checks every request.

    Without a token, requests must name this machine: a page of another site whose name resolves to
    127.0.0.1 (DNS rebinding) is refused. With a token, the first request has it in the address or
    in the header ``Authorization: Bearer``; later ones have a cookie with its hash.

    Parameters
    ----------
    token
        The token; None if only this machine can reach the server.
    """

    token: str | None

    def check(self) -> Response | None:
        """Return the response to a request that is refused or redirected; None if it is allowed."""
        request = flask.request
        if self.token is None:
            if _host_name(request.host) in _LOOPBACK_NAMES:
                return None
            flask.abort(403, "the live view is for this machine; use http://localhost")
        if "token" in request.args:
            if not hmac.compare_digest(request.args["token"].encode(), self.token.encode()):
                flask.abort(
                    403, "the token in the address is wrong; use what mgflows serve printed"
                )
            # The token must not stay in the address, which browsers store and send to others.
            others = [(k, v) for k, v in request.args.items(multi=True) if k != "token"]
            query = f"?{urlencode(others)}" if others else ""
            response = flask.redirect(f"{request.path}{query}")
            response.set_cookie(_COOKIE, self._digest, httponly=True, samesite="Strict")
            return response
        authorization = request.authorization
        given = (
            hashlib.sha256((authorization.token or "").encode()).hexdigest()
            if authorization is not None and authorization.type == "bearer"
            else request.cookies.get(_COOKIE, "")
        )
        if not hmac.compare_digest(given.encode(), self._digest.encode()):
            flask.abort(401, "the live view needs a token; open the address mgflows serve printed")
        return None

    @property
    def _digest(self) -> str:
        return hashlib.sha256((self.token or "").encode()).hexdigest()


def _host_name(host: str) -> str:
    """The name in a Host header, without the port and the brackets of an IPv6 address."""
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return name.strip("[]").lower()
