import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def _private_cache(tmp_path_factory):
    """Every test session has a cache of its own, shared by its tests."""
    os.environ["LOGRATIO_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _one_thread():
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data and small real models, which is not part of the project."""
    if not SHARED.is_dir():
        pytest.skip(f"real data is absent: {SHARED} does not exist")
    return SHARED


@pytest.fixture(scope="session")
def nano(tmp_path_factory):
    """The nano world with its model and preferences, made once a session by whichever worker asks first."""
    from logratio.testbed.build import build

    own = tmp_path_factory.getbasetemp()
    root = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    return build("nano", 0, root=root / "worlds")
