"""TensorBoard, Weights & Biases, MLflow and Trackio as listeners: they receive the rows of `metrics.jsonl`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import MissingExtraError, RunError
from .events import Event, Listener

_NOT_PLOTTED = {"kind", "step", "select"}


def listeners(names: Sequence[str], directory: Path) -> list[Listener]:
    """Return a listener per tracker.

    Raises:
        MissingExtraError: Its package is not installed.
    """
    made = {"tensorboard": _tensorboard, "wandb": _wandb, "mlflow": _mlflow, "trackio": _trackio}
    return [made[name](directory) for name in names]


def scalars(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield (name, number) of a metrics row, as train/loss and eval/accuracy; a measure yields its mean."""
    for name, value in row.items():
        number = value["mean"] if isinstance(value, Mapping) and "mean" in value else value
        if name not in _NOT_PLOTTED and isinstance(number, (int, float)):
            yield f"{row['kind']}/{name}", float(number)


def _tensorboard(directory: Path) -> Listener:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise MissingExtraError("trackers: tensorboard", "tensorboard") from error
    writer = SummaryWriter(str(directory / "tensorboard"))

    def listen(event: Event) -> None:
        if event.kind in ("train", "eval"):
            for name, number in scalars(event.data["row"]):
                writer.add_scalar(name, number, event.data["step"])
        elif event.kind == "done":
            writer.close()

    return listen


def _wandb(directory: Path) -> Listener:
    try:
        import wandb
    except ImportError as error:
        raise MissingExtraError("trackers: wandb", "wandb") from error

    def begin(config: Mapping[str, Any]) -> Any:
        return wandb.init(name=directory.name, dir=str(directory), config=config)

    return _logged(begin, wandb.finish)


def _mlflow(directory: Path) -> Listener:
    """Return a listener that opens a run where MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME say."""
    try:
        import mlflow
    except ImportError as error:
        raise MissingExtraError("trackers: mlflow", "mlflow") from error
    started: list[Any] = []

    def listen(event: Event) -> None:
        if event.kind == "open":
            try:
                started.append(mlflow.start_run(run_name=directory.name))
                mlflow.log_params(dict(_flat(event.data["config"])))
            except (mlflow.MlflowException, ImportError) as error:
                told = str(error).split("\n")[0].rstrip(".")
                raise RunError(
                    f"trackers: mlflow opens no run ({told}); set MLFLOW_TRACKING_URI to a server that takes one."
                ) from error
        elif event.kind in ("train", "eval") and started:
            mlflow.log_metrics(dict(scalars(event.data["row"])), step=event.data["step"])
        elif event.kind == "done" and started:
            mlflow.end_run("FINISHED" if event.data["status"] == "finished" else "KILLED")

    return listen


def _trackio(directory: Path) -> Listener:
    """Return a listener that opens a run of the project TRACKIO_PROJECT, in TRACKIO_DIR or at TRACKIO_SERVER_URL."""
    try:
        import trackio
    except ImportError as error:
        raise MissingExtraError("trackers: trackio", "trackio") from error

    def begin(config: Mapping[str, Any]) -> Any:
        project = os.environ.get("TRACKIO_PROJECT", "logratio")
        own = {"embed": False, "auto_log_cpu": False, "auto_log_gpu": False}  # the machine is not what is tracked
        return trackio.init(project=project, name=directory.name, config=dict(_flat(config)), **own)

    return _logged(begin, trackio.finish)


def _logged(begin: Callable[[Mapping[str, Any]], Any], finish: Callable[[], Any]) -> Listener:
    """Return a listener that begins a run with its config, logs its rows by step, and finishes it."""
    started: list[Any] = []

    def listen(event: Event) -> None:
        if event.kind == "open":
            started.append(begin(event.data["config"]))
        elif event.kind in ("train", "eval") and started:
            started[0].log(dict(scalars(event.data["row"])), step=event.data["step"])
        elif event.kind == "done" and started:
            finish()

    return listen


def _flat(config: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a recipe's values by dotted key."""
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
