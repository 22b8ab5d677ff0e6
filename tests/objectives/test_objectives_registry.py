"""What every registered objective meets."""

import inspect

import pytest

from logratio import objectives
from logratio.errors import ConfigError
from logratio.testing import CHECKS


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", objectives.names())
def test_contract(name, check):
    check(objectives.load(name))


@pytest.mark.parametrize("name", objectives.names())
def test_its_function_explains_arguments_and_result(name):
    function = getattr(inspect.getmodule(objectives.load(name).settings), name)
    for part in ("Args:", "Returns:"):
        assert part in function.__doc__


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(ConfigError, match='objective "plackett-luce" does not exist .*; did you mean "plackett_luce"'):
        objectives.load("plackett-luce")
