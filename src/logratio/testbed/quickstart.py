"""`logratio quickstart`: align a model in a built-in world by DPO; say what changed and what that does not show."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ..evaluate.api import evaluate
from ..maths.intervals import Measure
from .build import Built, Say, build
from .lexicon import Size
from .measure import GRAM, Answers, agreement, answers
from .trial import QUICKSTART, Trial, trial

HOLD = 30.0
"""β of the control in which the policy must stay where it is."""

NEAR = 1 / 5
"""Share of the main run's KL under which that control counts as held. Its KL is not 0: whatever β, the optimiser's step
size leaves about 0.1 nat of noise."""


def main(*, full: bool = False, seed: int = 0, size: Size = "small") -> None:
    """Show the whole thing work, on standard output.

    Args:
        full: Run the controls too.
        seed: Of the world and of every run.
        size: Of the world.
    """
    console = Console(highlight=False, markup=False, soft_wrap=True)
    began = time.monotonic()

    def say(line: str) -> None:
        console.print(f"{time.monotonic() - began:4.0f} s  {line}")

    built = build(size, seed, say=say)
    say("answering held-out prompts before training")
    before = answers(built, built.model, seed=seed + 1)
    output = next(path for path in _outputs() if not path.exists())
    main_trial = trial(built, before, built.judged(built.world.reward), output=output, say=say)
    _show(console, built, before, main_trial)
    if full:
        with tempfile.TemporaryDirectory() as scratch:
            console.print("\nControls: each is one more run in which one thing differs.\n")
            for line in controls(built, before, main_trial.measures["kl"], Path(scratch), say):
                console.print(f"\n{line}\n")
    console.print(f"\n{_LIMITS}\n")
    console.print(f"Page to look at:   {output / 'report.html'}")
    console.print(f"Compare texts:     logratio sample {output}")
    if not full:
        console.print("Run the controls:  logratio quickstart --full")


def controls(built: Built, before: Answers, gone: Measure, scratch: Path, say: Say) -> Iterable[str]:
    """Run the three controls; yield one verdict each.

    Labels by coin must not raise the reward (they may lower it: what they teach is noise), a large β must not move the
    policy, and labels by the proxy must raise the proxy and lower the reward.

    Args:
        built: The world.
        before: The reference's answers.
        gone: KL of the main run.
        scratch: Folder for their run directories.
        say: Told what is being done.
    """
    coin = trial(built, before, built.judged(lambda text: 0.0), output=scratch / "coin", say=say).measures
    yield _verdict(
        "Shuffled preferences (each pair's order by a fair coin)",
        f"true reward {_signed(coin['change'])}",
        "not above 0",
        _low(coin["change"]) <= 0,
    )
    plain = QUICKSTART[built.world.size]
    firm = replace(plain, objective={**plain.objective, "beta": HOLD})
    held = trial(built, before, built.judged(built.world.reward), output=scratch / "held", goal=firm, say=say).measures
    yield _verdict(
        f"β {HOLD:g} instead of {plain.objective['beta']:g}",
        f"KL {_plain(held['kl'])} nats, where it was {_plain(gone)}",
        "close to 0",
        _high(held["kl"]) < NEAR * _low(gone),
    )
    hack = trial(built, before, built.judged(built.world.reward.proxy), output=scratch / "hack", say=say).measures
    yield _verdict(
        "Preferences by a proxy that pays for every word of praise, negated or not",
        f"words of praise {_signed(hack['proxy_change'])}, true reward {_signed(hack['change'])}",
        "proxy up, true reward down",
        _low(hack["proxy_change"]) > 0 > _high(hack["change"]),
    )


_LIMITS = """\
What this does not show. The world is small, its language is a grammar of a few hundred words, and its judge follows \
Bradley–Terry on a reward that is known: real preferences do none of these. That DPO finds this reward says that the \
parts work together, not that your data holds what you want, that a large model behaves as this one, or which method \
is best. The prompts are new, but of the same kind as those trained on. Intervals cover the sampling of prompts and \
answers, not the choice of seed: try --seed 1."""


def _outputs() -> Iterable[Path]:
    """Names for the run directory, in the order in which they are tried."""
    yield Path("runs") / "quickstart"
    yield from (Path("runs") / f"quickstart-{n}" for n in itertools.count(2))


def _show(console: Console, built: Built, before: Answers, after: Trial) -> None:
    """Print the table of before and after, and one prompt answered by both."""
    was, now, reward = before.measures(), after.measures, built.world.reward
    judged = evaluate(after.run.directory, data=built.held_out_preferences, samples=0)
    rows = (
        (f"true reward r*, {reward.low:g} to {reward.high:g}", was["reward"], now["reward"]),
        ("  change at the same prompts", None, now["change"]),
        ("wins over the reference, by r*", None, now["win_rate"]),
        ("KL from the reference, nats", None, now["kl"]),
        ("accuracy on held-out pairs", None, Measure(**judged["accuracy"])),
        ("  that r* itself would reach", None, agreement(built)),
        ("sentences the grammar reads", was["parsed"], now["parsed"]),
        (f"distinct {GRAM}-grams", was["distinct"], now["distinct"]),
        ("length, tokens", was["length"], now["length"]),
    )
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for title in (f"{len(before.texts)} prompts never seen", "before", "after, 95 % interval"):
        table.add_column(title, no_wrap=True)
    for name, first, second in rows:
        table.add_row(name, _plain(first) if first else "—", _plain(second))
    console.print()
    console.print(table)
    console.print(f"\n{built.held_out[0]} …\n  before: {before.texts[0]}\n  after:  {after.after.texts[0]}")


def _verdict(what: str, found: str, expected: str, holds: bool) -> str:
    return f"{what}: {found}; {'as it should, ' if holds else 'NOT AS EXPECTED: should be '}{expected}"


def _plain(measure: Measure) -> str:
    if measure.low is None or measure.high is None:
        return f"{measure.mean:.2f}"
    return f"{measure.mean:.2f} [{measure.low:.2f}, {measure.high:.2f}]"


def _signed(measure: Measure) -> str:
    return f"{measure.mean:+.2f} [{_low(measure):+.2f}, {_high(measure):+.2f}]"


def _low(measure: Measure) -> float:
    return float("-inf") if measure.low is None else measure.low


def _high(measure: Measure) -> float:
    return float("inf") if measure.high is None else measure.high
