"""Whether the hub answers: a listening host does, a refusing one does not, and a proxy is taken at its word."""

import socket

import pytest

from logratio.data.hub import HubName, hub_rows
from logratio.errors import DataError
from logratio.network import hub_answers


@pytest.fixture
def endpoint(monkeypatch):
    """Name a local port as the hub, without proxies."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    def use(port):
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"http://127.0.0.1:{port}")

    return use


def test_a_host_answers_where_it_listens(endpoint):
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint(server.getsockname()[1])
        assert hub_answers()


def test_a_silent_port_does_not_answer_and_a_proxy_might(endpoint, monkeypatch):
    with socket.socket() as unused:  # bound and not listening: every connection is refused
        unused.bind(("127.0.0.1", 0))
        endpoint(unused.getsockname()[1])
        assert not hub_answers()
        monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
        with pytest.raises(DataError, match=r"org/rows is no file or folder here.*cannot be reached.*give its folder"):
            list(hub_rows(HubName.parse("org/rows"), None, "org/rows"))
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint(unused.getsockname()[1])
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        assert hub_answers()
