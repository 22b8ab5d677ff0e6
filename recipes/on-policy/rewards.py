"""Rewards that can be checked, as an example: `judge: recipes/on-policy/rewards.py:last_number`."""

import re

NUMBER = re.compile(r"-?[\d,]*\.?\d+")


def last_number(prompts, responses, rows):
    """Return 1 for each response whose last number is that of the row's `answer`, and 0 for the others.

    Args:
        prompts: One a response.
        responses: Text, of a thinking model what follows its thought.
        rows: The other fields of each prompt's row; `answer` ends in the right number, as in GSM8K.
    """
    right = [_last(row["answer"]) for row in rows]
    return [float(_last(text) == wanted) for text, wanted in zip(responses, right, strict=True)]


def _last(text):
    found = NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None
