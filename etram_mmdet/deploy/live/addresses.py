"""Addresses at which a browser reaches this machine."""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from contextlib import suppress
from pathlib import Path

_GET_ADDRESS = 0x8915  # SIOCGIFADDR of Linux
_GET_FLAGS = 0x8913  # SIOCGIFFLAGS
_IS_UP = 1
_IPV6 = Path("/proc/net/if_inet6")
_GLOBAL = 0x00  # the scope of addresses that reach beyond one cable
_UNUSABLE = 0x20 | 0x40 | 0x08  # outdated, not confirmed yet, taken by another machine


def is_any(host: str) -> bool:
    """Whether a server on this address listens on all addresses, as on ``0.0.0.0`` and ``::``.

    Args:
        host: name or address.
    """
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_unspecified
    return not host


def url_of(host: str, port: int) -> str:
    """The address that a browser takes.

    Args:
        host: name or address; IPv6 without brackets.
        port: port of the server.
    """
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def network_addresses(with_ipv6: bool) -> list[str]:
    """Addresses of this machine in its networks, without those that only it can reach.

    Args:
        with_ipv6: whether to list addresses of IPv6 behind those of IPv4.
    """
    found = _ipv4() + (_ipv6() if with_ipv6 else [])
    return [each for each in found if not ipaddress.ip_address(each).is_loopback]


def _ipv4() -> list[str]:
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            card = struct.pack("256s", name.encode()[:15])
            with suppress(OSError):  # it has no address
                flags = fcntl.ioctl(asked, _GET_FLAGS, card)[16:18]
                if struct.unpack("H", flags)[0] & _IS_UP:
                    answer = fcntl.ioctl(asked, _GET_ADDRESS, card)
                    found.append(socket.inet_ntoa(answer[20:24]))
    return found


def _ipv6() -> list[str]:
    try:
        lines = _IPV6.read_text().splitlines()
    except OSError:  # the machine has no IPv6, or is no Linux
        return []
    found = []
    for line in lines:
        digits, _, _, scope, flags, _ = line.split()
        if int(scope, 16) == _GLOBAL and not int(flags, 16) & _UNUSABLE:
            found.append(str(ipaddress.IPv6Address(int(digits, 16))))
    return found
