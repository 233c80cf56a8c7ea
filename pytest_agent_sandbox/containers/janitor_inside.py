"""The janitor's half inside of a container, where it works as root between two uses of it.

It is a program of its own: it runs there by whatever Python >= 3.8 there is, with the standard
library only. It stays for as long as the container, so that it needs to start nothing when it has
to clean: a container may be full of processes by then. Orders come as lines of JSON, and are
answered by lines of JSON.
"""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import stat
import sys
import tarfile
import time
from contextlib import suppress
from typing import Any, Callable, Container, Dict, Iterable, List, Mapping, Optional, Tuple

# Mounts that hold what a container's user writes; on others there is nothing to clean.
_KINDS = ("tmpfs", "mqueue")
# Mounts that hold no files of anybody's.
_OF_THE_KERNEL = (
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "devpts",
    "devtmpfs",
    "securityfs",
    "debugfs",
)
# Seconds in which what was killed has to be gone.
_PATIENCE = 3.0
# Bytes of a file that are kept to put it back; the first state holds no larger ones that change.
_LARGEST = 16 * 1024 * 1024
# How often in a row all must be seen stopped.
_CALM = 2
_IPC = ("shm", "sem", "msg")

Answer = Dict[str, Any]
Processes = Dict[int, Dict[str, str]]
Mount = Tuple[str, str, str, str]
#: What there is below a folder, by path.
Files = Dict[str, Dict[str, Any]]


