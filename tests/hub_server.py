"""A model hub small enough for a test: it makes repositories, takes files, large ones too, and refuses strangers."""

import base64
import hashlib
import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

TOKEN = "hf_" + "known" * 6
READER = "hf_" + "reads" * 6
"""A token that is known, and may write nothing."""


class Hub:
    """What the hub holds.

    Attributes:
        url: Its address.
        repositories: Name → what was asked for when it was made.
        files: Name → file → bytes, as of the last commit.
        messages: Of the commits.
        met: (method, path) of every request.
        drops: Parts of paths on which it hangs up.
    """

    def __init__(self):
        self.url = ""
        self.repositories, self.files, self.stored = {}, {}, {}
        self.messages, self.met, self.drops = [], [], set()

    def answer(self, method, path, token, body):
        """Return status and JSON."""
        self.met.append((method, path))
        if method == "PUT" and path.startswith("/store/"):
            self.stored[path.removeprefix("/store/")] = body
            return 200, {}
        if token not in (TOKEN, READER):
            return 401, {"error": "Invalid credentials"}
        if path == "/api/validate-yaml":
            return 200, {"warnings": [], "errors": []}
        if path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            if token == READER or asked["organization"] != "someone":
                return 403, {"error": f"you may not write to {name}"}
            known = name in self.repositories
            self.repositories.setdefault(name, asked)
            return (409 if known else 200), {"url": f"{self.url}/{name}"}
        return self._of_repository(method, path, body)

    def _of_repository(self, method, path, body):
        name = next((name for name in self.repositories if f"/{name}" in path), None)
        if name is None:
            return 404, {"error": "no such repository"}
        if path.endswith("/info/lfs/objects/batch"):
            objects = json.loads(body)["objects"]
            upload = [
                {**own, "actions": {"upload": {"href": f"{self.url}/store/{own['oid']}", "header": {}}}}
                for own in objects
            ]
            return 200, {"transfer": "basic", "objects": upload}
        if "/preupload/" in path:
            files = json.loads(body)["files"]
            large = [{"path": own["path"], "shouldIgnore": False, "uploadMode": _mode(own["path"])} for own in files]
            return 200, {"files": large}
        if "/commit/" in path:
            self._commit(name, [json.loads(line) for line in body.splitlines()])
            return 200, {"success": True, "commitOid": "c0ffee", "commitUrl": f"{self.url}/{name}/commit/c0ffee"}
        return 200, {"id": name, "sha": "c0ffee"}

    def _commit(self, name, entries):
        taken = {}
        for entry in entries:
            value = entry["value"]
            if entry["key"] == "header":
                self.messages.append(value["summary"])
            elif entry["key"] == "file":
                taken[value["path"]] = base64.b64decode(value["content"])
            else:
                taken[value["path"]] = self.stored[value["oid"]]
                assert hashlib.sha256(taken[value["path"]]).hexdigest() == value["oid"]
        self.files[name] = taken


def _mode(path):
    return "lfs" if path.endswith(".safetensors") else "regular"


@contextmanager
def served():
    """Serve a hub on this machine."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def _respond(self):
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            token = (self.headers.get("authorization") or "").removeprefix("Bearer ")
            if any(part in self.path for part in hub.drops):
                self.close_connection = True
                return
            status, answer = hub.answer(self.command, self.path.partition("?")[0], token, body)
            sent = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_PUT = _respond

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
