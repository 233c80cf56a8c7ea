"""One build by the engine: its context sent, its output followed, its failure put into words."""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Mapping

import requests

from pytest_agent_sandbox.containers.engine import ContainerEngine
from pytest_agent_sandbox.containers.engine_events import engine_events
from pytest_agent_sandbox.containers.images import Image
from pytest_agent_sandbox.containers.progress import Progress
from pytest_agent_sandbox.errors import ImageBuildFailed

#: Seconds without a line of output after which a build is given up.
STALL_TIMEOUT = 900
#: Lines of output that a failure shows.
TAIL_LINES = 30
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# The builder's own messages, among the output of the commands.
_CHATTER = (" ---> ", "Removing intermediate container ")
# The beginnings of lines that say why a step failed: the build's own scripts, npm, pip, apt.
_COMPLAINTS = ("agent-sandbox: ", "npm error ", "ERROR: ", "E: ")


def run_build(
    engine: ContainerEngine,
    reference: str,
    files: Mapping[str, str],
    *,
    activity: str,
    base: Image,
    arguments: Mapping[str, str],
    labels: Mapping[str, str],
    progress: Progress,
) -> None:
    """Build an image from a Dockerfile and its context.

    Args:
        engine: The engine that builds.
        reference: The image's name.
        files: The context: texts by their names, the Dockerfile among them.
        activity: What is done, for the progress.
        base: The image that it starts from.
        arguments: The Dockerfile's arguments; they may be secrets.
        labels: The image's labels.
        progress: Told how it is getting on.

    Raises:
        ImageBuildFailed: A step failed; the note holds the last lines of output.
        EngineUnavailable: The engine did not answer.
    """
    log = _BuildLog(activity, base, progress)
    with engine.calling(f"build {reference}"):
        try:
            with engine_events(
                engine,
                "/build",
                {
                    "t": reference,
                    "buildargs": json.dumps(dict(arguments)),
                    "labels": json.dumps(dict(labels)),
                    "platform": base.platform,
                    "rm": True,
                    "forcerm": True,
                },
                headers={"Content-Type": "application/x-tar"},
                body=_context(files),
                stall_timeout=STALL_TIMEOUT,
            ) as events:
                for event in events:
                    log.add(str(event.get("stream") or ""))
                    if "error" in event:
                        raise log.failure(str(event["error"]))
        except requests.Timeout:
            raise log.failure(f"there was no output for {STALL_TIMEOUT} s") from None


def _context(content: Mapping[str, str]) -> io.BytesIO:
    """Pack the build's context into a tar archive, byte for byte the same for the same content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        folder = tarfile.TarInfo("certificates")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(folder)  # COPY wants it to be there, certificates or not
        for name, text in sorted(content.items()):
            data = text.encode()
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    buffer.seek(0)
    return buffer


class _BuildLog:
    """A build's output: where the build is, and its last lines."""

    def __init__(self, activity: str, base: Image, progress: Progress) -> None:
        self._activity = activity
        self._base = base
        self._progress = progress
        self._step = "before its first step"
        self._lines: list[str] = []
        progress.update(activity)

    def add(self, text: str) -> None:
        for raw in text.splitlines():
            line = _COLOURS.sub("", raw).rstrip()
            if not line or line.startswith(_CHATTER):
                continue
            self._lines = [*self._lines, line][-TAIL_LINES:]
            if line.startswith("Step "):
                self._step = f"in the step `{line.partition(' : ')[2] or line}`"
                self._progress.update(self._activity, *_position(line), "steps")
            else:
                self._progress.output(line.strip())

    def failure(self, said: str) -> ImageBuildFailed:
        # The engine's own words are only that a command failed; the command's are better.
        complaints = [line for line in self._lines if line.startswith(_COMPLAINTS)]
        reason = complaints[-1].removeprefix(_COMPLAINTS[0]) if complaints else said
        error = ImageBuildFailed(
            f"Building an agent-server image from {self._base.reference} "
            f"({self._base.platform}) failed {self._step}: {reason.rstrip('.')}."
        )
        if self._lines:
            error.add_note("The build's last lines:\n" + "\n".join(self._lines))
        return error


def _position(line: str) -> tuple[int, int]:
    """Return the numbers in `Step 3/12 : RUN …`."""
    done, _, total = line.removeprefix("Step ").partition(" ")[0].partition("/")
    return (int(done), int(total)) if done.isdecimal() and total.isdecimal() else (0, 0)