class Janitor:
    """A container's first state, and the way back to it."""

    def __init__(self) -> None:
        self.own = {os.getpid(), os.getppid()}
        self.processes: Processes = {}
        self.files: Dict[str, Files] = {}
        self.mounts: List[Mount] = []
        self.mounted: Dict[str, bytes] = {}

    def restore(self, archives: Mapping[str, str]) -> Answer:
        """Fill folders in memory with what the image has in their place."""
        # Newer Pythons leave out owners and modes, or warn, unless told that this is meant.
        trusted: Dict[str, Any] = (
            {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
        )
        for folder, archive in archives.items():
            top = os.path.basename(folder)
            with tarfile.open(fileobj=io.BytesIO(base64.b64decode(archive))) as members:
                for member in members.getmembers():
                    # The archive begins with the folder itself: it brings owner and mode.
                    member.name = os.path.relpath(member.name, top)
                    if member.islnk():
                        member.linkname = os.path.relpath(member.linkname, top)
                    members.extract(member, folder, numeric_owner=True, **trusted)
        return {}

    def remember(self, volumes: List[str]) -> Answer:
        """Take the state as it is now for the first one."""
        self.mounts = _mounts()
        elsewhere = [
            place
            for place, kind, options, _ in self.mounts
            if kind not in _KINDS + _OF_THE_KERNEL
            and "rw" in options.split(",")
            and place not in volumes
        ]
        # Single files, such as the one that a pod has for a last message.
        self.mounted = {place: _contents(place) for place in elsewhere if os.path.isfile(place)}
        problems = [
            f"{place} can be written to and is not in memory"
            for place in elsewhere
            if place not in self.mounted
        ]
        self.processes = {pid: facts for pid, facts in _processes().items() if pid not in self.own}
        self.files = {place: _scan(place) for place in _places(self.mounts)}
        return {"problems": problems, "places": sorted(self.files)}

    def reset(self) -> Answer:
        """Bring the first state back, and say what of it did not come."""
        self._end_others()
        for place, files in self.files.items():
            _wipe(place, files)
        for place, contents in self.mounted.items():
            with suppress(OSError), open(place, "r+b") as file:  # the check says so
                file.truncate()
                file.write(contents)
        _remove_ipc()
        return {"problems": self.check()}

    def _end_others(self) -> None:
        """End all processes that were not there at first.

        They are stopped before they are killed: what only kills loses the race with a fork bomb.
        """
        deadline = time.monotonic() + _PATIENCE
        calm = 0
        while calm < _CALM and time.monotonic() < deadline:
            running = [pid for pid, facts in self.others().items() if facts["state"] not in "TtZX"]
            calm = 0 if running else calm + 1
            for pid in running:
                _signal(pid, signal.SIGSTOP)
        while self.others() and time.monotonic() < deadline:
            for pid in self.others():
                _signal(pid, signal.SIGKILL)
            time.sleep(0.001)

    def others(self) -> Processes:
        """Return the processes that were not there at first."""
        first = {(pid, facts["began"]) for pid, facts in self.processes.items()}
        return {
            pid: facts
            for pid, facts in _processes().items()
            if pid not in self.own and (pid, facts["began"]) not in first
        }

    def check(self) -> List[str]:
        """Return what is different from the first state, in words."""
        problems = [f"the process {facts['name']} is left" for facts in self.others().values()]
        now = _processes()
        problems += [
            f"the process {facts['name']} has ended"
            for pid, facts in self.processes.items()
            if now.get(pid, {}).get("began") != facts["began"] or now[pid]["state"] == "Z"
        ]
        if _mounts() != self.mounts:
            problems.append("there are other mounts")
        for place, files in self.files.items():
            found = _scan(place, files)
            paths = sorted(set(found) | set(files))
            different = [path for path in paths if found.get(path) != files.get(path)]
            problems += [f"{os.path.join(place, path)} is not as it was" for path in different]
        problems += [
            f"{place} is not as it was"
            for place, contents in self.mounted.items()
            if _contents(place) != contents
        ]
        problems += ["shared memory or a semaphore is left" for kind in _IPC if _ipc(kind)]
        return problems


def _processes() -> Processes:
    found = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                begin, _, rest = file.read().decode(errors="replace").rpartition(")")
        except OSError:
            continue  # it has just ended
        fields = rest.split()
        found[int(name)] = {
            "name": begin.partition("(")[2],
            "state": fields[0],
            "began": fields[19],  # field 22 of proc(5): ticks since the machine's start
        }
    return found


def _signal(pid: int, number: int) -> None:
    with suppress(OSError):
        os.kill(pid, number)


def _mounts() -> List[Mount]:
    """Return where, of what kind and how everything is mounted."""
    found = []
    with open("/proc/self/mountinfo") as file:
        for line in file:
            fields = line.split()
            dash = fields.index("-")
            place = fields[4].encode().decode("unicode_escape")
            found.append((place, fields[dash + 1], fields[5], fields[dash + 3]))
    return found


def _places(mounts: Iterable[Mount]) -> List[str]:
    """Return the folders that can be written to and are in memory."""
    return [
        place
        for place, kind, options, of_all in mounts
        if kind in _KINDS
        and "rw" in options.split(",")
        and "rw" in of_all.split(",")
        and os.path.isdir(place)
    ]


def _scan(place: str, read: Optional[Container[str]] = None) -> Files:
    """Return what there is below a mount, by path; what is mounted inside of it is left out.

    Files are read whose paths are in `read`; all of them without it.
    """
    device = os.lstat(place).st_dev
    found = {".": _facts(place, False)}
    folders = [place]
    while folders:
        folder = folders.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                path = os.path.relpath(entry.path, place)
                try:
                    status = entry.stat(follow_symlinks=False)
                    if status.st_dev != device:
                        continue
                    found[path] = _facts(entry.path, read is None or path in read)
                except FileNotFoundError:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    folders.append(entry.path)
    return found


def _facts(path: str, is_read: bool) -> Dict[str, Any]:
    status = os.lstat(path)
    kind = stat.S_IFMT(status.st_mode)
    facts = {
        "mode": status.st_mode,
        "owner": (status.st_uid, status.st_gid),
        "device": status.st_rdev,
        "target": os.readlink(path) if kind == stat.S_IFLNK else None,
        "extra": _extra(path),
    }
    if kind == stat.S_IFREG:
        facts["size"] = status.st_size
        facts["changed"] = status.st_mtime_ns
        if is_read and status.st_size <= _LARGEST:
            with open(path, "rb") as file:
                facts["contents"] = file.read()
    return facts


def _extra(path: str) -> List[Tuple[str, bytes]]:
    """Return extended attributes: file capabilities, access control lists."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return []
    return sorted((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)


def _contents(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(_LARGEST)


def _wipe(place: str, files: Files) -> None:
    """Remove what is new below a mount, and put back what was changed or removed."""
    found = _scan(place, files)
    for path in sorted(set(found) - set(files), key=len, reverse=True):
        _remove(os.path.join(place, path))
    for path in sorted(files, key=len):
        facts = files[path]
        if found.get(path) != facts:
            with suppress(OSError):  # the check says so
                _put_back(os.path.join(place, path), facts, is_root=path == ".")


def _remove(path: str) -> None:
    with suppress(OSError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            os.rmdir(path)
        else:
            os.unlink(path)


def _put_back(path: str, facts: Mapping[str, Any], is_root: bool) -> None:
    kind = stat.S_IFMT(facts["mode"])
    if not is_root:
        _make(path, kind, facts)
    os.chown(path, *facts["owner"], follow_symlinks=False)
    if kind == stat.S_IFLNK:
        return
    os.chmod(path, stat.S_IMODE(facts["mode"]))
    for name, _ in _extra(path):
        if name not in dict(facts["extra"]):
            os.removexattr(path, name)
    for name, value in facts["extra"]:
        os.setxattr(path, name, value)
    if kind == stat.S_IFREG:
        os.utime(path, ns=(facts["changed"], facts["changed"]))


def _make(path: str, kind: int, facts: Mapping[str, Any]) -> None:
    """Make what is to be there, anew but for folders: who has the old one open changes nothing."""
    if os.path.lexists(path):
        if kind == stat.S_IFDIR == stat.S_IFMT(os.lstat(path).st_mode):
            return
        _remove(path)
    if kind == stat.S_IFREG and "contents" in facts:
        with open(path, "xb") as file:
            file.write(facts["contents"])
    elif kind == stat.S_IFDIR:
        os.mkdir(path)
    elif kind == stat.S_IFLNK:
        os.symlink(facts["target"], path)
    elif kind in (stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO):
        os.mknod(path, facts["mode"], facts["device"])


def _ipc(kind: str) -> List[Tuple[int, int]]:
    """Return the ids and owners of System V's shared memory, semaphores or message queues."""
    try:
        with open(f"/proc/sysvipc/{kind}") as file:
            names, *lines = (line.split() for line in file)
    except OSError:
        return []
    return [(int(line[1]), int(line[names.index("uid")])) for line in lines]


def _remove_ipc() -> None:
    if not any(map(_ipc, _IPC)):
        return
    try:
        import ctypes

        library = ctypes.CDLL(None)
    except (ImportError, OSError):
        return  # the check says that they are left
    for kind in _IPC:
        for number, owner in _ipc(kind):
            arguments = (0, 0) if kind == "sem" else (0, None)
            os.seteuid(owner)  # nobody else may remove it, not even root in a container
            getattr(library, f"{kind}ctl")(number, *arguments)
            os.seteuid(0)


def main() -> None:
    """Obey, until nobody is there any more."""
    janitor = Janitor()
    orders: Dict[str, Callable[..., Answer]] = {
        "restore": janitor.restore,
        "remember": janitor.remember,
        "reset": janitor.reset,
    }
    for line in sys.stdin:
        message = json.loads(line)
        try:
            answer = orders[message.pop("do")](**message)
        except Exception as error:  # noqa: BLE001 - told, and the container is thrown away
            answer = {"problems": [f"the janitor failed: {type(error).__name__}: {error}"]}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
