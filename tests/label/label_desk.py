"""A desk and its server over a few pairs, and somebody who posts to it as the page does."""

import json
import threading
from contextlib import closing, contextmanager
from http.client import HTTPConnection

from logratio.config import DataPart
from logratio.label.desk import Desk
from logratio.label.items import read_tasks
from logratio.label.server import Server
from logratio.label.store import Store


def write_samples(path, count, k=2):
    rows = [{"prompt": f"Question {n}?", "responses": [f"answer {n}.{j}" for j in range(k)]} for n in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def desk(folder, count=3, **settings):
    samples = write_samples(folder / "samples.jsonl", count)
    return Desk(read_tasks([DataPart(path=str(samples))]), Store(folder / "labels.jsonl"), **settings)


def judged(folder):
    return [json.loads(line) for line in (folder / "labels.jsonl").read_text(encoding="utf-8").splitlines()]


@contextmanager
def serving(own):
    with Server(own) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class Client:
    """Sends one request a connection, as raw as wanted."""

    def __init__(self, port, token):
        self.port, self.token = port, token

    def send(self, method="POST", path=None, body=None, **headers):
        """Return (status, headers, body); a header given as None is left out."""
        given = {
            "Host": f"127.0.0.1:{self.port}",
            "Content-Type": "application/json",
            "X-Logratio-Token": self.token,
            "Content-Length": str(len(body or b"")),
        }
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=10)) as connection:
            connection.putrequest(
                method, path or f"/answer?token={self.token}", skip_host=True, skip_accept_encoding=True
            )
            for name, value in given.items():
                for one in value if isinstance(value, list) else [value]:
                    if one is not None:
                        connection.putheader(name, one)
            connection.endheaders(body)
            with connection.getresponse() as answer:
                return answer.status, dict(answer.getheaders()), answer.read().decode()

    def ask(self, **asked):
        status, _, body = self.send(body=json.dumps(asked).encode())
        return status, json.loads(body)
