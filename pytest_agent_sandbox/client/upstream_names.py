"""What upstream's SDK calls things, for programs and habits that come from it.

The names are those of openhands-sdk 1.58; docs/interop.md lists them.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_agent_sandbox.client.agents import Agent, default_agent
from pytest_agent_sandbox.client.elsewhere import elsewhere
from pytest_agent_sandbox.client.workspace_files import WorkspaceFiles
from pytest_agent_sandbox.errors import SandboxError
from pytest_agent_sandbox.host.closing import Closing

if TYPE_CHECKING:
    from pytest_agent_sandbox.client.agents import LLM


def get_default_agent(llm: LLM, cli_mode: bool = False) -> Agent:
    """Return `default_agent(llm)`, with a browser unless `cli_mode` is true."""
    return default_agent(llm, cli_mode=cli_mode)


def get_logger(name: str) -> logging.Logger:
    """Return the logger of that name; it writes to standard error where nobody has set up logging.

    Args:
        name: Its name, such as `__name__`.
    """
    logger = logging.getLogger(name)
    if not logging.getLogger().handlers and not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    return logger


@dataclass(frozen=True)
class FileOperationResult:
    """What came of `file_upload` or `file_download`.

    Attributes:
        success: Whether the file is there.
        source_path: Where it came from.
        destination_path: Where it went.
        file_size: Its bytes; None where they are not known.
        error: Why it is not there; None where it is.
    """

    success: bool
    source_path: str
    destination_path: str
    file_size: int | None = None
    error: str | None = None


@elsewhere(
    {
        "client": "connection.request(…) asks the server",
        "conversation_id": "conversation.id tells it",
        "default_conversation_tags": 'request={"tags": {…}} of a conversation gives it tags',
        "get_command_output": "start_command(…) returns a command; its printed() tells it",
        "get_llm": "server.profiles has the server's LLMs; agent_llm is the test's",
        "get_mcp_config": "server.settings.get() tells it; a conversation takes mcp_servers=",
        "get_runtime_session_key": "there is one sandbox, and api_key is its key",
        "get_secrets": "server.secrets has them; a conversation takes secrets=",
        "get_server_info": "server_info() tells it",
        "load_skills_from_agent_server": "server.skills.find(…) finds them",
        "register_conversation": "a conversation knows its workspace; conversation.id is its id",
        "register_cost": "conversation.cost tells it, and llm_max_cost limits it",
        "release_runtime": "close() ends it, pause() holds it",
        "stop_command": "start_command(…) returns a command; its stop() ends it",
    }
)
class UpstreamNames(WorkspaceFiles, Closing):
    """A workspace that also answers to upstream's names."""

    def cleanup(self) -> None:
        """Close the workspace."""
        self.close()

    def file_upload(
        self, source_path: str | Path | bytes, destination_path: str | Path
    ) -> FileOperationResult:
        """Copy a file into the sandbox, as `upload` does; failures are told by the result.

        Args:
            source_path: A file of this machine, or what is to be in the sandbox's file.
            destination_path: Where it goes in the sandbox.
        """
        source = "<bytes>" if isinstance(source_path, bytes) else str(source_path)
        destination = str(destination_path)
        try:
            if isinstance(source_path, bytes):
                self.write_bytes(destination, source_path)
                size = len(source_path)
            else:
                self.upload(source, destination)
                size = Path(source).stat().st_size
        except (SandboxError, OSError) as error:
            return FileOperationResult(False, source, destination, error=str(error))
        return FileOperationResult(True, source, destination, size)

    def file_download(
        self, source_path: str | Path, destination_path: str | Path
    ) -> FileOperationResult:
        """Copy a file out of the sandbox, as `download` does; failures are told by the result.

        Args:
            source_path: A file of the sandbox.
            destination_path: Where it goes on this machine.
        """
        source, destination = str(source_path), str(destination_path)
        try:
            self.download(source, destination)
        except (SandboxError, OSError) as error:
            return FileOperationResult(False, source, destination, error=str(error))
        return FileOperationResult(True, source, destination, Path(destination).stat().st_size)
