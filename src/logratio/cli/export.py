"""`logratio export`: a run's model in a folder of its own, or on a hub."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from cyclopts import Parameter

from ..errors import ConfigError


def run(
    run_or_model: Annotated[Path, Parameter(name="RUN", help="A run directory, or a model folder.")],
    /,
    *,
    output: Annotated[
        Path | None, Parameter(name=("--output", "--to"), help="Folder to write: new, or empty; --push needs none.")
    ] = None,
    merge: Annotated[bool, Parameter(show_default=False, help="Fold the adapter into its base.")] = False,
    push: Annotated[
        str | None, Parameter(help="Send it to this repository of the hub, USER/NAME, made where there is none.")
    ] = None,
    private: Annotated[bool, Parameter(show_default=False, help="With --push: a new repository is private.")] = False,
) -> None:
    """Write a run's model, tokenizer and card to a folder that transformers loads, or to a hub; print where."""
    from ..models.merge import export, model_folder
    from ..models.push import push as send

    if output is None and push is None:
        raise ConfigError("--output FOLDER and --push USER/NAME are both missing: say where the model goes.")
    if private and push is None:
        raise ConfigError("--private is read only with --push; leave it out.")
    if output is not None:
        print(export(run_or_model, output, merge=merge))
    if push is None:
        return
    if output is not None or not merge:
        print(send(output or model_folder(run_or_model), push, private=private))
        return
    with TemporaryDirectory(prefix="logratio-") as folder:
        print(send(export(run_or_model, Path(folder) / "model", merge=True), push, private=private))
