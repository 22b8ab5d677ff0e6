import inspect
import subprocess
import sys

import pytest


def loaded_by(module, names):
    """Which of `names` a fresh interpreter has loaded after importing `module`."""
    code = f"import sys, {module}; print(*[name for name in {names} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()


def test_the_verbs_can_be_called_whatever_was_imported_before():
    import logratio.evaluate.api
    import logratio.train.api
    from logratio import evaluate, train

    assert callable(train) and callable(evaluate)
    assert inspect.signature(train) == inspect.signature(logratio.train.api.train)
    assert logratio.train is train and logratio.train.api.train is train.__wrapped__


def test_importing_the_package_is_light():
    assert loaded_by("logratio", ("torch", "transformers", "datasets", "pydantic")) == []


def test_objectives_load_neither_transformers_nor_datasets():
    assert loaded_by("logratio.objectives", ("transformers", "datasets")) == []


def test_an_unknown_name_is_an_attribute_error():
    import logratio

    with pytest.raises(AttributeError, match="no attribute 'tune'"):
        logratio.__getattr__("tune")
