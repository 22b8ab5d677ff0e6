"""Which requests may be answered: those of the page itself, opened by whoever holds the address. Pure.

The server listens on loopback only, but any page in the same browser, and any user of the machine, can send it
requests. So each must name this host (a name that an attacker's DNS points here does not), carry the secret of the
address, and, where it changes something, carry it in a header too, which another site cannot set unasked.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

MOST_BYTES = 1 << 14
"""Length limit of a request's body: a name, a key and a verdict."""

HEADER = "X-Logratio-Token"


def refusal(method: str, target: str, headers: Mapping[str, str], *, token: str, port: int) -> tuple[int, str] | None:
    """Return (HTTP status, sentence) of why a request is not answered; None where it is.

    Args:
        method: HTTP method.
        target: Path and query, as sent.
        headers: Of the request, under their usual names.
        token: The secret.
        port: Where the server listens.
    """
    hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
    if headers.get("Host", "").lower() not in hosts:
        return 421, "This address is not served here."
    parts = urlsplit(target)
    if not _same(parse_qs(parts.query).get("token", [""])[-1], token):
        return 403, "This address lacks the secret that `logratio label` printed; open that one."
    if method == "GET":
        return None if parts.path == "/" else (404, "There is no such page.")
    if method != "POST":
        return 405, "Only GET and POST are answered."
    if parts.path != "/answer":
        return 404, "There is no such page."
    origin = headers.get("Origin")
    if origin is not None and origin.lower() not in {f"http://{host}" for host in hosts}:
        return 403, "Another site's page may not judge here."
    if headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        return 403, "Another site's page may not judge here."
    if not _same(headers.get(HEADER, ""), token):
        return 403, "This request lacks the page's secret; reload the page."
    if headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        return 415, "A request holds JSON."
    return _length(headers)


def _length(headers: Mapping[str, str]) -> tuple[int, str] | None:
    length = headers.get("Content-Length", "")
    if headers.get("Transfer-Encoding") is not None or not (length.isascii() and length.isdigit()):
        return 411, "A request says how long it is."
    return (413, f"A request holds at most {MOST_BYTES:,} bytes.") if int(length) > MOST_BYTES else None


def _same(given: str, token: str) -> bool:
    """Compare in a time that does not tell how much of a guess is right."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), token.encode())
