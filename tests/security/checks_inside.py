"""Tries, inside of a container, what would lead out of it; prints what became of it as JSON.

It runs by whatever Python >= 3.8 there is, with the standard library only. What each attempt is
taken from is said beside it: the checks of amicontained, deepce, CDK and linPEAS, the list of known
escapes in the HackTricks wiki, the CIS Docker Benchmark (section 5), and the manual of Docker's
default seccomp profile, which tells why each call is blocked.
"""

import ctypes
import errno
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile

libc = ctypes.CDLL(None, use_errno=True)
CALLS = {
    "x86_64": {
        "init_module": 175,
        "bpf": 321,
        "perf_event_open": 298,
        "keyctl": 250,
        "open_by_handle_at": 304,
        "userfaultfd": 323,
        "reboot": 169,
        "ptrace": 101,
        "settimeofday": 164,
        "kexec_load": 246,
        "io_uring_setup": 425,
        "mount": 165,
    },
    "aarch64": {
        "init_module": 105,
        "bpf": 280,
        "perf_event_open": 241,
        "keyctl": 219,
        "open_by_handle_at": 265,
        "userfaultfd": 282,
        "reboot": 142,
        "ptrace": 117,
        "settimeofday": 170,
        "kexec_load": 104,
        "io_uring_setup": 425,
        "mount": 40,
    },
}[platform.machine()]


def call(name, *arguments):
    """A system call; `OSError` where it is refused."""
    if libc.syscall(CALLS[name], *arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def refused_for(name, *arguments):
    """A call with wrong arguments, on purpose: EPERM and ENOSYS are refusals, others are not."""
    try:
        call(name, *arguments)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOSYS, errno.EACCES):
            raise
        return f"not refused: {error.strerror}"
    return "not refused"


def status(field):
    with open("/proc/self/status") as file:
        return next(line.split()[1] for line in file if line.startswith(field + ":"))


def wanted(is_so, reason):
    """Says that the attempt was held up, and why, where that is so."""
    if is_so:
        raise PermissionError(0, reason)
    return ""


def write(path, text="x"):
    with open(path, "w") as file:
        file.write(text)
    return "written"


def read(path, size=16):
    with open(path, "rb") as file:
        data = file.read(size)
    return wanted(not data, "empty") or f"{len(data)} bytes read"


