from pathlib import Path

import pytest

from tests.runs import make_base


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("sweeps") / "base.safetensors")
