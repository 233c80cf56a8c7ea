"""Keeps what libraries log on our behalf out of pytest's captured logs.

The user's own use of the same libraries is logged as ever: who a record is of is read from the
stack. Standard library and pytest only: every run of pytest imports this module, in every project
that has the plugin installed.
"""

from __future__ import annotations

import logging
import sys
from types import FrameType

import pytest

_OURS = "pytest_agent_sandbox"
#: The libraries that log while we use them, by the first word of their loggers.
_LIBRARIES = frozenset(
    {
        "anyio",
        "asyncio",
        "docker",
        "filelock",
        "genai_prices",
        "h11",
        "httpcore",
        "httpx",
        "mcp",
        "requests",
        "sse_starlette",
        "starlette",
        "urllib3",
        "uvicorn",
        "websockets",
    }
)
#: The handlers of pytest's plugin `logging`: those of `caplog`, of reports, and of `log_cli`. Its
#: `log_file` has everything.
_HANDLERS = ("caplog_handler", "report_handler", "log_cli_handler")


def keep_out(config: pytest.Config) -> None:
    """Have pytest's handlers refuse the records that libraries make on our behalf."""
    plugin = config.pluginmanager.get_plugin("logging-plugin")
    for name in _HANDLERS:
        handler = getattr(plugin, name, None)
        if isinstance(handler, logging.Handler):
            handler.addFilter(is_wanted)


def is_wanted(record: logging.LogRecord) -> bool:
    """Tell whether a record that is being made is more than the noise of our own work.

    What a library calls an error is always wanted.
    """
    if record.levelno >= logging.ERROR or _first_word(record.name) not in _LIBRARIES:
        return True
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        caller = _first_word(frame.f_globals.get("__name__") or "")
        is_between = caller in _LIBRARIES or caller in sys.stdlib_module_names
        if not is_between and frame.f_code is not is_wanted.__code__:
            return caller != _OURS
        frame = frame.f_back
    return True


def _first_word(name: str) -> str:
    return name.partition(".")[0]