def run(*words):
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise PermissionError(
            0, (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        )
    return (done.stdout.strip() or "done").splitlines()[0]


def new_namespace(flags):
    if os.fork() == 0:
        os._exit(0 if libc.unshare(flags) == 0 else 1)
    return wanted(os.wait()[1] != 0, "unshare was refused") or "made"


def mounts(kind):
    with tempfile.TemporaryDirectory() as folder:
        call("mount", b"none", folder.encode(), kind.encode(), 0, None)
        libc.umount2(folder.encode(), 2)
    return "mounted"


def device(major, minor):
    path = os.path.join(tempfile.gettempdir(), f"device-{major}-{minor}")
    os.mknod(path, 0o60600, os.makedev(major, minor))
    try:
        return read(path)
    finally:
        os.unlink(path)


def sockets():
    known = ("docker.sock", "containerd.sock", "crio.sock", "podman.sock")
    found = [
        os.path.join(folder, name)
        for folder in ("/run", "/var/run", "/run/containerd", "/", "/host")
        for name in known
        if os.path.exists(os.path.join(folder, name))
    ]
    return wanted(not found, "there is none") or found[0]


def others():
    """Processes of other users: whether one lets itself be looked into."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.stat(f"/proc/{pid}").st_uid != os.getuid():
                with open(f"/proc/{pid}/environ", "rb") as file:
                    file.read(1)
                return f"process {pid} was looked into"
        except OSError:
            continue
    raise PermissionError(0, "there is none that can be")


def host_disks():
    with open("/proc/partitions") as file:
        lines = [line.split() for line in file if line.strip() and not line.startswith("major")]
    for major, minor, *_ in lines:
        try:
            return device(int(major), int(minor))
        except OSError as error:
            problem = error
    raise problem if lines else PermissionError(0, "there is none")


def variables():
    secret = [
        name
        for name in os.environ
        if name
        in (
            "LLM_API_KEY",
            "OPENAI_API_KEY",
            "ANTHROPIC_API_KEY",
            "GITHUB_TOKEN",
            "AWS_SECRET_ACCESS_KEY",
        )
    ]
    return wanted(not secret, "none") or ", ".join(secret)


def own_limits():
    for path in ("memory.max", "memory/memory.limit_in_bytes"):
        file = os.path.join("/sys/fs/cgroup", path)
        if os.path.exists(file):
            return write(file, "9000000000")
    raise PermissionError(0, "there is no such file")


def raw_socket():
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)).close()
    return "opened"


def metadata():
    with socket.socket() as end:
        end.settimeout(2)
        end.connect(("169.254.169.254", 80))
    return "reached"


def internet():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.connect(("1.1.1.1", 53))  # sends nothing: asks whether there is a way
    return "there is a way"


def allowed():
    """Return the host and port that the sandbox may reach, and a port that it may not."""
    if len(sys.argv) < 4:
        raise OSError("nothing is allowed")
    return sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def another_port():
    host, _, forbidden = allowed()
    with socket.create_connection((host, forbidden), 3):
        return "reached"


def elsewhere():
    """Say what proxies understand on a connection that is allowed; the other server says canary."""
    host, port, forbidden = allowed()
    place = f"127.0.0.1:{forbidden}".encode()
    two = forbidden.to_bytes(2, "big")
    for words in (
        b"CONNECT " + place + b" HTTP/1.1\r\nHost: " + place + b"\r\n\r\n",
        b"GET http://" + place + b"/ HTTP/1.1\r\nHost: " + place + b"\r\n\r\n",
        b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01" + two,
        b"\x04\x01" + two + b"\x7f\x00\x00\x01\x00",
        b"PROXY TCP4 127.0.0.1 127.0.0.1 1 %d\r\n" % forbidden,
    ):
        with socket.create_connection((host, port), 3) as end:
            end.sendall(words)
            if b"canary" in end.recv(1000):
                return "led elsewhere"
    raise OSError("it leads to one place")


def of_the_server(attempt):
    """Try something with the agent server, and with what starts it and looks after it."""
    refusal = None
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if b"openhands.agent_server" in words or words[-2:-1] in ([b"janitor"], [b"link"]):
            try:
                return f"process {pid}: {attempt(pid)}"
            except OSError as error:
                refusal = error
    if refusal is None:
        return "there is none"
    raise refusal


def memory(mode):
    def attempt(pid):
        open(f"/proc/{pid}/mem", mode, buffering=0).close()
        return "opened"

    return of_the_server(attempt)


def trace(pid):
    call("ptrace", 16, int(pid), 0, 0)  # PTRACE_ATTACH
    call("ptrace", 17, int(pid), 0, 0)  # PTRACE_DETACH
    return "traced"


def keys():
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                names = [each.partition(b"=")[0] for each in file.read().split(b"\0")]
        except OSError:
            continue
        if any(name.startswith((b"OH_SESSION_API_KEY", b"OH_SECRET_KEY")) for name in names):
            found.append(pid)
    return wanted(not found, "there is none") or f"in process {found[0]}"


CHECKS = {
    # CIS 5.3, amicontained
    "have a capability": lambda: wanted(int(status("CapEff"), 16) == 0, "none") or status("CapEff"),
    "come by a capability (bounding set)": lambda: (
        wanted(int(status("CapBnd"), 16) == 0, "none") or status("CapBnd")
    ),
    "become root by sudo": lambda: run("sudo", "-n", "id", "-u"),
    # CIS 5.25
    "gain privileges by a setuid program": lambda: (
        wanted(status("NoNewPrivs") == "1", "no_new_privs") or "not ruled out"
    ),
    # CIS 5.21
    "call without a seccomp filter": lambda: (
        wanted(status("Seccomp") == "2", "filtered") or "no filter"
    ),
    # CIS 5.12
    "write to the root file system": lambda: (
        write("/usr/local/check") and os.unlink("/usr/local/check")
    ),
    "write to /etc": lambda: write("/etc/check") and os.unlink("/etc/check"),
    # CIS 5.31, deepce, CDK
    "find an engine's socket": sockets,
    "find secrets of the host in the environment": variables,
    "look into processes of other users": others,
    # CDK, linPEAS
    "read the agent server's memory": lambda: memory("rb"),
    "write to the agent server's memory": lambda: memory("r+b"),
    "read the agent server's environment": lambda: of_the_server(
        lambda pid: read(f"/proc/{pid}/environ")
    ),
    "see the agent server's memory map": lambda: of_the_server(
        lambda pid: read(f"/proc/{pid}/maps")
    ),
    "reach into the agent server's open files": lambda: of_the_server(
        lambda pid: os.readlink(f"/proc/{pid}/fd/0")
    ),
    "trace the agent server": lambda: of_the_server(trace),
    "find the agent server's keys in an environment": keys,
    # HackTricks: capabilities
    "mount a file system in memory": lambda: mounts("tmpfs"),
    "mount a control group (release_agent)": lambda: mounts("cgroup"),
    "mount proc anew": lambda: mounts("proc"),
    "make a user namespace": lambda: new_namespace(0x10000000),
    "make a mount namespace": lambda: new_namespace(0x00020000),
    "read the host's disks by a device made here": host_disks,
    "read the memory of the machine, /dev/mem": lambda: device(1, 1),
    "load a kernel module": lambda: refused_for("init_module", 0, 0, b""),
    "load another kernel": lambda: refused_for("kexec_load", 0, 0, 0, 0),
    "load a BPF program": lambda: refused_for("bpf", 5, 0, 0),
    "use the machine's performance counters": lambda: refused_for("perf_event_open", 0, 0, 0, 0, 0),
    "use the kernel's key rings": lambda: refused_for("keyctl", 0, -3, 0),
    "open files by handle (shocker)": lambda: refused_for("open_by_handle_at", -1, 0, 0),
    "handle page faults (userfaultfd)": lambda: refused_for("userfaultfd", 0),
    "use io_uring": lambda: refused_for("io_uring_setup", 0, 0),
    "restart the machine": lambda: refused_for("reboot", 0, 0, 0, 0),
    "set the machine's clock": lambda: refused_for("settimeofday", 1, 0),
    # HackTricks: sensitive mounts
    "set core_pattern": lambda: write("/proc/sys/kernel/core_pattern", "|/bin/true"),
    "set modprobe": lambda: write("/proc/sys/kernel/modprobe", "/bin/true"),
    "use sysrq-trigger": lambda: write("/proc/sysrq-trigger", "h"),
    "set uevent_helper": lambda: write("/sys/kernel/uevent_helper", "/bin/true"),
    "raise its own limits (control group)": own_limits,
    "read /proc/kcore": lambda: read("/proc/kcore"),
    "read /proc/keys": lambda: read("/proc/keys"),
    "read the kernel's log": lambda: wanted(libc.klogctl(10, 0, 0) < 0, "refused") or "allowed",
    "read the firmware's tables": lambda: read("/sys/firmware/acpi/tables/DSDT"),
    "open a raw socket": raw_socket,
    "reach the internet": internet,
    "reach a cloud's metadata": metadata,
    "reach another port of an allowed host, by TCP": another_port,
    "lead an allowed connection elsewhere (CONNECT, Host, SOCKS, PROXY)": elsewhere,
}


def main():
    results = {}
    for name, attempt in CHECKS.items():
        try:
            results[name] = [False, str(attempt() or "done")]
        except OSError as error:
            results[name] = [True, error.strerror or str(error)]
        except subprocess.TimeoutExpired:
            results[name] = [True, "took too long"]
    json.dump(results, sys.stdout)


main()
