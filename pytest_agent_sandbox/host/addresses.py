"""What an address of the network really is, and whether it leads to this machine."""

from __future__ import annotations

import socket
from ipaddress import (
    IPv4Address,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address

_LOW = (1 << 32) - 1
# The last 32 bits of these are an IPv4 address: IPv4-compatible, translated (RFC 2765), and the
# prefix of all NAT64s (RFC 6052). ipaddress itself knows mapped ones, 6to4 and Teredo.
_ENDS_IN_IPV4 = tuple(map(IPv6Network, ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
# The prefix of local NAT64s (RFC 8215): how much of it is a NAT64's own, only its network knows.
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_BROADCAST = IPv4Address("255.255.255.255")
_THIS_NETWORK = ip_network("0.0.0.0/8")
# Where clouds tell a machine its secrets, apart from 169.254.169.254, which is link-local.
_METADATA = frozenset(
    map(ip_address, ("fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16"))
)
# For documentation only: no machine has them.
_NOBODYS: dict[int, Address] = {
    4: IPv4Address("203.0.113.77"),
    6: IPv6Address("2001:db8:6e6f:626f:6479::1"),
}


def meanings(address: Address) -> list[Address]:
    """Return the addresses that a connection to this one may reach: itself, or those inside it.

    Args:
        address: Also one that carries an IPv4 address: a mapped, 6to4, Teredo or NAT64 one.
    """
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    inside: list[Address] = []
    if address.sixtofour is not None:
        inside.append(address.sixtofour)
    if address.teredo is not None:
        inside.extend(address.teredo)
    if any(address in network for network in _ENDS_IN_IPV4):
        inside.append(IPv4Address(int(address) & _LOW))
    if address in _LOCAL_NAT64:
        inside.extend(_of_local_nat64(int(address)))
    return [address, *inside]


def why_near(address: Address) -> str:
    """Return what makes an address one of this machine, or linked to it; else an empty string."""
    return next((reason for each in meanings(address) if (reason := _why_near(each))), "")


def is_own_address(address: Address) -> bool:
    """Tell whether an address is one of this machine's own."""
    if not _can_bind(address):
        return False
    # A machine may be set to bind any address (Linux, net.ipv4.ip_nonlocal_bind).
    return not _can_bind(_NOBODYS[address.version]) or _source(address) == address


def _why_near(address: Address) -> str:
    if address.is_unspecified or address in _THIS_NETWORK or address.is_loopback:
        return "this machine's loopback"
    if address.is_link_local:
        return "a link-local address"
    if address.is_multicast or address == _BROADCAST:
        return "an address of many"
    if address in _METADATA:
        return "a cloud's metadata service"
    return "this machine's own address" if is_own_address(address) else ""


def _of_local_nat64(number: int) -> list[Address]:
    """Return the IPv4 addresses by each length of prefix (RFC 6052, 2.2), but for 0.0.0.0/8.

    Those are what zeros mean that belong to a longer prefix; no NAT64 leads there.
    """
    # The ninth byte is no part of it.
    without = (number >> 64 << 56) | (number & ((1 << 56) - 1))
    found = [IPv4Address(without >> (88 - length) & _LOW) for length in (48, 56, 64)]
    return [each for each in (*found, IPv4Address(number & _LOW)) if each not in _THIS_NETWORK]


def _can_bind(address: Address) -> bool:
    try:
        with _udp(address) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def _source(address: Address) -> Address | None:
    """Return the address from which this machine would speak to another; nothing is sent."""
    try:
        with _udp(address) as probe:
            probe.connect((str(address), 9))
            return ip_address(str(probe.getsockname()[0]).partition("%")[0])
    except OSError:
        return None


def _udp(address: Address) -> socket.socket:
    family = socket.AF_INET if isinstance(address, IPv4Address) else socket.AF_INET6
    return socket.socket(family, socket.SOCK_DGRAM)
