"""An IP address made coarse: the network that is kept of it where the address itself is more than is needed.

Source: RFC 6177 (a site gets a /48 to a /56). Rule: no exact address gets through here.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network

KEPT_BITS = {4: 24, 6: 48}


def coarse(address: str) -> str:
    """The /24 of an IPv4 address or the /48 of an IPv6 one, as CIDR text; "" for what is no address.

    What has been made coarse stays as it is.
    """
    text = address.partition("/")[0]
    try:
        bits = KEPT_BITS[ip_address(text).version]
    except ValueError:
        return ""
    return str(ip_network((text, bits), strict=False))
