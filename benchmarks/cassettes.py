"""Cassettes: what a conversation that grows with every call takes in memory and time.

Each call says all that was said before, as agents do. A conversation of half the calls is the
floor: what is linear takes twice as much, what is quadratic four times. Time is quadratic, for each
request has to be read whole. Each conversation has a process of its own, whose peak is told less
that of one without any call.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Literal

from measuring import Report, Size, read_arguments

from pytest_agent_sandbox.llm.cassettes.normalising import Normaliser
from pytest_agent_sandbox.llm.cassettes.player import CassettePlayer
from pytest_agent_sandbox.llm.exchange import Answer, Exchange
from pytest_agent_sandbox.llm.gateway import Gateway
from pytest_agent_sandbox.llm.replies import LLMRequest, Reply, Usage, say
from pytest_agent_sandbox.llm.script import Script

_PRINTED = "a line of what a tool has printed, eighty characters long, as terminals are wide\n" * 8
_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": f"tool_{n}",
            "description": _PRINTED,
            "parameters": {"type": "object"},
        },
    }
    for n in range(10)
]


class Provider(Script):
    """A script that counts as a provider."""

    async def answer(self, exchange: Exchange) -> Answer:
        answer = await super().answer(exchange)
        exchange.call.origin = "live"
        return answer


def talk(mode: Literal["once", "none"], file: Path, calls: int) -> None:
    """Records or replays one conversation; prints its seconds and the process's peak as JSON."""

    def reply(request: LLMRequest) -> Reply:
        return say(f"Answer {request.number}.", usage=Usage(1, 1))

    began = time.perf_counter()
    with Gateway() as gateway, closing(HTTPConnection("127.0.0.1", gateway.port)) as client:
        player = CassettePlayer(file, test="t", mode=mode, match="strict", normalise=Normaliser())
        source = Provider([reply] * calls) if mode == "once" else None
        lane = gateway.open_lane(player.source("1", source))
        messages: list[dict[str, Any]] = []
        for number in range(calls):
            messages.append({"role": "user", "content": f"Question {number}: {_PRINTED}"})
            body = {"model": "m", "messages": messages, "tools": _TOOLS}
            head = {"Authorization": f"Bearer {lane.token}"}
            client.request("POST", "/v1/chat/completions", json.dumps(body), head)
            answer = json.load(client.getresponse())
            messages.append(answer["choices"][0]["message"])
        player.verify()
        problem = player.save("m")
        assert not problem, problem
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"seconds": time.perf_counter() - began, "peak": peak}))


# Megabytes that differ between two runs of the same: a few calls may take none.
_LEAST = 0.1


def talked(mode: str, file: Path, calls: int) -> dict[str, float]:
    """The same in a process of its own."""
    code = (
        "import sys, pathlib, cassettes\n"
        "cassettes.talk(sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3]))"
    )
    command = [sys.executable, "-c", code, mode, str(file), str(calls)]
    finished = subprocess.run(
        command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(json.loads(finished.stdout))


def measure(calls: int) -> Report:
    report = Report("Cassettes", calls=f"{calls // 2} and {calls}")
    with tempfile.TemporaryDirectory() as folder:
        idle = talked("once", Path(folder, "none.json"), 0)["peak"]
        for name, mode in (("recorded", "once"), ("replayed", "none")):
            peaks, seconds = [], []
            for count in (calls // 2, calls):
                found = talked(mode, Path(folder, f"{count}.json"), count)
                report.add(f"{count} calls {name}", found["seconds"])
                report.value(f"{count} calls {name}, peak (MB)", found["peak"] - idle)
                peaks.append(found["peak"] - idle)
                seconds.append(found["seconds"])
            grown = peaks[1] / max(peaks[0], _LEAST)
            report.value(f"{name}, peak of all calls / of half", grown)
            report.value(f"{name}, time of all calls / of half", seconds[1] / seconds[0])
        report.value("the cassette (MB)", Path(folder, f"{calls}.json").stat().st_size / 1e6)
    return report


def main() -> None:
    calls = Size(1000, 10, "how many calls the conversation has")
    arguments = read_arguments(__doc__, rounds=None, calls=calls)
    measure(arguments.calls).finish(arguments.json)


if __name__ == "__main__":
    main()
