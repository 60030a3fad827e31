"""What a running agent tells over HTTP."""

import ipaddress
import urllib.request

from eventfed_agent.configuration import split_address

__all__ = ["agent_url", "fetch"]


def agent_url(address: str) -> str:
    """``http://127.0.0.1:9466`` for the ``ADDRESS:PORT`` of an agent's file, whatever of it the agent listens on."""
    host, port = split_address(address)
    if ipaddress.ip_address(host).is_unspecified:
        host = "::1" if ":" in host else "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def fetch(url: str, within: float) -> bytes:
    """The body of the answer. Blocks for `within` seconds at most.

    Raises:
        OSError: when nobody answers, or the answer is an error.
    """
    with urllib.request.urlopen(url, timeout=within) as response:
        body: bytes = response.read()
    return body
