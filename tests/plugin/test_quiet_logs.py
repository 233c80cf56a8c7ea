"""Whose a log record is, by the stack that made it."""

import logging
import threading

import pytest

from pytest_agent_sandbox.plugin import quiet_logs


@pytest.fixture
def wanted():
    """Records that pass, of a library's logger."""
    logger, kept = logging.getLogger("httpx.of_this_test"), []
    handler = logging.Handler()
    handler.emit = kept.append
    handler.addFilter(quiet_logs.is_wanted)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    yield logger, kept
    logger.removeHandler(handler)


def called_by(module, function):
    """A function of a module that calls what it is given."""
    frame = {"__name__": module, "function": function}
    exec("def call(): function()", frame)
    return frame["call"]


@pytest.mark.parametrize(
    ("stack", "passes"),
    [
        (["httpx", "pytest_agent_sandbox.client.transport"], False),
        (["httpcore._sync", "httpx", "contextlib", "pytest_agent_sandbox.llm.live"], False),
        (["httpx", "test_it", "pytest_agent_sandbox.client.callbacks"], True),
        (["httpx", "pytest_agent_sandbox.client.transport", "test_it"], False),
        (["httpx", "openai._base_client", "pytest_agent_sandbox.llm.script"], True),
        (["httpx", "__main__", "_pytest.python", "pytest_agent_sandbox.plugin.hooks"], True),
        (["httpx", "pytest_agent_sandbox_of_others"], True),
        (["mcp.server", "starlette", "asyncio.events", "pytest_agent_sandbox.llm.server"], False),
    ],
)
def test_the_nearest_that_is_no_library_decides(wanted, stack, passes):
    logger, kept = wanted
    frame = {"__name__": stack[0], "logger": logger}
    exec("def call(): logger.warning('said')", frame)
    call = frame["call"]
    for module in stack[1:]:
        call = called_by(module, call)
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert bool(kept) is passes


def test_errors_and_other_loggers_always_pass(wanted):
    logger, kept = wanted
    frame = {"__name__": "pytest_agent_sandbox.llm.server", "logger": logger}
    exec("def call(): logger.error('broken')", frame)
    frame["call"]()
    assert [record.getMessage() for record in kept] == ["broken"]
    record = logging.LogRecord("pytest_agent_sandbox.llm", logging.DEBUG, "", 1, "said", (), None)
    assert quiet_logs.is_wanted(record)


def test_a_run_without_pytests_logging(pytester):
    pytester.makepyfile("def test_it():\n    pass\n")
    assert pytester.runpytest_subprocess("-p", "no:logging").ret == 0
