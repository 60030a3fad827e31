"""Who one may be towards a nats-server: authorities and certificates (openssl), nkeys, and JWTs of operator mode."""

import base64
import hashlib
import json
import secrets
import subprocess
import time
from pathlib import Path
from typing import Any

import nkeys

__all__ = ["AccountMode", "Authority", "new_nkey"]


class Authority:
    """A certificate authority of its own, in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.certificate = folder / f"{name}-ca.pem"
        self._key = folder / f"{name}-ca.key"
        self._name = name
        _openssl(
            f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} "
            f"-keyout {self._key.name} -out {self.certificate.name}",
            folder,
        )

    def issue(self, who: str) -> tuple[Path, Path]:
        """A certificate for ``127.0.0.1`` and its key."""
        stem = self.folder / f"{self._name}-{who}"
        request, extensions = stem.with_suffix(".csr"), stem.with_suffix(".ext")
        certificate, key = stem.with_suffix(".pem"), stem.with_suffix(".key")
        extensions.write_text("subjectAltName = IP:127.0.0.1\n")
        _openssl(
            f"req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={who} -keyout {key.name} "
            f"-out {request.name}",
            self.folder,
        )
        _openssl(
            f"x509 -req -in {request.name} -CA {self.certificate.name} -CAkey {self._key.name} -CAcreateserial "
            f"-days 2 -extfile {extensions.name} -out {certificate.name}",
            self.folder,
        )
        return certificate, key


def _openssl(command: str, folder: Path) -> None:
    subprocess.run(["openssl", *command.split()], cwd=folder, check=True, capture_output=True)


def new_nkey(kind: int = nkeys.PREFIX_BYTE_USER) -> tuple[bytes, nkeys.KeyPair]:
    """A seed, and the pair that it makes."""
    seed = bytes(nkeys.encode_seed(secrets.token_bytes(32), kind))
    return seed, nkeys.from_seed(bytearray(seed))


class AccountMode:
    """One operator, its system account, and one account with JetStream, whose users log in by ``.creds`` files."""

    def __init__(self) -> None:
        _, self._operator = new_nkey(nkeys.PREFIX_BYTE_OPERATOR)
        _, self._system = new_nkey(nkeys.PREFIX_BYTE_ACCOUNT)
        _, self._account = new_nkey(nkeys.PREFIX_BYTE_ACCOUNT)
        self._revoked: dict[str, int] = {}

    def configuration(self) -> str:
        """For nats-server.conf."""
        unlimited = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
        storage = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)
        account = {"limits": {**unlimited, **storage, "wildcards": True}, "revocations": self._revoked}
        system = {"limits": {**unlimited, "wildcards": True}}
        operator = {"system_account": _public(self._system)}
        accounts = {_public(pair): _jwt("account", pair, self._operator, nats)
                    for pair, nats in ((self._account, account), (self._system, system))}  # fmt: skip
        return "\n".join(
            [
                f"operator: {_jwt('operator', self._operator, self._operator, operator)}",
                f"system_account: {_public(self._system)}",
                "resolver: MEMORY",
                f"resolver_preload: {json.dumps(accounts)}",
            ]
        )

    def user(self) -> tuple[str, str]:
        """The text of a ``.creds`` file of a new user, and the user's public key."""
        seed, pair = new_nkey()
        limits = {"subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {}}
        parts = [("NATS USER JWT", _jwt("user", pair, self._account, limits)), ("USER NKEY SEED", seed.decode())]
        text = "".join(f"-----BEGIN {what}-----\n{value}\n------END {what}------\n\n" for what, value in parts)
        return text, _public(pair)

    def revoke(self, user: str) -> None:
        """From the next `configuration` on the user is let in no more."""
        self._revoked[user] = int(time.time()) + 1


def _public(pair: nkeys.KeyPair) -> str:
    return bytes(pair.public_key).decode()


def _jwt(kind: str, subject: nkeys.KeyPair, issuer: nkeys.KeyPair, nats: dict[str, Any]) -> str:
    """A JWT as ``nsc`` signs it (nats-io/jwt v2)."""
    claims: dict[str, Any] = {
        "iat": int(time.time()),
        "iss": _public(issuer),
        "sub": _public(subject),
        "name": kind,
        "nats": {**nats, "type": kind, "version": 2},
    }
    claims["jti"] = base64.b32encode(hashlib.sha256(json.dumps(claims).encode()).digest()).decode().rstrip("=")
    signed = f"{_base64({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_base64(claims)}"
    return f"{signed}.{_encode(issuer.sign(signed.encode()))}"


def _base64(document: dict[str, Any]) -> str:
    return _encode(json.dumps(document).encode())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
