import json
import socket
import time

import pytest
from label_desk import Client, desk, judged, serving

from logratio.errors import ConfigError
from logratio.label.guard import MOST_BYTES, refusal
from logratio.label.server import Server


@pytest.fixture
def own(tmp_path):
    with serving(desk(tmp_path)) as server:
        yield Client(server.server_address[1], server.token), server


SHOW = json.dumps({"action": "show", "annotator": "ada"}).encode()


def test_the_page_asks_and_is_answered(own, tmp_path):
    client, server = own
    status, headers, html = client.send("GET", f"/?token={client.token}", Content_Type=None, X_Logratio_Token=None)
    assert status == 200 and html.startswith("<!doctype html>") and server.address.endswith(f"/?token={client.token}")
    assert "Question" not in html and client.token not in html
    status, told = client.ask(action="show", annotator="ada")
    assert status == 200 and told["total"] == 3
    status, told = client.ask(action="judge", annotator="ada", task=told["task"], verdict="b")
    assert status == 200 and told["judged"] == 1 and len(judged(tmp_path)) == 1
    assert client.ask(action="judge", annotator="ada", task="0" * 32, verdict="b")[0] == 409


def test_it_listens_on_loopback_alone_and_its_secret_is_new_each_time(own, tmp_path):
    _, server = own
    assert server.server_address[0] == "127.0.0.1"
    (tmp_path / "other").mkdir()
    with Server(desk(tmp_path / "other")) as other:
        assert other.token != server.token and len(other.token) >= 43  # 256 bits
    with pytest.raises(ConfigError, match="cannot be listened at .*--port"):
        Server(desk(tmp_path / "other"), port=server.server_address[1])
    with pytest.raises(ConfigError, match="cannot be listened at"):
        Server(desk(tmp_path / "other"), port=70_000)


REFUSED = {
    "wrong secret in the address": (dict(path="/answer?token=wrong"), 403),
    "no secret in the address": (dict(path="/answer"), 403),
    "right secret first, a wrong one after it": (dict(path="/answer?token={token}&token=x"), 403),
    "not ASCII": (dict(path="/answer?token=%C3%A9%00"), 403),
    "wrong secret in the header": (dict(X_Logratio_Token="wrong"), 403),
    "no secret in the header": (dict(X_Logratio_Token=None), 403),
    "two secrets in headers": (dict(X_Logratio_Token=["{token}", "x"]), 403),
    "another name of this machine, as DNS rebinding sends it": (dict(Host="evil.example:{port}"), 421),
    "another port": (dict(Host="127.0.0.1:1"), 421),
    "no host": (dict(Host=None), 421),
    "two hosts": (dict(Host=["127.0.0.1:{port}", "evil.example"]), 421),
    "a name that begins alike": (dict(Host="127.0.0.1:{port}.evil.example"), 421),
    "another site": (dict(Origin="http://evil.example"), 403),
    "a page without origin": (dict(Origin="null"), 403),
    "another port of this machine": (dict(Origin="http://127.0.0.1:1"), 403),
    "another scheme": (dict(Origin="https://127.0.0.1:{port}"), 403),
    "what the browser calls another site": (dict(Sec_Fetch_Site="cross-site"), 403),
    "what the browser calls the same site": (dict(Sec_Fetch_Site="same-site"), 403),
    "a form": (dict(Content_Type="application/x-www-form-urlencoded"), 415),
    "plain text, which needs no leave": (dict(Content_Type="text/plain"), 415),
    "no length": (dict(Content_Length=None), 411),
    "a negative length": (dict(Content_Length="-1"), 411),
    "two lengths": (dict(Content_Length=["5", "6"]), 411),
    "pieces": (dict(Transfer_Encoding="chunked"), 411),
    "too much": (dict(Content_Length=str(MOST_BYTES + 1)), 413),
    "another path": (dict(path="/labels.jsonl?token={token}"), 404),
    "a path above": (dict(path="/../answer?token={token}"), 404),
    "an encoded path": (dict(path="/%61nswer?token={token}"), 404),
    "a whole address": (dict(path="http://evil.example/?token={token}"), 404),
    "not JSON": (dict(body=b"action=show"), 400),
    "not UTF-8": (dict(body=b'{"a": "\xff"}'), 400),
    "a list": (dict(body=b"[]"), 400),
    "too deep": (dict(body=b"[" * 9_000), 400),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_is_not_the_pages_is_refused(own, tmp_path, name):
    client, _ = own
    given, expected = REFUSED[name]

    def filled(value):
        if isinstance(value, list):
            return [filled(one) for one in value]
        return value.format(token=client.token, port=client.port) if isinstance(value, str) else value

    before = json.dumps(judged(tmp_path))
    asked = {"body": SHOW, **{key: filled(value) for key, value in given.items()}}
    status, headers, body = client.send(**asked)
    assert status == expected and json.loads(body)["error"].endswith(".")
    assert client.token not in body and "Question" not in body and json.dumps(judged(tmp_path)) == before
    assert "Access-Control-Allow-Origin" not in headers
    assert client.ask(action="show", annotator="ada")[0] == 200


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_do_nothing(own, method):
    client, _ = own
    status, headers, body = client.send(method, f"/answer?token={client.token}", body=SHOW)
    assert status in (404, 405, 501) and "Access-Control-Allow-Origin" not in headers and "Question" not in body


def test_the_page_without_the_secret_is_not_served(own):
    client, _ = own
    for path in ("/", "/?token=", "/?token=x", "/index.html", f"/{client.token}", f"/?Token={client.token}"):
        status, _, body = client.send("GET", path)
        assert status == 403 and "<" not in body, path
    assert client.send("GET", f"/page.js?token={client.token}")[0] == 404


def test_every_answer_forbids_what_a_planted_text_could_try(own):
    client, server = own
    answers = [client.send("GET", f"/?token={client.token}"), client.send(body=SHOW), client.send(Host="evil.example")]
    for _, headers, _ in answers:
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none';") and "unsafe" not in policy and "*" not in policy
        assert "frame-ancestors 'none'" in policy and "form-action 'none'" in policy and "base-uri 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Cache-Control"] == "no-store"
        assert headers["Referrer-Policy"] == "no-referrer" and headers["X-Frame-Options"] == "DENY"
        assert "Python" not in headers["Server"]


