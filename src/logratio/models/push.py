"""A model folder → a repository of a model hub, through huggingface_hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import ConfigError, HubError, ModelError
from ..network import hub_answers
from .card import known_elsewhere
from .quiet import no_bars
from .save import PROVENANCE

_ADAPTER = "adapter_config.json"


def push(folder: Path, name: str, *, private: bool = False) -> str:
    """Send a model folder to the hub in one commit, making the repository where there is none; return its address.

    The hub is the one that HF_ENDPOINT names, by default huggingface.co; the token is HF_TOKEN or what `hf auth login`
    stored, and is in no message. Paths of this machine stay here: a base is named as the hub knows it, or by the last
    part of its path.

    Args:
        folder: A whole model or an adapter, with its card.
        name: USER/NAME.
        private: Whether a repository that is made now is private; one that exists stays as it is.

    Raises:
        ConfigError: The name is none.
        ModelError: The adapter's base is a folder of this machine.
        HubError: No token, no connection, or the hub refuses.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, constants, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if name.count("/") != 1:
        raise ConfigError(_no_name(name))
    _require_known_base(folder)
    hub = constants.ENDPOINT
    if constants.HF_HUB_OFFLINE:
        raise HubError(f"HF_HUB_OFFLINE is set, so nothing is sent to {hub}; unset it to push {name}.")
    if not (token := get_token()):
        raise HubError(
            f"there is no token for {hub}, and it takes models only from those it knows; make one that may write, then "
            "run `hf auth login` or set HF_TOKEN."
        )
    if not hub_answers():
        raise HubError(
            f"{hub} cannot be reached from here, so {name} was not pushed; check the network, or HF_ENDPOINT."
        )
    no_bars()
    api = HfApi(token=token)
    files = [CommitOperationAdd(path, source) for path, source in _sent(folder).items()]
    try:
        api.create_repo(name, private=private or None, exist_ok=True)
        api.create_commit(name, files, commit_message="Model pushed by logratio")
    except HFValidationError:
        raise ConfigError(_no_name(name)) from None
    except HfHubHTTPError as error:
        raise HubError(_refused(error.response.status_code, hub, name)) from None
    except Exception as error:
        if not _of_the_way(error):
            raise
        raise HubError(
            f"the connection to {hub} broke off while {name} was sent ({type(error).__name__}); run the same command "
            "again: what has arrived is not sent twice."
        ) from None
    return f"{hub}/{name}"


def _of_the_way(error: BaseException | None) -> bool:
    """Whether the transport failed, whose errors huggingface_hub passes on as they are, or as causes of its own."""
    while error is not None and not type(error).__module__.startswith("httpx"):  # httpx2 where that is what it uses
        error = error.__cause__
    return error is not None


def _no_name(name: str) -> str:
    return f'--push "{name}" is no name of a repository; write USER/NAME with letters, digits, ".", "_" and "-".'


def _refused(status: int, hub: str, name: str) -> str:
    if status == 401:
        return (
            f"{hub} does not accept the token of this machine (401), so {name} was not pushed; log in again with "
            "`hf auth login`, or set HF_TOKEN to one that is valid."
        )
    if status == 403:
        return (
            f"{hub} does not let the token of this machine write to {name} (403); use a token with write access, or a "
            "name under an account that you may write to."
        )
    return f"{hub} answered {status} when {name} was pushed, so it may not be there in full; try again later."


def _require_known_base(folder: Path) -> None:
    base = _adapted(folder)
    if base is not None and not base["hub"]:
        raise ModelError(
            f"the adapter in {folder} stands on {base['name']}, a folder of this machine, so nobody else could load "
            "it; push it with --merge."
        )


def _adapted(folder: Path) -> dict[str, Any] | None:
    """Return the base of an adapter as others know it; None where the folder holds a whole model."""
    if not (folder / _ADAPTER).is_file():
        return None
    stored = json.loads((folder / _ADAPTER).read_text(encoding="utf-8"))
    return known_elsewhere({"name": stored["base_model_name_or_path"], "revision": stored.get("revision")})


def _sent(folder: Path) -> dict[str, Any]:
    """Return what each file of the repository is: a path here, or bytes where names are to be told as others know them.

    Hidden files are left out.
    """
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in found}
    sent: dict[str, Any] = {name: path for name, path in named.items() if not name.startswith(".") and "/." not in name}
    if PROVENANCE in sent:
        told = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
        known = known_elsewhere(told["base"])
        sent[PROVENANCE] = _json(told | {"base": {key: known[key] for key in told["base"]}})
    if (base := _adapted(folder)) is not None:
        told = json.loads((folder / _ADAPTER).read_text(encoding="utf-8"))
        sent[_ADAPTER] = _json(told | {"base_model_name_or_path": base["name"], "revision": base["revision"]})
    return sent


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
