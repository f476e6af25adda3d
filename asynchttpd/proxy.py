"""Who the client is when there are proxies in between (RFC 7239 and the X-Forwarded-* fields before it): pure.

Anybody can send these fields, so they count only when the connection comes from a trusted proxy. Each proxy appends the
address that it saw: from the right, the first one that is not a trusted proxy is the client. What stands to its left is
that client's own claim.
"""

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

Network = ipaddress.IPv4Network | ipaddress.IPv6Network | Literal["unix"]

TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
PAIR = re.compile(rf'({TOKEN})=(?:({TOKEN})|"([^"\\]*)")')  # no address or host name needs an escape
NODE = re.compile(r"([0-9.]+)(?::[0-9]+)?|\[([0-9A-Fa-f:.]+)\](?::[0-9]+)?|([0-9A-Fa-f:.]+)")


class Hop(NamedTuple):
    """What one proxy says about its client: the address, "http" or "https", and the Host that it asked for."""

    node: str
    scheme: str | None
    host: str | None


def client_of(remote: str, fields: Mapping[str, str], trusted: Sequence[Network]) -> Hop:
    """Return the client of a request that came from address *remote* with header *fields* (lower-case names).

    >>> proxies = [ipaddress.ip_network("10.0.0.0/8")]
    >>> client_of("10.0.0.1", {"x-forwarded-for": "1.1.1.1, 203.0.113.7, 10.0.0.2"}, proxies).node
    '203.0.113.7'
    >>> client_of("203.0.113.9", {"x-forwarded-for": "1.1.1.1"}, proxies).node
    '203.0.113.9'
    """
    client, said = Hop(remote, None, None), hops(fields)
    # Trust comes first: the fields of a peer that is not trusted are not even parsed.
    while is_trusted(client.node, trusted) and (hop := next(said, None)):
        address = node_address(hop.node)
        client = Hop(address or client.node, hop.scheme or client.scheme, hop.host or client.host)
        if address is None:
            break  # "unknown", a pseudonym or nonsense: we know only the address of the last proxy
    return client


def hops(fields: Mapping[str, str]) -> Iterator[Hop]:
    """Yield what the proxies say, the nearest one first."""
    # Most proxies set X-Forwarded-For and pass on a Forwarded that they do not know, which is then the client's claim.
    if "forwarded" in fields and "x-forwarded-for" not in fields:
        # Split at any comma: a quote that the client has left open must not hide what the proxy has appended.
        for element in reversed(members(fields["forwarded"])):
            if element:
                yield hop_of(element)
        return
    nodes = members(fields.get("x-forwarded-for")) or [""]
    schemes, hosts = members(fields.get("x-forwarded-proto")), members(fields.get("x-forwarded-host"))
    # Most proxies append to the first field but replace the others, so these may be shorter: align them at the right.
    for distance, node in enumerate(reversed(nodes), start=1):
        yield Hop(node, scheme_of(from_right(schemes, distance)), from_right(hosts, distance))


def hop_of(element: str) -> Hop:
    """Return what one element of Forwarded says: nothing if it is malformed, as with a ";" between quotes."""
    pairs = {}
    for text in element.split(";"):
        pair = PAIR.fullmatch(text)
        if pair is None:
            return Hop("", None, None)
        pairs[pair[1].lower()] = pair[2] or pair[3]
    return Hop(pairs.get("for", ""), scheme_of(pairs.get("proto")), pairs.get("host"))


def members(field: str | None) -> list[str]:
    return [] if field is None else [member.strip(" \t") for member in field.split(",")]


def from_right(values: list[str], distance: int) -> str | None:
    return values[-min(distance, len(values))] if values else None


def scheme_of(text: str | None) -> str | None:
    return text.lower() if text and text.lower() in ("http", "https") else None


def node_address(node: str) -> str | None:
    """Return the address in "1.2.3.4", "1.2.3.4:80", "[::1]:80" or "::1", None for anything else."""
    match = NODE.fullmatch(node)
    try:
        address = ipaddress.ip_address(match[1] or match[2] or match[3]) if match else None
    except ValueError:
        return None
    return address and str(getattr(address, "ipv4_mapped", None) or address)


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    if address == "unix":  # the peer of a Unix socket has no address
        return "unix" in trusted
    try:
        return any(ipaddress.ip_address(address) in network for network in trusted if network != "unix")
    except ValueError:
        return False
