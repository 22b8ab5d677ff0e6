"""Texts and preference rows in several scripts, into which the tests plant faults."""

import random

LETTERS = {
    "latin": "abcdefghijklmnopqrstuvwxyz",
    "chinese": "".join(map(chr, range(0x4E00, 0x4E00 + 800))),
    "arabic": "".join(map(chr, range(0x0627, 0x0640))),
    "emoji": "".join(map(chr, range(0x1F600, 0x1F640))),
}
SCRIPTS = tuple(LETTERS)


class Writer:
    """Writes random texts; words of a script without spaces follow each other directly."""

    def __init__(self, seed, script="latin"):
        self.random = random.Random(f"{seed} {script}")
        self.letters = LETTERS[script]
        self.gap = " " if script in ("latin", "arabic") else ""
        self.longest = 9 if self.gap else 3

    def word(self):
        return "".join(self.random.choices(self.letters, k=self.random.randint(2, self.longest)))

    def text(self, words=40):
        return self.gap.join(self.word() for _ in range(words))

    def edited(self, text, at=None):
        """Return the text with a few characters in one place replaced by another word."""
        at = self.random.randrange(len(text)) if at is None else at
        return text[:at] + self.word() + text[at + 3 :]

    def pair(self, prompt=None, words=40):
        return {"prompt": prompt or self.text(words), "chosen": self.text(words), "rejected": self.text(words)}


def recall_precision(found, planted):
    """Return (share of what was planted that was found, share of what was found that was planted)."""
    found, planted = set(found), set(planted)
    hits = len(found & planted)
    return hits / max(1, len(planted)), hits / max(1, len(found))
