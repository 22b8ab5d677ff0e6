"""Whether the hub answers at all: asked once, so that a machine without a network is not kept waiting by retries."""

from __future__ import annotations

import functools
import socket
import time
from urllib.parse import urlsplit
from urllib.request import getproxies

TIMEOUT = 5.0
"""Seconds until a host that stays silent counts as out of reach."""

_VALID = 60.0


def hub_answers() -> bool:
    """Return whether a connection to the hub's host can be opened; True where a proxy stands between.

    The answer is kept for a minute. Without this question, the hub's client retries each file for some 25 seconds.
    """
    from huggingface_hub import constants

    return _answers(constants.ENDPOINT, int(time.monotonic() / _VALID))


@functools.lru_cache(maxsize=4)
def _answers(endpoint: str, minute: int) -> bool:  # the minute is a part of the key
    address = urlsplit(endpoint)
    if getproxies().get(address.scheme) or getproxies().get("all"):
        return True
    try:
        port = address.port or (80 if address.scheme == "http" else 443)
        socket.create_connection((address.hostname or "", port), timeout=TIMEOUT).close()
    except OSError:
        return False
    return True
