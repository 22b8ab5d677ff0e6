"""Make the pictures of the documentation again: real runs in the built-in world, shown by a real browser.

`make screens` runs it; some ten minutes on 2 cores. It needs chromium. Runs stay in runs/screens, and what is there is
not made again.
"""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from logratio.testbed.build import build
from report.report_browser import Browser

HERE = Path(__file__).parent
WORK = HERE.parents[1] / "runs" / "screens"
LARGEST = 150_000
"""Bytes of a picture."""

COPIES, PADDED = 60, 900
"""Rows of the audited file that are copies, and rows whose chosen response got a closing phrase."""


def logratio(*words: object) -> None:
    """Run a command as a person would."""
    subprocess.run([sys.executable, "-m", "logratio", *map(str, words)], cwd=WORK, check=True)


def made() -> None:
    """Make the runs and pages that are to be shown, unless they are there."""
    if not (WORK / "world").exists():
        shutil.copytree(build("nano", 0).folder, WORK / "world")
    faulty = WORK / "faulty.jsonl"
    if not faulty.exists():
        rows = (WORK / "world" / "preferences.jsonl").read_text(encoding="utf-8").splitlines()
        faulty.write_text("".join(_faulty(rows)), encoding="utf-8")
    if not (WORK / "run" / "report.html").exists():
        settings = (
            "--lr 1e-3 --batch-size 32 --epochs 2 --eval.samples 64 --eval.max-new-tokens 40 --train.precision fp32"
        )
        files = ("--model", "world/model", "--data", "world/preferences.jsonl", "--eval.data", "world/eval.jsonl")
        logratio("train", *files, *settings.split(), "--output", "run")
        logratio("audit", "world/preferences.jsonl", "--output", "run")
        logratio("diagnose", "run")
        logratio("report", "run")
    if not (WORK / "audit" / "audit.html").exists():
        logratio("audit", faulty.name, "--output", "audit")
    if not (WORK / "round.jsonl").exists():
        asked = ("--data", "world/eval.jsonl", "--max-new-tokens", 40)
        logratio("sample", "run", *asked, "--output", "round.jsonl")
    logratio("sweep", HERE / "study.yaml", "--output", "study")


def _faulty(lines: Sequence[str]) -> list[str]:
    """Return rows with two planted faults: copies, and a phrase that only winners end with."""
    rows = [json.loads(line) for line in lines]
    for row in rows[:PADDED]:
        row["chosen"] += " thanks for reading ."
    return [json.dumps(row) + "\n" for row in (*rows, *rows[:COPIES])]


def show(browser: Browser, name: str, page: Path | str, height: int, at: str | None = None, width: int = 1100) -> None:
    """Write a picture of a page: from its top, or from a heading."""
    browser.open(page, width=width, height=height)
    shot(browser, name, height, at, width)


def shot(browser: Browser, name: str, height: int, at: str | None = None, width: int = 1100) -> None:
    """Write a picture of the page that is open."""
    heading = f"[...document.querySelectorAll('h2')].find((h) => h.textContent.trim() == '{at}')"
    place = f"{heading}.getBoundingClientRect().top + scrollY - 12" if at else "0"
    clip = {"x": 0, "y": browser.evaluate(place), "width": width, "height": height, "scale": 1}
    taken = browser.send("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
    target = HERE / f"{name}.webp"
    picture = Image.open(io.BytesIO(base64.b64decode(taken["data"]))).convert("RGB")
    picture.save(target, quality=88, method=6)
    size = target.stat().st_size
    if size > LARGEST:
        raise SystemExit(f"{target} has {size} bytes, of at most {LARGEST}; show less of the page.")
    print(f"{target.name}: {picture.width} × {picture.height}, {size / 1000:.0f} kB")


def label(browser: Browser, height: int) -> None:
    """Show the labelling page at its second pair."""
    (WORK / "labels.jsonl").unlink(missing_ok=True)
    command = [sys.executable, "-m", "logratio", "label", "round.jsonl", "--output", "labels.jsonl"]
    with subprocess.Popen(command, cwd=WORK, stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout
        assert said is not None
        address = next(found[0] for line in said if (found := re.search(r"http://\S+", line)))
        browser.open(address, width=1100, height=height)
        browser.type("ada")
        browser.press("Enter")
        browser.settle()
        shot(browser, "label", height)
        process.terminate()


def main() -> None:
    """Make the runs, then the pictures."""
    WORK.mkdir(parents=True, exist_ok=True)
    made()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(Path(profile))
        show(browser, "report", WORK / "run" / "report.html", 900)
        show(browser, "curves", WORK / "run" / "report.html", 545, at="Held-out pairs")
        show(browser, "audit", WORK / "audit" / "audit.html", 900)
        show(browser, "frontier", WORK / "study" / "frontier.html", 730, at="Reward against distance")
        label(browser, 480)
        browser.close()


if __name__ == "__main__":
    main()
