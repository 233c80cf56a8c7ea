"""The script around a command in the sandbox, by which all of its output arrives.

A command may delete, overwrite or kill whatever it reaches, its own output files and process group
included. So its output goes through pipes to processes in a session of their own, which write it
to files that stay open, whatever becomes of their names. What is kept begins and ends with a mark
that only the client knows: output of which one is missing is not whole, and never passes for it.
"""

from __future__ import annotations

import base64
import shlex
import uuid
from dataclasses import dataclass, field

#: The end of the printed output: output without it was cut off.
END = " .\n"
#: The exit code where the output had no place to go, and the command did not run.
NOT_RUN = 125

# How a file's size is limited, and the exit code of `cat` there: 128 and the number of SIGXFSZ.
_BLOCK = 512
_FILE_FULL = 153
# Characters of an argument that every kernel takes, with some to spare.
_LONGEST_ARGUMENT = 100_000


def _new_mark() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Wrapper:
    """A script that runs a command, and prints what it left.

    Attributes:
        limit: Bytes kept of each output stream. A command that writes more is ended.
        folder: A folder of its own, which it makes and removes.
    """

    limit: int
    # In the sandbox; made with mode 700.
    folder: str = field(default_factory=lambda: f"/tmp/command-{uuid.uuid4().hex}")  # noqa: S108
    first: str = field(default_factory=_new_mark, repr=False)
    last: str = field(default_factory=_new_mark, repr=False)
    last_of_errors: str = field(default_factory=_new_mark, repr=False)

    @property
    def output(self) -> str:
        """The file that its output is in while it runs, after as many bytes as `first` has."""
        return f"{self.folder}/out"

    def around(self, command: str, *, takes_input: bool, notes_group: bool) -> str:
        """Return the script that runs a command.

        Args:
            command: What `sh -c` is to run.
            takes_input: Whether its standard input is the file `in` of the folder.
            notes_group: Whether its process group is to be in the file `group` of the folder.
        """
        notes = " && echo $$ >$d/group" if notes_group else ""
        given = "$d/in" if takes_input else "/dev/null"
        # The trap lets this shell outlive a SIGTERM to its process group, to print what there is.
        # Before the command begins, all files are open, and what writes them has its own session.
        return f"""
stopped=; trap stopped=1 TERM
d={self.folder}
mkdir -p -m 700 $d && mkfifo -m 600 $d/1 $d/2 $d/3{notes} || exit {NOT_RUN}
exec 3<>$d/1 4<>$d/2 5>$d/1 6>$d/2 7<$d/1 8<$d/2 9<>$d/3 3>$d/out 4>$d/err
printf %s {self.first} >&3 && printf %s {self.first} >&4 || exit {NOT_RUN}
group=$$ $(command -v setsid) sh -c {shlex.quote(self._keeper)} >/dev/null 2>&1 5>&- 6>&- &
read ready <&9
exec 3>&- 4>&- 7<$d/out 8<$d/err 9>&-
sh -c {shlex.quote(command)} <{given} >&5 2>&6 5>&- 6>&- 7<&- 8<&-
code=$?
trap '' PIPE
{{ printf %s {self.last} >&5; printf %s {self.last_of_errors} >&6; }} 2>/dev/null
exec 5>&- 6>&-
o=/proc/$$/fd/7; e=/proc/$$/fd/8
{self._printed("$code", "<&7", "<&8")}
[ -z "$stopped" ] || kill -KILL 0
"""

    def recovered(self, exit_code: int) -> str:
        """Return the script that prints what a command left that was killed with its wrapper."""
        return f"""
d={self.folder}
o=$d/out; e=$d/err
{self._printed(str(exit_code), "<$d/out", "<$d/err")}
"""

    @property
    def _keeper(self) -> str:
        # The kernel ends `cat` where its file is full. What comes then, or later from processes in
        # the background, is read on: they would end without a reader.
        blocks = self.limit // _BLOCK + 1
        return f"""
echo >&9; exec 9>&-
keep() {{
    (ulimit -f {blocks}; exec cat)
    case $? in
        0) printf %s $1;;
        {_FILE_FULL}) printf %s $1; kill -0 $group && kill -s TERM -- -$group;;
    esac
    exec cat >/dev/null
}}
keep {self.last} <&7 >&3 3>&- 4>&- 7<&- 8<&- &
keep {self.last_of_errors} <&8 >&4 3>&- 4>&- 7<&- 8<&-
"""

    def _printed(self, exit_code: str, out: str, err: str) -> str:
        most = self.limit + 3 * _BLOCK
        return f"""
[ -e $o ] || {{ o=$d/out; e=$d/err; }}
n=0
until case "$(tail -q -c 4096 $o $e 2>/dev/null)" in
    *{self.last}*{self.last_of_errors}*) ;; *) false; esac
do n=$((n + 1)); [ $n -lt 100 ] || break; sleep 0.01; done
{{ head -c {most} {out}; head -c {most} {err}; }} | base64 && echo "- {exit_code}{END.rstrip()}"
rm -rf $d
"""

    def parsed(self, text: str) -> tuple[bytes, bytes, int] | None:
        """Return the output, the error output and the exit code out of what was printed.

        Returns:
            None where some of it is missing.

        Raises:
            ValueError: It is something else.
        """
        printed, code = text.removesuffix(END).split("-", 1)
        kept = base64.b64decode(printed)
        out, rest = self._cut(kept, self.last)
        # Nobody waited for what comes after the mark.
        err, _ = self._cut(rest[max(0, rest.find(self.first.encode())) :], self.last_of_errors)
        return None if out is None or err is None else (out, err, int(code))

    def _cut(self, kept: bytes, last: str) -> tuple[bytes | None, bytes]:
        first = self.first.encode()
        content, mark, rest = kept.partition(last.encode())
        if not mark or not content.startswith(first):
            return None, b""
        return content[len(first) :][: self.limit], rest


def is_too_long(command: str) -> bool:
    """Tell whether a command is too long for an argument, and has to be in a file."""
    return len(shlex.quote(shlex.quote(command)).encode(errors="replace")) > _LONGEST_ARGUMENT
