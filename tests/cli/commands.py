"""What tests of commands share: a model and pairs on disk, and a command called as a person calls it."""

import pytest

from logratio.cli.app import main
from small_files import write_model, write_pairs


def called(capsys, *words):
    """Call `logratio` with these words; return its exit code, and what it printed on each stream."""
    with pytest.raises(SystemExit) as caught:
        main([str(word) for word in words])
    told = capsys.readouterr()
    return caught.value.code, told.out, told.err


def furnished(folder, pairs):
    """Write a model and so many pairs into a folder, and return it."""
    write_model(folder / "model")
    write_pairs(folder / "pairs.jsonl", pairs)
    return folder
