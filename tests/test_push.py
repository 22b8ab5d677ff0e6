"""`logratio export --push` against a hub on this machine, which speaks what huggingface_hub asks of one."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from huggingface_hub import constants

from hub_server import READER, TOKEN, served
from logratio import train
from logratio.cli.app import main
from logratio.errors import LogratioError
from logratio.models.load import load_model
from logratio.models.push import push
from small_files import write_model, write_pairs


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a run of all weights and one of an adapter."""
    folder = tmp_path_factory.mktemp("push")
    write_model(folder / "my-model")
    write_pairs(folder / "pairs.jsonl", 24)
    quick = {"train.batch_size": 8, "eval.samples": 0, "every.eval": 1.0, "preflight": False}
    for name, lora in (("whole", None), ("adapter", {"r": 2, "alpha": 4.0})):
        train(folder / "my-model", folder / "pairs.jsonl", output=folder / name, lora=lora, **quick)
    return folder


@pytest.fixture(scope="module")
def hub():
    with served() as hub:
        yield hub


@pytest.fixture
def export(place, hub, tmp_path):
    """The command in a process of its own, to the hub that HF_ENDPOINT names, with a token or none."""

    def run(*words, token=TOKEN, **changes):
        own = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1"}
        unset = ("HF_TOKEN", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
        env = {name: value for name, value in os.environ.items() if name not in unset} | own | changes
        env |= {} if token is None else {"HF_TOKEN": token}
        words = [sys.executable, "-m", "logratio", "export", *map(str, words)]
        done = subprocess.run(words, capture_output=True, text=True, env=env, cwd=place)
        for known in (TOKEN, READER):
            assert known not in done.stdout + done.stderr
        return done

    return run


@pytest.mark.slow
def test_a_run_s_model_arrives_whole_with_card_and_tags(export, place, hub):
    done = export("whole", "--push", "someone/aligned", "--private")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{hub.url}/someone/aligned"
    assert hub.repositories["someone/aligned"]["visibility"] == "private"
    files = hub.files["someone/aligned"]
    assert files["model.safetensors"] == (place / "whole" / "model" / "model.safetensors").read_bytes()
    assert {"config.json", "tokenizer.json", "README.md", "provenance.json"} <= set(files)
    front = yaml.safe_load(files["README.md"].decode().split("---")[1])
    assert front["tags"] == ["logratio", "dpo"] and front["library_name"] == "transformers"
    card = files["README.md"].decode()
    assert "pairs.jsonl" in card and "| accuracy |" in card
    assert not [name for name, body in files.items() if str(place).encode() in body]


@pytest.mark.slow
def test_an_adapter_on_a_folder_goes_merged_or_not_at_all(export, place, hub, tmp_path):
    alone = export("adapter", "--push", "someone/merged")
    assert alone.returncode == 2 and "push it with --merge" in alone.stderr and "someone/merged" not in hub.repositories
    done = export("adapter", "--merge", "--push", "someone/merged")
    assert done.returncode == 0, done.stderr
    for name, body in hub.files["someone/merged"].items():
        (tmp_path / name).write_bytes(body)
        assert str(place).encode() not in body
    assert load_model(str(tmp_path)).adapter == "none"


@pytest.mark.slow
def test_an_adapter_on_a_hub_s_model_is_sent_with_that_name(export, place, hub):
    adapter = place / "on-hub"
    adapter.mkdir()
    cached = "/home/me/.cache/huggingface/hub/models--org--base/snapshots/abc123"
    told = {"base_model_name_or_path": cached, "revision": None, "r": 2}
    (adapter / "adapter_config.json").write_text(json.dumps(told))
    assert export(adapter, "--push", "someone/adapter").returncode == 0
    sent = json.loads(hub.files["someone/adapter"]["adapter_config.json"])
    assert sent == {"base_model_name_or_path": "org/base", "revision": "abc123", "r": 2}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set, so nothing is sent to"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot be reached from here"),
        ({"token": "hf_" + "x" * 30}, "does not accept the token of this machine (401)"),
    ],
)
def test_the_command_refuses_in_one_sentence(changes, said, export, hub):
    done = export("whole", "--push", "someone/refused", **changes)
    assert done.returncode == 2 and said in done.stderr and done.stdout == ""
    assert done.stderr.startswith("logratio: ") and done.stderr.count("\n") == 1 and done.stderr.endswith(".\n")
    assert "someone/refused" not in hub.files


@pytest.fixture
def here(hub, monkeypatch, tmp_path):
    """A model folder, and huggingface_hub in this process told of the hub."""
    for name, value in (("ENDPOINT", hub.url), ("HF_HUB_OFFLINE", False), ("HF_HUB_DISABLE_XET", True)):
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    folder = write_model(tmp_path / "model")
    (folder / ".hidden").write_text("not for others")
    return folder


@pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")  # of huggingface_hub's own requests
def test_a_folder_is_sent_in_one_commit_and_again(here, hub):
    assert push(here, "someone/small") == push(here, "someone/small") == f"{hub.url}/someone/small"
    files = hub.files["someone/small"]
    assert files == {path.name: path.read_bytes() for path in here.iterdir() if path.name != ".hidden"}
    assert hub.messages[-2:] == ["Model pushed by logratio"] * 2


@pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")
@pytest.mark.parametrize("part", ["/store/", "someone/dropped/commit/"])
def test_a_connection_that_breaks_off_says_so(part, here, hub, monkeypatch):
    monkeypatch.setattr(hub, "drops", {part})
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between the library's own attempts
    with pytest.raises(LogratioError, match="broke off while someone/dropped was sent"):
        push(here, "someone/dropped")
    assert "someone/dropped" not in hub.files


@pytest.mark.parametrize(
    ("token", "name", "said"),
    [
        ("", "someone/refused", "there is no token for http://127.0.0.1"),
        ("hf_" + "x" * 30, "someone/refused", "does not accept the token of this machine (401)"),
        (READER, "someone/refused", "does not let the token of this machine write to someone/refused (403)"),
        (TOKEN, "others/refused", "does not let the token of this machine write to others/refused (403)"),
        (TOKEN, "refused", '--push "refused" is no name of a repository'),
        (TOKEN, "some one/refused", "is no name of a repository"),
    ],
)
def test_a_refusal_is_one_sentence_without_the_token(token, name, said, here, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(LogratioError) as caught:
        push(here, name)
    told = str(caught.value)
    assert said in told and told.endswith(".") and "\n" not in told and not (token and token in told)
    assert name not in hub.files


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "--output FOLDER and --push USER/NAME are both missing"),
        (["run", "--output", "out", "--private"], "--private is read only with --push"),
    ],
)
def test_what_cannot_be_meant_is_refused(words, said, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["export", *words])
    assert caught.value.code == 2 and said in capsys.readouterr().err
