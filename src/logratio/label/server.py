"""The page's server: loopback only, one page, one question."""

from __future__ import annotations

import json
import secrets
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from ..errors import ConfigError, LogratioError
from .desk import Desk, Refused
from .guard import HEADER, MOST_BYTES, refusal
from .page import Page

LOOPBACK = "127.0.0.1"
_PATIENCE = 30  # seconds that a connection may say nothing


class Server(ThreadingHTTPServer):
    """Answers the page that it serves.

    Attributes:
        desk: What is asked.
        token: Secret of the address.
        page: What is served.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, desk: Desk, *, port: int = 0) -> None:
        """Listen on loopback, at a free port if `port` is 0.

        Raises:
            ConfigError: The port is taken or not allowed.
        """
        self.desk, self.token = desk, secrets.token_urlsafe(32)
        self.page = Page(people=desk.people)
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise ConfigError(
                f"port {port} cannot be listened at ({why}); choose another --port, or leave it out for a free one."
            ) from error

    @property
    def address(self) -> str:
        """What to open, the secret included."""
        return f"http://{LOOPBACK}:{self.server_address[1]}/?token={self.token}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a connection that broke off."""


class _Handler(BaseHTTPRequestHandler):
    """One request: the protocol stays HTTP/1.0, so that nothing follows what was refused."""

    server: Server
    timeout = _PATIENCE
    server_version, sys_version = "logratio", ""

    def do_GET(self) -> None:
        if not self._refused():
            self._send(200, "text/html; charset=utf-8", self.server.page.html)

    def do_POST(self) -> None:
        if self._refused():
            return
        try:
            status, told = 200, self.server.desk.answer(self._asked())
        except Refused as problem:
            status, told = problem.status, {"error": str(problem)}
        except LogratioError as problem:
            status, told = 500, {"error": str(problem)}
        self._json(status, told)

    def do_OPTIONS(self) -> None:
        self._refused()

    do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS

    def _refused(self) -> bool:
        why = refusal(
            self.command, self.path, dict(self._headers()), token=self.server.token, port=self.server.server_address[1]
        )
        if why is None:
            return False
        self._json(why[0], {"error": why[1]})
        return True

    def _headers(self) -> list[tuple[str, str]]:
        """Return the headers under the names that `guard` looks up; repeated ones joined, so that none of them fits."""
        names = ("Host", "Origin", "Sec-Fetch-Site", "Content-Type", "Content-Length", "Transfer-Encoding")
        every = [(name, self.headers.get_all(name, [])) for name in (*names, HEADER)]
        return [(name, ", ".join(values)) for name, values in every if values]

    def _asked(self) -> dict[str, Any]:
        body = self.rfile.read(min(int(self.headers["Content-Length"]), MOST_BYTES))
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            raise Refused(400, "A request holds one JSON object.")
        return asked

    def _json(self, status: int, told: dict[str, Any]) -> None:
        self._send(status, "application/json; charset=utf-8", json.dumps(told))

    def _send(self, status: int, kind: str, text: str) -> None:
        body = text.encode()
        self.send_response(status)
        fixed = {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Content-Security-Policy": self.server.page.policy,
            "Cache-Control": "no-store",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
        }
        for name, value in fixed.items():
            self.send_header(name, value)
        self.end_headers()
        if getattr(self, "command", None) != "HEAD":
            self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is no request at all."""
        self._json(code, {"error": "This request cannot be understood."})

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a line would show the secret."""
