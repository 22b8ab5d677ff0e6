"""A completions server on loopback around a model, as several tests ask one."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from logratio.rollout.engines.completions import CompletionsEngine
from logratio.rollout.generate import generate_by
from logratio.rollout.http import Server
from logratio.rollout.sampling import Rules


class Completions(ThreadingHTTPServer):
    """A completions server around a model, told what to leave out or to get wrong."""

    daemon_threads = True

    def __init__(self, model, spoil=lambda choice: choice, ids=True):
        super().__init__(("127.0.0.1", 0), Handler)
        self.model, self.spoil, self.ids, self.seen, self.lock = model, spoil, ids, [], threading.Lock()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def engine(self, **more):
        return CompletionsEngine(Server(self.url, retries=0), "tiny", **more)

    def answer(self, body):
        with self.lock:  # one model, several requests
            rules = Rules(
                body["n"], body["max_tokens"], np.array(body["stop_token_ids"]), body["temperature"], body["seed"]
            )
            drawn = generate_by(self.model, [np.array(body["prompt"], np.int32)], rules)[0]
        choices = []
        for index, one in enumerate(drawn):
            told = {"tokens": [f"token_id:{i}" for i in one.tokens], "token_logprobs": one.logps.tolist()}
            choice = {"index": index, "text": "?", "finish_reason": "stop" if one.ended else "length"}
            choice |= {"logprobs": told, **({"token_ids": one.tokens.tolist()} if self.ids else {})}
            choices.append(self.spoil(choice))
        return {"object": "text_completion", "choices": choices[::-1]}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        assert self.path == "/v1/completions"
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append(body)
        raw = json.dumps(self.server.answer(body)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        pass