def test_what_is_no_http_is_answered_without_a_page_and_the_server_lives_on(own):
    client, _ = own
    for sent in (
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"A" * 70_000 + b"\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", client.port), timeout=10) as raw:
            raw.sendall(sent)
            try:
                told = raw.recv(1 << 16)
            except ConnectionResetError:
                told = b""
        assert b"<" not in told and b"Question" not in told
    assert client.ask(action="show", annotator="ada")[0] == 200


def test_somebody_who_says_nothing_keeps_nobody_waiting(own):
    client, _ = own
    idle = [socket.create_connection(("127.0.0.1", client.port)) for _ in range(20)]
    began = time.monotonic()
    assert client.ask(action="show", annotator="ada")[0] == 200
    assert time.monotonic() - began < 5
    for one in idle:
        one.close()


def test_what_follows_a_request_on_one_connection_is_not_read(own, tmp_path):
    client, _ = own
    inner = b'POST /answer?token=%s HTTP/1.1\r\n\r\n{"action": "show"}' % client.token.encode()
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as raw:
        head = f"GET /?token=no HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\nContent-Length: {len(inner)}\r\n\r\n"
        raw.sendall(head.encode() + inner)
        told = b""
        try:
            while piece := raw.recv(1 << 16):
                told += piece
        except ConnectionResetError:
            pass
    assert told.count(b"HTTP/1.0 ") == 1


def test_a_judgement_that_cannot_be_written_does_not_count(own, tmp_path):
    client, _ = own
    _, told = client.ask(action="show", annotator="ada")
    (tmp_path / "labels.jsonl").write_text('{"other": 1}\n')
    status, answer = client.ask(action="judge", annotator="ada", task=told["task"], verdict="a")
    assert status == 500 and "is no judgement" in answer["error"]
    (tmp_path / "labels.jsonl").write_text("")
    status, answer = client.ask(action="show", annotator="ada")
    assert status == 200 and answer["task"] == told["task"] and answer["judged"] == 0


def test_secrets_are_compared_whole_and_by_bytes():
    headers = {"Host": "localhost:1"}
    for guess in ("", "secre", "secrets", "SECRET", "sécret"):
        assert refusal("GET", f"/?token={guess}", headers, token="secret", port=1)[0] == 403
    assert refusal("GET", "/?token=secret", headers, token="secret", port=1) is None
