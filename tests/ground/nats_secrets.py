"""The ways to prove to a nats-server who we are, each as files that somebody replaces."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.ground.nats_identities import AccountMode, Authority, new_nkey

__all__ = ["SECRETS", "Secret", "password"]


@dataclass(frozen=True)
class Secret:
    """What a rotation replaces.

    Args:
        fields: of ``[nats]``.
        replace: writes the next secrets into the files; the result is the next configuration of nats-server.
        refusal: a word of what is told while the server has the next one and the files do not.
    """

    configuration: str
    fields: dict[str, Any]
    replace: Callable[[], str]
    refusal: str = "credentials"
    scheme: str = "nats"


def password(folder: Path) -> Secret:
    file = folder / "password"
    file.write_text("first\n")

    def replace() -> str:
        file.write_text("second\n")
        return 'authorization { user: agent, password: "second" }'

    fields = {"user": "agent", "password_file": file}
    return Secret('authorization { user: agent, password: "first" }', fields, replace)


def token(folder: Path) -> Secret:
    file = folder / "token"
    file.write_text("first\n")

    def replace() -> str:
        file.write_text("second\n")
        return 'authorization { token: "second" }'

    return Secret('authorization { token: "first" }', {"token_file": file}, replace)


def nkey(folder: Path) -> Secret:
    file = folder / "seed"
    (seed, pair), (next_seed, next_pair) = new_nkey(), new_nkey()
    file.write_bytes(seed)

    def users(public: bytes) -> str:
        return f"authorization {{ users: [{{ nkey: {public.decode()} }}] }}"

    def replace() -> str:
        file.write_bytes(next_seed)
        return users(bytes(next_pair.public_key))

    return Secret(users(bytes(pair.public_key)), {"nkey_seed_file": file}, replace)


def creds(folder: Path) -> Secret:
    file, mode = folder / "agent.creds", AccountMode()
    text, user = mode.user()
    file.write_text(text)

    def replace() -> str:
        file.write_text(mode.user()[0])
        mode.revoke(user)
        return mode.configuration()

    return Secret(mode.configuration(), {"credentials_file": file}, replace)


def authority(folder: Path) -> Secret:
    file = folder / "ca.pem"

    def take(name: str) -> str:
        one = Authority(folder, name)
        certificate, key = one.issue("server")
        file.write_bytes(one.certificate.read_bytes())
        return f'tls {{ cert_file: "{certificate}", key_file: "{key}" }}'

    return Secret(take("first"), {"ca_file": file}, lambda: take("second"), "TLS with NATS failed", "tls")


def client_certificate(folder: Path) -> Secret:
    one = Authority(folder, "servers")
    server, server_key = one.issue("server")
    file, key_file = folder / "tls.crt", folder / "tls.key"

    def take(name: str) -> str:
        clients = Authority(folder, name)
        certificate, key = clients.issue("agent")
        file.write_bytes(certificate.read_bytes())
        key_file.write_bytes(key.read_bytes())
        return (
            f'tls {{ cert_file: "{server}", key_file: "{server_key}", ca_file: "{clients.certificate}", verify: true }}'
        )

    fields = {"ca_file": one.certificate, "certificate_file": file, "key_file": key_file}
    return Secret(take("first"), fields, lambda: take("second"), "", "tls")


SECRETS: list[Callable[[Path], Secret]] = [password, token, nkey, creds, authority, client_certificate]
"""Every kind; each makes its files in a folder."""
