"""Writes down what the process that loads it holds; for the agent server, as a module of tools."""

import atexit
import builtins
import functools
import gc
import json
import logging
import os
import resource
import signal
import socket
import string
import sys
import threading
import warnings

CONTAINERS = (dict, list, set)


def sizes():
    """How much there is in what modules keep: caches, registries, and those in their objects."""
    found = {}
    for name, module in sorted(sys.modules.items()):
        if not name.startswith(("openhands.", "litellm", "posthog", "jinja2", "mcp.")):
            continue
        for attribute, value in sorted(vars(module).items()):
            place = f"{name}.{attribute}"
            if attribute.startswith("__"):
                continue
            if isinstance(value, functools._lru_cache_wrapper):
                found[place] = value.cache_info().currsize
            elif type(value) in CONTAINERS:
                found[place] = len(value)
            elif type(value).__module__.startswith("openhands.") and hasattr(value, "__dict__"):
                for inner, part in vars(value).items():
                    if isinstance(part, CONTAINERS):
                        found[f"{place}.{inner}"] = len(part)
    return found


def files():
    found = []
    for number in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue  # of the listing itself
        if not target.startswith(("socket:", "/proc/")):  # connections come and go
            found.append(target.partition(":")[0])
    return sorted(found)


def children():
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                begin, _, rest = file.read().rpartition(")")
        except OSError:
            continue
        if int(rest.split()[1]) == os.getpid():
            found.append(begin.partition("(")[2])
    return sorted(found)


def environment():
    found = {name: value for name, value in os.environ.items() if "_KEY" not in name}
    found["TMUX_TMPDIR"] = found.get("TMUX_TMPDIR", "").rstrip("0123456789")
    found.pop("HOSTNAME", None)
    return found


def logs():
    known = logging.Logger.manager.loggerDict
    loggers = {n: one for n, one in known.items() if isinstance(one, logging.Logger)}
    return {
        "root": [logging.root.level, len(logging.root.handlers), logging.root.manager.disable],
        **{
            name: [one.level, len(one.handlers), len(one.filters), one.disabled]
            for name, one in loggers.items()
            if one.level or one.handlers or one.filters or one.disabled
        },
    }


def named(thing):
    return getattr(thing, "__qualname__", str(thing))


def limits():
    numbers = {name: getattr(resource, name) for name in dir(resource) if name[:6] == "RLIMIT"}
    mask = os.umask(0o22)
    os.umask(mask)
    return {
        **{name: resource.getrlimit(number) for name, number in numbers.items()},
        "umask": mask,
        "nice": os.nice(0),
        "cpus": len(os.sched_getaffinity(0)),
        "user": [os.getresuid(), os.getresgid(), sorted(os.getgroups())],
    }


def interpreter():
    return {
        "path": [path for path in sys.path if not path.endswith(".zip")],
        "finders": len(sys.meta_path),
        "garbage": [gc.isenabled(), gc.get_threshold(), gc.get_debug()],
        "recursion": sys.getrecursionlimit(),
        "switching": sys.getswitchinterval(),
        "builtins": sorted(vars(builtins)),
        "warnings": len(warnings.filters),
        "sockets": socket.getdefaulttimeout(),
        "hooks": [named(sys.excepthook), named(threading.excepthook), named(string.capwords)],
        "at exit": atexit._ncallbacks(),
        "traced": [named(sys.gettrace()), named(sys.getprofile())],
    }


def signals():
    return {str(int(each)): named(signal.getsignal(each)) for each in signal.valid_signals()}


def state():
    return {
        "modules": sorted(name for name in sys.modules if not name.startswith("probe_")),
        "sizes": sizes(),
        "environment": environment(),
        "threads": sorted({one.name.rstrip("0123456789_-") for one in threading.enumerate()}),
        "files": files(),
        "children": children(),
        "logs": logs(),
        "folder": os.getcwd(),
        "limits": limits(),
        "interpreter": interpreter(),
        "signals": signals(),
    }


found = state()
with open(f"/tmp/{__name__}.json", "w") as file:
    json.dump(found, file)
