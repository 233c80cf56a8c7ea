"""The inputs of a command beside its text: variables, standard input, a user to run as."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_agent_sandbox.client.command_wrapper import is_too_long
from pytest_agent_sandbox.client.remote_paths import is_utf8
from pytest_agent_sandbox.errors import SettingsError

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

#: The begin of the error output, and the exit code, where the sandbox's user cannot become another
#: one.
NO_OTHER_USER = "pytest-agent-sandbox: this user cannot become"
CANNOT_BECOME = 126
# Seconds past the timeout after which another user's command is ended by itself: the server's user
# may not send it a signal.
_LATER = 0.2


def not_a_command_line(command: object) -> str:
    """Word the error for a command that is not one text; lists are what `subprocess` takes."""
    given = f"not {type(command).__name__}"
    if isinstance(command, list | tuple) and all(isinstance(word, str) for word in command):
        given = f"not a list of words; as one it is {shlex.join(command)!r}"
    return (
        f"execute_command() takes one text, which a shell reads, {given}. shlex.join(words) makes "
        "one of a list; run_agent([…]) takes the words of an agent's program."
    )


@dataclass(frozen=True)
class CommandInputs:
    """The inputs of one command.

    Attributes:
        env: Environment variables; they reach it by a file that it removes, and show nowhere.
        stdin: Its standard input; None for an empty one.
        user: Name or number of the user to run as; None for the server's.
    """

    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    stdin: bytes | None = field(default=None, repr=False)
    user: str | None = None

    def check(self, what: str) -> None:
        """Raise `SettingsError` where a value cannot be used, naming the function it is for."""
        for name, value in self.env.items():
            if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
                raise SettingsError(f"{what}(env=…): {name!r} is no name of a variable.")
            if not isinstance(value, str) or "\0" in value:
                raise SettingsError(
                    f"{what}(env={{{name!r}: …}}) takes text, not {type(value).__name__}."
                )
        if self.user is not None and not _USER.fullmatch(str(self.user)):
            raise SettingsError(f"{what}(user=…): {self.user!r} is no name or number of a user.")

    def files(self, command: str) -> dict[str, bytes]:
        """Return what is to be in the command's folder, by name."""
        found = {}
        if self.env:
            lines = (f"{name}={shlex.quote(value)}\n" for name, value in self.env.items())
            found["env"] = "".join(lines).encode(errors="surrogateescape")
        if self.stdin is not None:
            found["in"] = self.stdin
        if is_too_long(command) or not is_utf8(command):
            found["script"] = command.encode(errors="surrogateescape")
        return found

    def line(self, command: str, folder: str, files: Mapping[str, bytes], timeout: float) -> str:
        """Return what the shell runs for a command, whose files are in a folder.

        Raises:
            SettingsError: The command is too long for another user's, with a standard input.
        """
        if "script" in files:
            command = f'eval "$(cat {folder}/script)"'
        if self.user is not None:
            if "script" in files:
                if "in" in files:
                    raise SettingsError(
                        "execute_command(user=…, stdin=…) takes no command of over 100,000 "
                        "characters: write it to a file with `write_text`, and run that."
                    )
                # The other user may not read it.
                command = self._as_user('eval "$(cat)"', timeout) + f" <{folder}/script"
            else:
                command = self._as_user(command, timeout)
        if "env" in files:
            # Read whole before any of it is set: a PATH in there would decide which `rm` runs.
            read = f'eval "$(cat {folder}/env; rm -f {folder}/env)"'
            command = f"set -a; {read}; set +a; {command}"
        return command

    def _as_user(self, command: str, timeout: float) -> str:
        user = str(self.user)
        inner = f"timeout -k 1 {timeout + _LATER:.3f} sh -c {shlex.quote(command)}"
        kept = f"--preserve-env={','.join(self.env)} " if self.env else ""
        number = f"'#{user}'" if user.isdigit() else user
        return (
            f'if [ "$(id -un)" = {user} ] || [ "$(id -u)" = {user} ]; then sh -c '
            f"{shlex.quote(command)}; "
            f'elif [ "$(id -u)" = 0 ]; then setpriv --reuid {user} --regid "$(id -g {user})" '
            f"--init-groups {inner}; "
            f"elif sudo -n -u {number} true 2>/dev/null; then sudo -n {kept}-u {number} {inner}; "
            f"else echo '{NO_OTHER_USER} {user}' >&2; exit {CANNOT_BECOME}; fi"
        )
