from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.campaign.driver import Server, template


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture(scope="session")
def made(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that every command starts from."""
    return template(server, tmp_path_factory.mktemp("campaign"))
