"""What addresses really are, and which of them lead to this machine."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_agent_sandbox.host import addresses
from pytest_agent_sandbox.host.addresses import is_own_address, meanings, why_near
from tests.support.hostile.lookups import WRAPPERS

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
