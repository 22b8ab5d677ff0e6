"""A chat server on loopback that speaks the protocol, and can be told to break it."""

import json
import re
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ChatServer(ThreadingHTTPServer):
    """Prefers the longer response and scores by length, as `opinion` says; `script` breaks the first requests.

    Attributes:
        script: What is done in place of answering, first to last: functions of the request's handler.
        seen: Headers and bodies of all requests.
        most: Requests that were under way at once.
    """

    daemon_threads = True

    def __init__(self, opinion, script=(), key="", pause=0.0):
        super().__init__(("127.0.0.1", 0), Handler)
        self.opinion, self.script, self.key, self.pause = opinion, list(script), key, pause
        self.seen, self.active, self.most, self.lock = [], 0, 0, threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request, client_address):
        """A client that hangs up on us is what some tests are about."""


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            server.seen.append((dict(self.headers), body))
            server.active += 1
            server.most = max(server.most, server.active)
            fault = server.script.pop(0) if server.script else None
        try:
            time.sleep(server.pause)
            if self.path != "/v1/chat/completions":
                self.error(404, "no such path")
            elif server.key and self.headers.get("Authorization") != f"Bearer {server.key}":
                self.error(401, f"Incorrect key provided: {self.headers.get('Authorization')}")
            elif fault is not None:
                fault(self)
            else:
                self.say(server.opinion(*parts(body)))
        finally:
            with server.lock:
                server.active -= 1

    def say(self, text, finish="stop"):
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
        usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
        self.send(200, json.dumps({"id": "1", "object": "chat.completion", "choices": [choice], "usage": usage}))

    def error(self, status, message, **headers):
        self.send(status, json.dumps({"error": {"message": message, "type": "x"}}), **headers)

    def send(self, status, text, length=None, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        raw = text.encode()
        self.send_header("Content-Length", str(len(raw) if length is None else length))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        pass


def parts(body):
    """Return the responses that a request shows, in their order."""
    assert body["model"] == "judge-1" and body["messages"][0]["role"] == "system"
    text = body["messages"][1]["content"]
    return [m[2] for m in re.finditer(r"\[(response.*?) [0-9a-f]{8}\]\n(.*?)\n\[end of \1 ", text, re.DOTALL)]


def longer(first, second=None):
    """Prefer the longer response, or score it by its length."""
    if second is None:
        return f"It is so long.\n\nScore: {min(len(first), 10)}"
    verdict = "A" if len(first) > len(second) else "B" if len(second) > len(first) else "tie"
    return f"<think>Verdict: B</think>I looked.\n**Verdict: {verdict}**\n"


@contextmanager
def serving(opinion=longer, **options):
    server = ChatServer(opinion, **options)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
