"""For all of the project's tests, those of tests/ and the examples alike."""

pytest_plugins = ["pytester"]
