"""The codes that programs end with, in words."""

from __future__ import annotations

_EXIT_CODES = {
    0: "ended by itself",
    126: "its command cannot be executed",
    127: "its command was not found",
    130: "interrupted, SIGINT",
    132: "crashed, SIGILL: its programs may be for another kind of CPU",
    134: "aborted, SIGABRT",
    135: "crashed, SIGBUS",
    136: "crashed, SIGFPE",
    137: "killed, SIGKILL",
    139: "crashed, SIGSEGV",
    143: "asked to end, SIGTERM",
}


def explain_exit(exit_code: int | None, *, out_of_memory: bool) -> str:
    """Say how a container ended, to follow its name: "exited with code 137 (…)"."""
    words = _EXIT_CODES.get(exit_code) if exit_code is not None else None
    if out_of_memory:
        words = "out of memory: give it more, or look for what needs so much"
    code = "an unknown code" if exit_code is None else f"code {exit_code}"
    return f"exited with {code}" + (f" ({words})" if words else "")
