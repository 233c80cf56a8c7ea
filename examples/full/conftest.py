"""Settings of the tests here: they need the image of `agent-sandbox build --target source`."""

import pytest


@pytest.fixture(scope="session")
def sandbox_image():
    """The image with VS Code, desktop and browser, whatever other tests run on."""
    return "pytest-agent-sandbox/agent-server:1.58.0-source"
