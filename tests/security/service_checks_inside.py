"""Tries, in a sandbox with services beside it or in a service, what would lead to anything else.

It runs by whatever Python >= 3.8 there is, with the standard library only, and is given by JSON
what there would be to reach. It prints what became of each attempt as JSON.
"""

import json
import os
import socket
import sys

given = json.loads(sys.argv[1])
PATIENCE = 2


def tcp(host, port, family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_STREAM) as end:
        end.settimeout(PATIENCE)
        end.connect((host, port))
    return f"{host}:{port} was reached"


def first_of(places):
    """Reach any of several places; the last refusal where none is."""
    refusal = OSError("there is none to try")
    for host, port in places:
        try:
            return tcp(host, port)
        except OSError as error:
            refusal = error
    raise refusal


def service(places):
    """Reach another service at any of several places, and have it say who it is."""
    refusal = OSError("there is none to try")
    for host, port in places:
        try:
            with socket.create_connection((host, port), PATIENCE) as end:
                end.sendall(b"\n")
                answer = end.recv(100).decode()
            if answer != socket.gethostname():  # as by any address of one's own loopback
                return f"{host}:{port} is {answer}"
        except OSError as error:
            refusal = error
    raise refusal


def udp(host, port, data=b"x", family=socket.AF_INET):
    with socket.socket(family, socket.SOCK_DGRAM) as end:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        end.settimeout(PATIENCE)
        end.connect((host, port))
        end.send(data)
        end.recv(1)
    return f"{host}:{port} answered"


def way(host, family=socket.AF_INET):
    """Ask whether there is a way at all; this sends nothing."""
    with socket.socket(family, socket.SOCK_DGRAM) as end:
        end.connect((host, 53))
    return f"there is a way to {host}"


def lookup(name):
    return f"{name} is {socket.getaddrinfo(name, 80)[0][4][0]}"


def nameservers():
    question = b"\x12\x34\x01\x00\x00\x01" + bytes(6) + b"\x07example\x03com\x00\x00\x01\x00\x01"
    places = ["127.0.0.11"]
    with open("/etc/resolv.conf") as file:
        places += [line.split()[1] for line in file if line.startswith("nameserver ")]
    refusal = None
    for place in places:
        try:
            family = socket.AF_INET6 if ":" in place else socket.AF_INET
            return udp(place, 53, question, family)
        except OSError as error:
            refusal = error
    raise refusal


def packet():
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as end:
        end.bind(("lo", 0))
    return "opened"


def raw_address():
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW).close()
    return "opened"


def ping():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as end:
        end.settimeout(PATIENCE)
        end.sendto(b"\x08\x00" + bytes(14), ("1.1.1.1", 0))
        end.recv(1)
    return "answered"


def interfaces():
    with open("/sys/class/net/lo/operstate"):
        found = sorted(set(os.listdir("/sys/class/net")) - {"lo"})
    up = []
    for name in found:
        with open(f"/sys/class/net/{name}/flags") as file:
            if int(file.read(), 16) & 1:
                up.append(name)
    if not up:
        raise OSError("there is none that is up")
    return ", ".join(up)


CHECKS = {
    "reach what is meant to be reached, by name and port": lambda: service(given["meant"]),
    "reach another port of a service": lambda: service(given["other_ports"]),
    "reach a service of another test": lambda: service(given["of_others"]),
    "reach the other side of the gate (sandbox, LLM gateway)": lambda: first_of(given["beyond"]),
    "reach a server of this machine, on all addresses": lambda: first_of(given["here"]),
    "reach a server of this machine, on its loopback": lambda: tcp(
        "127.0.0.1", given["on_loopback"]
    ),
    "reach this machine by host.docker.internal": lambda: tcp(
        "host.docker.internal", given["on_loopback"]
    ),
    "reach the engine's bridge": lambda: way(given["bridge"]),
    "have a network interface but the loopback": interfaces,
    "reach the internet, by TCP": lambda: way("1.1.1.1"),
    "reach the internet, by UDP": lambda: udp("8.8.8.8", 53),
    "reach the internet, by IPv6": lambda: way("2606:4700:4700::1111", socket.AF_INET6),
    "reach the internet, by ping": ping,
    "reach a cloud's metadata, by address": lambda: tcp("169.254.169.254", 80),
    "reach a cloud's metadata, by IPv6": lambda: way("fd00:ec2::254", socket.AF_INET6),
    "look up a name": lambda: lookup("example.com"),
    "ask a name server": nameservers,
    "reach everybody near": lambda: udp("255.255.255.255", 9),
    "open a raw socket, of packets": packet,
    "open a raw socket, of addresses": raw_address,
}


def main():
    results = {}
    for name, attempt in CHECKS.items():
        try:
            results[name] = [False, str(attempt())]
        except OSError as error:
            results[name] = [True, error.strerror or str(error)]
    json.dump(results, sys.stdout)


main()
