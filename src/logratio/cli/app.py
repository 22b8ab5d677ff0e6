"""The command `logratio`: its verbs, its help, its exit codes."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from shutil import get_terminal_size
from traceback import print_exc
from types import TracebackType
from typing import TYPE_CHECKING

from .. import __doc__ as purpose
from .. import __version__
from ..errors import ConfigError, LogratioError, PeerError

if TYPE_CHECKING:
    from cyclopts import App

DONE, OURS, INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: done, a fault of this program, the person's input, interrupted."""


@dataclass(frozen=True)
class Verb:
    """A command: its name, which is also its file in this package, its group, its words, and what it does."""

    name: str
    group: str
    usage: str
    summary: str


VERBS = (
    Verb("quickstart", "Start", "[--full]", "align a model in a built-in world, in minutes, on a CPU"),
    Verb("init", "Start", "MODEL DATA … [--objective NAME]", "write a recipe for a model and a data file"),
    Verb(
        "audit",
        "Data",
        "DATA … [--eval-data D] [--model M] [--fix FILE]",
        "look for faults in preference data, and mend them",
    ),
    Verb("label", "Data", "[DATA] [--output FILE] [--status FILE]", "judge pairs by hand, blind, on a local page"),
    Verb(
        "check", "Train", "[RECIPE.yaml] [--full] [--KEY VALUE …]", "look for what is wrong with a run before it starts"
    ),
    Verb("train", "Train", "[RECIPE.yaml] [--KEY VALUE …]", "align a model from a preference file"),
    Verb("sweep", "Train", "[RECIPE.yaml] --grid KEY=V,V [--KEY VALUE …]", "train over a grid of values, and compare"),
    Verb(
        "eval",
        "Judge",
        "RUN_OR_MODEL --data D | RUN_OR_MODEL --tasks T | --judge J --data D",
        "measure a run, model or judge on preferences or tasks",
    ),
    Verb("winrate", "Judge", "A B [C …] --prompts F --judge J", "say whose answers to prompts a judge prefers"),
    Verb("sample", "Judge", "RUN", "show policy beside reference on the same prompts"),
    Verb("report", "Understand", "RUN [RUN …]", "write a run's report.html again, or compare runs"),
    Verb("diagnose", "Understand", "RUN [--where] [--learned]", "say what a run's metrics show, and what to do"),
    Verb("objectives", "Understand", "[NAME …] [--markdown]", "list objectives: formula, needs, defaults, paper"),
    Verb(
        "lab", "Understand", "[OBJECTIVE …] [--regime NAME] [--page FILE]", "see what objectives converge to, exactly"
    ),
    Verb("export", "Ship", "RUN [--output FOLDER] [--push USER/NAME] [--merge]", "write a model to a folder or hub"),
    Verb("cache", "Ship", "[--prune]", "show what is cached, and prune it"),
)

OPTIONS = {
    "--help, -h": "show this, or a command's options",
    "--version": "show the version",
    "--debug": "with any command: show the traceback of an error",
    "--install-completion": "complete commands and options in your shell",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 our fault, 2 the person's input, 130 interrupted.

    Args:
        arguments: Words after the program's name; default: those of the process.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    if not debug:
        sys.excepthook = _fault
    try:
        code = _run(words)
        sys.stdout.flush()
    except LogratioError as error:
        if debug:
            print_exc()
        tell(error)
        code = error.exit_code
    except KeyboardInterrupt:
        if debug:
            print_exc()
        print("\nlogratio: interrupted.", file=sys.stderr)
        code = INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe, as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = DONE
    sys.exit(code)


def overview() -> str:
    """Return what `logratio --help` shows: the verbs in their groups."""
    width = max(len(name) for name in (*(verb.name for verb in VERBS), *OPTIONS))
    lines = [f"{purpose}", "", "Usage: logratio COMMAND …", ""]
    for group in dict.fromkeys(verb.group for verb in VERBS):
        lines += [group, *(f"  {verb.name:{width}}  {verb.summary}" for verb in VERBS if verb.group == group), ""]
    lines += ["Options", *(f"  {name:{width}}  {text}" for name, text in OPTIONS.items()), ""]
    return "\n".join([*lines, "`logratio COMMAND --help` shows a command's options."])


def build() -> App:
    """Return the command-line application; a verb's file is imported when the verb is used."""
    from cyclopts import App, Group, Parameter

    app = App(
        name="logratio",
        help=purpose,
        help_format="plaintext",
        version=f"logratio {__version__}",
        default_parameter=Parameter(negative=()),
    )
    groups = {name: Group.create_ordered(name) for name in dict.fromkeys(verb.group for verb in VERBS)}
    for verb in VERBS:
        app.command(
            f"{__package__}.{verb.name}:run",
            name=verb.name,
            group=groups[verb.group],
            help=_sentence(verb.summary),
            usage=f"Usage: logratio {verb.name} {verb.usage}".rstrip(),
        )
    app.register_install_completion_command()
    return app


def tell(error: LogratioError) -> None:
    """Print an error for a person, on standard error; of several processes only one speaks of a shared cause."""
    rank = os.environ.get("RANK", "0")
    if rank != "0" and isinstance(error, (ConfigError, PeerError)):
        return
    name = "logratio" if rank == "0" else f"logratio (process {rank})"
    print("\n".join(_wrapped(line) for line in _shown(f"{name}: {error}").split("\n")), file=sys.stderr)


def _shown(text: str) -> str:
    """Return a text with which no character of a row or a file's name can speak to the terminal."""
    from ..report.text import visible  # not before it is needed: `--help` is to be quick

    return visible(text)


def _run(words: list[str]) -> int:
    if words in ([], ["--help"], ["-h"]):  # answered without importing a command-line library
        print(overview())
        return DONE
    from cyclopts import CycloptsError

    app = build()
    app.suppress_keyboard_interrupt = False
    try:
        code = app(words, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        used = next((f" {verb.name}" for verb in VERBS if [verb.name] == words[:1]), "")
        raise ConfigError(f"{str(error).strip()} See: logratio{used} --help") from None
    return code if isinstance(code, int) else DONE


def _fault(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say what went wrong inside this program, and how to show where."""
    lines = [
        _shown(f"logratio: a fault of this program: {kind.__name__}: {error}"),
        "What the run wrote before stays. Run the same command with --debug to see where it happened,",
        f"and report that together with the command and this version: {__version__}.",
    ]
    print("\n".join(_wrapped(line) for line in lines), file=sys.stderr)


def _wrapped(line: str) -> str:
    """Break a line at words for a terminal; a file or pipe gets it whole."""
    if not sys.stderr.isatty():
        return line
    return textwrap.fill(line, get_terminal_size().columns, break_long_words=False, break_on_hyphens=False)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
