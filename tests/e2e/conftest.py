"""The fixtures of the end-to-end tests."""

import pytest

from tests.kit.docker import DockerEngine


@pytest.fixture
def docker_host(engine: DockerEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process find the engine of the tests, and no other."""
    monkeypatch.setenv("DOCKER_HOST", engine.url)
