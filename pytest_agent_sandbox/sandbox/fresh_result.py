"""The result of a command that ran out of the agent's reach."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_agent_sandbox.client.commands import CommandResult


@dataclass(frozen=True)
class FreshCommandResult(CommandResult):
    """The result of a command in a fresh container: see `verify_in_fresh`.

    Attributes:
        image: The image that it ran in.
        copied: What was copied there, as it was named.
        left_out: What of that was not, with the reason: links that lead out, devices.
    """

    image: str = ""
    copied: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """Where it ran, in words."""
        words = f"in a fresh container of {self.image} without network"
        words += f", with a copy of {', '.join(self.copied) or 'nothing'}"
        return words + "".join(f"; without {each}" for each in self.left_out)

    def __str__(self) -> str:
        return f"{super().__str__()}\nIt ran {self.where}."
