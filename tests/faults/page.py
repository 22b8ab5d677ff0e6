"""The page docs/faults.md; `python -c "import conftest, page; print(page.text(), end='')"` in this folder prints it."""

from bugs import FAULTS

_HEAD = """\
# Silent bugs, and what catches each

Most damage in this field comes from runs that look healthy: the loss falls, the accuracy rises, and the model has
learned something else. These are bugs that other programs shipped, by their number in the list that this project
keeps. Each was planted in this program as a wrong version of one of its functions, and what stands beside it caught it
(`tests/faults`).

A *preflight* check stops a run before its first step, or in its first steps, with that message; a
*test* is one of this project's own, whose assertion fails while the bug is in place. Without the bug each is content.

25 and 26 concern training on samples that the policy draws while it learns, and judges of 27 too: they are not planted
here.

"""

_TAIL = """
## Before a run

`logratio train` looks before it starts, and `logratio check` does so by itself, with the same arguments; it leaves no
run directory, and ends with exit code 2 where something is wrong. What was found is in `preflight.json` of the run
directory and, in short, in `manifest.json`. `--no-preflight` leaves it out, and the manifest says so.

- **Before a model is loaded**, on up to 64 groups spread over the data: the first two as the model sees them, with what
  is trained on; masks; BOS and end tokens; whether prompts end as at generation; text that the tokenizer does not know.
  Of all rows: which share is left out, and why; whether enough pairs are held out to see success or harm.
- **Before the first step**, on the four shortest groups: learning rate, the memory of the longest bin, reference and
  cache; then forward passes in other orders, packings and paddings; then the gradient, as a whole and group by group.
  There the reference is lowered by a few tenths of a nat, unevenly, since at the reference itself a baseline over the
  step is 0 whatever is averaged. For these groups alone the reference's log-probs are computed beforehand; only then
  come those of all groups, which take long, and must be the same for these.
- **The rows themselves**, as `logratio audit` sees them: the cheap part of it, on as many of the first rows as there is
  time for, at most 20,000. Its findings begin with `audit_`; they warn and stop no run, since rows that repeat or
  contradict one another may be meant.
- **From the run's own first steps**: every weight moved within two of them; over twenty, the loss falls and updates are
  not rounded away; the first checkpoint, read back, is what was saved.

**Time.** The checks may take 2 % of the planned run and at most 60 s. The run is planned as steps × bins × three
forward passes, from one timed pass: over those four groups, or, where a tenth of what is allowed suffices for it, over
copies of them of up to 1,024 tokens. A bin of more tokens takes as many times longer, one of fewer as long.
Evaluations, samples and the reference pass are not counted. A check that would take longer than what is left is left
out, which `budget` says; `logratio check --full` makes all of them.

**Tolerances.** Two forward passes of the same batch must agree to the bit in float32. Everything else is compared up to
eight times the noise that the same responses show in two orders of one batch, but no less than a quarter and no more
than the whole of what is known to be rounding at that precision (2e-4 nat in float32, 0.1 in bfloat16, relative to
log-probs beyond 1 nat). Each figure is printed beside its tolerance.

**What a check cannot decide is a warning**, not a stop: a rate beyond ten times the suggestion, an estimate of memory
near the limit, weights that few tokens use. A *note* is neither warning nor pass: a loss that has not fallen beyond its
noise yet, some rows left out, checks for which there was no time.
"""


def text() -> str:
    """Return the page."""
    rows = [(fault.number, fault.what, fault.catcher.told, fault.says) for fault in FAULTS]
    lines = ["| # | bug | caught by | says |", "| --- | --- | --- | --- |"]
    lines += [f"| {n} | {what} | {told} | {says} |" for n, what, told, says in sorted(rows, key=lambda row: row[0])]
    return _HEAD + "\n".join(lines) + "\n" + _TAIL
