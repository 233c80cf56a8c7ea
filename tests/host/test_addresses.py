"""What addresses really are, and which of them lead to this machine."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_agent_sandbox.host import addresses
from pytest_agent_sandbox.host.addresses import is_own_address, meanings, why_near

FAR = ("93.184.216.34", "8.8.8.8", "10.255.3.4", "172.31.9.9", "192.168.77.7", "2606:4700::1111")
NEAR = {
    "127.0.0.1": "this machine's loopback",
    "127.255.3.4": "this machine's loopback",
    "0.0.0.0": "this machine's loopback",
    "0.0.0.9": "this machine's loopback",
    "::": "this machine's loopback",
    "::1": "this machine's loopback",
    "169.254.169.254": "a link-local address",
    "169.254.0.1": "a link-local address",
    "fe80::1": "a link-local address",
    "224.0.0.251": "an address of many",
    "255.255.255.255": "an address of many",
    "ff02::1": "an address of many",
    "fd00:ec2::254": "a cloud's metadata service",
    "fd20:ce::254": "a cloud's metadata service",
    "100.100.100.200": "a cloud's metadata service",
    "168.63.129.16": "a cloud's metadata service",
}


def joined(*parts: tuple[int, int]) -> IPv6Address:
    """Return the address of these numbers, each of so many bits, and zeros."""
    number = bits = 0
    for part, size in parts:
        number, bits = number << size | part, bits + size
    return IPv6Address(number << (128 - bits))


def ending(prefix: str) -> Callable[[int], IPv6Address]:
    return lambda inner: IPv6Address(int(IPv6Address(prefix)) | inner)


LOCAL = (int(IPv6Address("64:ff9b:1::")) >> 80, 48)
TEREDO = (0x20010000, 32)
FAR_SERVER = (int(IPv4Address("93.184.216.34")), 32)

#: How an IPv4 address is put into an IPv6 address, by the RFCs.
WRAPPERS: dict[str, Callable[[int], IPv6Address]] = {
    "mapped": ending("::ffff:0:0"),
    "compatible": ending("::"),
    "translated": ending("::ffff:0:0:0"),
    "6to4": lambda ip: joined((0x2002, 16), (ip, 32), (7, 48)),
    "Teredo": lambda ip: joined(TEREDO, FAR_SERVER, (0, 32), (ip ^ 2**32 - 1, 32)),
    "a Teredo server": lambda ip: joined(TEREDO, (ip, 32), (0, 32), (0x7F7F7F7F, 32)),
    "NAT64": ending("64:ff9b::"),
    "local NAT64, /48": lambda ip: joined(LOCAL, (ip >> 16, 16), (0, 8), (ip % 2**16, 16)),
    "local NAT64, /56": lambda ip: joined(LOCAL, (5, 8), (ip >> 24, 8), (0, 8), (ip % 2**24, 24)),
    "local NAT64, /64": lambda ip: joined(LOCAL, (0x505, 16), (0, 8), (ip, 32)),
    "local NAT64, /96": ending("64:ff9b:1:505:5:505::"),
}


@pytest.mark.parametrize("address", FAR)
def test_addresses_that_lead_elsewhere(address: str) -> None:
    assert why_near(ip_address(address)) == ""


@pytest.mark.parametrize(("address", "reason"), NEAR.items())
def test_addresses_that_lead_to_this_machine_or_near(address: str, reason: str) -> None:
    assert why_near(ip_address(address)) == reason


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("address", [each for each in NEAR if ":" not in each])
def test_near_addresses_inside_others(wrapper: str, address: str) -> None:
    reason = NEAR[address]
    if wrapper.startswith("local") and address.startswith("0."):
        reason = ""  # its zeros are those of a longer prefix, in any other address
    assert why_near(WRAPPERS[wrapper](int(IPv4Address(address)))) == reason


@pytest.mark.parametrize(
    "wrapped",
    [
        "::ffff:93.184.216.34",
        "64:ff9b::93.184.216.34",
        "64:ff9b:1::93.184.216.34",
        "2002:5db8:d822::1",
        "2001:0:5db8:d822:0:ffff:f7f7:f7f7",
    ],
)
def test_far_addresses_inside_others(wrapped: str) -> None:
    assert why_near(ip_address(wrapped)) == ""


@given(number=st.integers(2**24, 2**32 - 1))
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_what_is_inside_is_found(wrapper: str, number: int) -> None:
    assert IPv4Address(number) in meanings(WRAPPERS[wrapper](number))


@given(address=st.ip_addresses())
def test_any_address_means_something(address: IPv4Address | IPv6Address) -> None:
    found = meanings(address)
    assert found
    assert address in found or found == [getattr(address, "ipv4_mapped", None)]


@given(address=st.ip_addresses(v=6, network=IPv6Network("64:ff9b:1::/48")))
def test_local_nat64s_do_not_mean_zeros(address: IPv6Address) -> None:
    assert all(int(inside) >> 24 for inside in meanings(address))


def own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no network")
        return str(probe.getsockname()[0])


def test_own_addresses() -> None:
    own = IPv4Address(own_address())
    assert is_own_address(own)
    assert why_near(own) == "this machine's own address"
    for wrapper in WRAPPERS.values():
        assert why_near(wrapper(int(own))) == "this machine's own address"
    assert not is_own_address(ip_address("93.184.216.34"))
    assert not is_own_address(ip_address("2606:4700::1111"))


def test_own_addresses_where_any_can_be_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Linux with net.ipv4.ip_nonlocal_bind."""
    own = IPv4Address(own_address())
    monkeypatch.setattr(addresses, "_can_bind", lambda _: True)
    assert is_own_address(own)
    assert not is_own_address(ip_address("93.184.216.34"))
