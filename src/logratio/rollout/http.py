"""One JSON request to a server that speaks OpenAI's protocol, sent again where that may help.

A key goes into the header of the request and nowhere else. Redirects are not followed, so that it reaches nobody else,
and what the server answers has it blotted out.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import math
import os
import random
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

from ..errors import ConfigError

LARGEST = 16 << 20
"""Bytes of an answer beyond which it is not read."""

LONGEST_WAIT = 120.0
"""Seconds that a server may ask to be left alone before the request counts as failed."""

_FIRST_WAIT = 1.0
_PASSING = {408, 409, 425, 429, 500, 502, 503, 504, 529}
_HOPELESS = {401, 402, 403, 404, 405}  # the next request would fare no better


class RequestError(Exception):
    """A request that failed; its text is a clause.

    Attributes:
        passing: Whether the same request may fare better later.
        hopeless: Whether every such request would fail: a wrong key, path or model.
        after: How long the server asked to wait, in seconds.
    """

    def __init__(self, why: str, *, passing: bool = False, hopeless: bool = False, after: float | None = None) -> None:
        super().__init__(why)
        self.passing, self.hopeless, self.after = passing, hopeless, after


@dataclass(frozen=True)
class Answer:
    """What a server answered, and how often it had to be asked again."""

    body: dict[str, Any]
    retries: int


@dataclass(frozen=True)
class Server:
    """Where requests go.

    Attributes:
        url: Address up to the version, as http://127.0.0.1:8000/v1.
        key: Sent as a bearer token; "" for none.
        timeout: Seconds from sending a request to the end of its answer.
        retries: Further attempts.
    """

    url: str
    key: str = field(default="", repr=False)
    timeout: float = 60.0
    retries: int = 5

    @classmethod
    def at(
        cls,
        url: str,
        *,
        api_key_env: str | None,
        timeout: float,
        retries: int,
        plain_http: bool = False,
        part: str = "judge",
    ) -> Server:
        """Return the server of a recipe.

        Args:
            url: Its address.
            api_key_env: Environment variable that holds its key, if it wants one.
            timeout: As the attribute.
            retries: As the attribute.
            plain_http: Whether text may cross a network unencrypted.
            part: Part of the recipe that names it, for messages.

        Raises:
            ConfigError: The address is none, carries a secret, or is unencrypted and not on this machine; or the
                variable is not set.
        """
        try:
            parts = urlsplit(url)
            known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:  # of a port that is no number, or half a bracket
            known = False
        if not known:
            raise ConfigError(f"{part}.url is no address; write it as http://127.0.0.1:8000/v1.")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ConfigError(
                f"{part}.url at {parts.hostname} carries a user, password or query, which would be written into the "
                "run's records; leave it out, and put a key into the variable that api_key_env names."
            )
        if parts.scheme == "http" and not plain_http and not _on_this_machine(str(parts.hostname)):
            raise ConfigError(
                f"{part}.url is {url}, over which prompts, responses and key would cross the network unencrypted; use "
                f"https, or set {part}.plain_http: true."
            )
        key = os.environ.get(api_key_env, "").strip() if api_key_env else ""
        if api_key_env and not key:
            raise ConfigError(f"{part}.api_key_env is {api_key_env}, which is not set; export it, or leave it out.")
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(f"{part}.api_key_env is {api_key_env}, which holds no key: keys are plain characters.")
        return cls(url.rstrip("/"), key, timeout, retries)

    def post(self, path: str, body: dict[str, Any], halted: threading.Event | None = None) -> Answer:
        """Send a request, and again after 1, 2, 4, … seconds (at random between half and all of it) where it may help.

        What may help: a server that is busy (408, 409, 425, 429, 5xx), which may say how long to wait; no connection;
        an answer that is late, cut off or no JSON.

        Args:
            path: After the address, as /chat/completions.
            body: JSON-able.
            halted: Set by whoever no longer wants the answer; nothing is sent again then.

        Raises:
            RequestError: It failed for good.
        """
        halted = halted or threading.Event()
        for attempt in range(self.retries + 1):
            try:
                return Answer(self._once(path, body), attempt)
            except RequestError as error:
                if not error.passing or attempt == self.retries:
                    times = f" ({attempt + 1} attempts)" if attempt else ""
                    raise RequestError(f"{error}{times}", hopeless=error.hopeless) from None
                backoff = min(_FIRST_WAIT * 2**attempt, LONGEST_WAIT) * random.uniform(0.5, 1)
                if halted.wait(backoff if error.after is None else error.after):
                    raise RequestError(f"{error}, and was not asked again") from None
        raise AssertionError("the loop returns or raises")

    def _once(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            status, after, text = self._exchange(path, json.dumps(body).encode())
        except TimeoutError:
            raise RequestError(f"no whole answer came within {self.timeout:g} s", passing=True) from None
        except (OSError, http.client.HTTPException) as error:
            raise RequestError(f"the connection failed ({type(error).__name__})", passing=True) from None
        if status != 200:
            said = f"the server answered {status}{self._message(text)}"
            if status in _HOPELESS or 300 <= status < 400:
                raise RequestError(f"{self.url}{path}: {said}; check url, model and key", hopeless=True)
            wait = None if after is None else _seconds(after)
            if wait is not None and wait > LONGEST_WAIT:
                raise RequestError(f"{said} and asks to wait {wait:.0f} s")
            raise RequestError(said, passing=status in _PASSING, after=wait)
        try:
            found = self._parsed(text)
        except (ValueError, RecursionError):  # the latter of brackets without end
            raise RequestError("the answer is no JSON", passing=True) from None
        if not isinstance(found, dict):
            raise RequestError("the answer is no JSON object")
        return found

    def _exchange(self, path: str, body: bytes) -> tuple[int, str | None, str]:
        """Send one request; return status, Retry-After and text, in which the key may stand: `_parsed` blots it out."""
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(str(parts.hostname), parts.port, timeout=self.timeout)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        late = threading.Event()
        try:
            connection.connect()
            watch = threading.Timer(self.timeout, _hang_up, (connection.sock, late))  # a socket's own limit is per read
            watch.daemon = True
            watch.start()
            try:
                connection.request("POST", f"{parts.path}{path}", body, headers)
                response = connection.getresponse()
                raw = response.read(LARGEST + 1)
                declared = response.getheader("Content-Length")
            except (OSError, http.client.HTTPException):
                if late.is_set():
                    raise TimeoutError from None
                raise
            finally:
                watch.cancel()
        finally:
            connection.close()
        if late.is_set():
            raise TimeoutError
        if len(raw) > LARGEST:
            raise RequestError(f"the answer is longer than {LARGEST >> 20} MiB")
        if declared is not None and declared.isdigit() and len(raw) < int(declared):
            raise http.client.IncompleteRead(raw)
        return response.status, response.getheader("Retry-After"), raw.decode("utf-8", "replace")

    def _parsed(self, text: str) -> Any:
        """Return what an answer's JSON holds; the key is blotted out only now, since JSON may spell it otherwise.

        Raises:
            ValueError: It is no JSON.
            RecursionError: It is too deep.
        """
        found = json.loads(text)
        return _blotted(found, _spellings(self.key)) if self.key else found

    def _message(self, text: str) -> str:
        """Return what an error answer says, shortened, as a clause; "" where it says nothing that can be read."""
        try:
            error = self._parsed(text)["error"]
            said = str(error["message"] if isinstance(error, dict) else error)
        except (ValueError, KeyError, TypeError, RecursionError):
            return ""
        line = "".join(c if c.isprintable() else " " for c in said).strip()[:200]
        return f" ({line})" if line else ""


def _hang_up(sock: socket.socket, late: threading.Event) -> None:
    late.set()
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def _on_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _spellings(key: str) -> re.Pattern[str]:
    r"""Return what matches a key, also in a text that is JSON itself, as an error passed on: \/ for /, \u002d for -."""
    return re.compile(r"\\{0,8}".join(rf"(?:{re.escape(c)}|(?i:u{ord(c):04x}))" for c in key))


def _blotted(found: Any, key: re.Pattern[str]) -> Any:
    if isinstance(found, str):
        return key.sub("[key]", found)
    if isinstance(found, list):
        return [_blotted(one, key) for one in found]
    if isinstance(found, dict):
        return {_blotted(name, key): _blotted(one, key) for name, one in found.items()}
    return found


def _seconds(after: str) -> float | None:
    """Return how long Retry-After asks to wait: seconds, or a date; None where it says neither."""
    try:
        wait = float(after)
        return max(wait, 0.0) if math.isfinite(wait) else None
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(after).timestamp() - time.time(), 0.0)
    except ValueError:
        return None
