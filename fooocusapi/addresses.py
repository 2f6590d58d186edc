"""Which network addresses may be contacted, and contacting the very address that was checked.

Knows neither pictures nor webhooks.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Sequence

import httpx

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Sequence[str]]

# Networks whose last 32 bits are an IPv4 address: NAT64, mapped, translated, compatible.
_WRAPPING = tuple(
    ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "::ffff:0:0/96", "::ffff:0:0:0/96")
)
_COMPATIBLE = ipaddress.IPv6Network("::/96")
_LOOPBACK = ipaddress.IPv6Address("::1")
# Nothing outside is assigned to be reached from everywhere, whatever else it is not.
_UNICAST = ipaddress.IPv6Network("2000::/3")
_DOCUMENTATION = ipaddress.IPv6Network("3fff::/20")
_PORTS = {"http": 80, "https": 443}


class AddressRefusedError(ValueError):
    """The address is of a kind that may not be contacted."""


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, in the order of preference.

    Raises:
        OSError: It has none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def is_public(address: Address) -> bool:
    """Whether the address can be reached from everywhere, also when wrapped in an IPv6 one."""
    inner = _unwrap(address)
    if isinstance(inner, ipaddress.IPv6Address):
        return inner.is_global and inner in _UNICAST and inner not in _DOCUMENTATION
    return inner.is_global and not inner.is_multicast


def may_be_told(address: Address) -> bool:
    """Whether a webhook may go there: also to private networks and this host."""
    inner = _unwrap(address)
    return not (inner.is_link_local or inner.is_multicast or inner.is_unspecified)


def pinned_request(
    request: httpx.Request, *, is_allowed: Callable[[Address], bool], find: Resolve = resolve
) -> httpx.Request:
    """The request, to an address of its host that was checked, under the name of the host.

    Args:
        is_allowed: Must hold for every address of the host.
        find: Looks the host up, once.

    Raises:
        AddressRefusedError: No http(s) address, or one that is not allowed.
        OSError: The host has no address.
    """
    url = request.url
    if url.scheme not in _PORTS or not url.host:
        raise AddressRefusedError("only http and https addresses may be contacted")
    found = [text.partition("%")[0] for text in find(url.host, url.port or _PORTS[url.scheme])]
    if not found or not all(is_allowed(ipaddress.ip_address(text)) for text in found):
        raise AddressRefusedError(f"the address of {url.host} is not one that may be contacted")
    # The header Host keeps the name, as it was made from the address that was asked for.
    request.url = url.copy_with(host=found[0])
    request.extensions = {**request.extensions, "sni_hostname": url.host}
    return request


def _unwrap(address: Address) -> Address:
    if isinstance(address, ipaddress.IPv4Address):
        return address
    is_compatible = address in _COMPATIBLE and int(address) > int(_LOOPBACK)
    if is_compatible or any(address in network for network in _WRAPPING):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.sixtofour or address
