"""The part of an EventFederation that says which NATS carries it."""

import enum
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from eventfed.spec import Spec, refused_unless, worded

from .kubernetes_types import ObjectName

__all__ = ["CredentialsSpec", "NatsSpec", "SecretKey", "StreamSpec", "StreamStorage", "SubjectToken", "TlsSpec"]

_ONE_WAY_IN = "credentials: use exactly one of user (with password), token, credentialsFile and nkeySeed"
_USER_WITH_PASSWORD = "credentials: user and password belong together: give both, or neither"
_FOREIGN_SERVERS = (
    "nats: credentials, operatorCredentials, tls and subjectPrefix are for servers of your own: "
    "name those in nats.servers, or remove the others to use the chart's NATS"
)
_SAME_STORAGE = "nats.stream.storage cannot be changed: delete the EventFederation and create it again"


_TOKEN, _TOKEN_RULE = worded(
    "^[A-Za-z0-9_-]{1,128}$", "use 1 to 128 letters, digits, '_' and '-': it is one token of a NATS subject"
)

SubjectToken = Annotated[str, Field(max_length=128, json_schema_extra=_TOKEN_RULE), _TOKEN]
"""One token of a subject."""

# Printable ASCII but for / and @.
_SERVER, _SERVER_RULE = worded(
    "^(nats|tls|ws|wss)://[!-&(-.0-?A-~]+$",
    "write nats://HOST:PORT or tls://HOST:PORT; what proves who you are goes into nats.credentials",
)
_KEY, _KEY_RULE = worded("^[-._a-zA-Z0-9]+$", "write a key of the Secret: letters, digits, '-', '_' and '.'")


class StreamStorage(enum.StrEnum):
    FILE = "File"
    MEMORY = "Memory"


class SecretKey(Spec):
    """One entry of a Secret in the namespace of the EventFederation."""

    name: Annotated[ObjectName, Field(description="Name of the Secret.")]
    key: Annotated[
        str, Field(min_length=1, max_length=253, description="Key in the Secret.", json_schema_extra=_KEY_RULE), _KEY
    ]


class CredentialsSpec(Spec):
    """How to log in to NATS: one of a user with a password, a token, a credentials file and an nkey."""

    model_config = ConfigDict(
        json_schema_extra=refused_unless(
            (
                "[has(self.user) || has(self.password), has(self.token), has(self.credentialsFile),"
                " has(self.nkeySeed)].filter(given, given).size() == 1",
                _ONE_WAY_IN,
            ),
            ("has(self.user) == has(self.password)", _USER_WITH_PASSWORD),
        )
    )

    user: Annotated[
        str | None, Field(min_length=1, max_length=256, description="Name of the user; goes with password.")
    ] = None
    password: Annotated[SecretKey | None, Field(description="The user's password.")] = None
    token: Annotated[SecretKey | None, Field(description="A bearer token.")] = None
    credentials_file: Annotated[
        SecretKey | None, Field(description="A file with a user's JWT and seed, as nsc writes it.")
    ] = None
    nkey_seed: Annotated[SecretKey | None, Field(description="The seed of an nkey.")] = None

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        ways = (self.user or self.password, self.token, self.credentials_file, self.nkey_seed)
        if sum(1 for way in ways if way) != 1:
            raise ValueError(_ONE_WAY_IN)
        if (self.user is None) != (self.password is None):
            raise ValueError(_USER_WITH_PASSWORD)
        return self


class TlsSpec(Spec):
    """TLS towards NATS."""

    authorities: Annotated[
        SecretKey | None,
        Field(description="PEM file of the authorities that sign the servers. Absent: those of the image."),
    ] = None
    certificate: Annotated[
        ObjectName | None,
        Field(description="Secret of type kubernetes.io/tls that proves to NATS who the agents are."),
    ] = None
    handshake_first: Annotated[
        bool,
        Field(description="Begin with TLS before the server says anything, as nats-server's handshake_first wants."),
    ] = False


class StreamSpec(Spec):
    """The stream that keeps the last value of each state."""

    replicas: Annotated[
        Literal[1, 3, 5],
        Field(description="On how many servers it is kept; NATS needs as many. Even numbers add none."),
    ] = 1
    storage: Annotated[
        StreamStorage,
        Field(
            description="Where NATS keeps it. With Memory, a restart of NATS loses the counts of mailboxes until their "
            "voicemail speaks again.",
            json_schema_extra=refused_unless(("self == oldSelf", _SAME_STORAGE)),
        ),
    ] = StreamStorage.FILE
    max_bytes: Annotated[
        int | None,
        Field(
            ge=1_048_576,
            le=2**40,
            json_schema_extra={"format": "int64"},
            description="The most it may hold, in bytes; NATS then refuses new states. Absent: what NATS allows.",
        ),
    ] = None


class NatsSpec(Spec):
    """The NATS that carries the states. Without servers: the one of the chart."""

    model_config = ConfigDict(
        json_schema_extra=refused_unless(
            (
                "has(self.servers) || (!has(self.credentials) && !has(self.operatorCredentials) && !has(self.tls)"
                " && self.subjectPrefix == 'eventfed')",
                _FOREIGN_SERVERS,
            )
        )
    )

    servers: Annotated[
        tuple[
            Annotated[
                str,
                Field(
                    max_length=256,
                    description="nats://HOST:4222 or tls://HOST:4222, without user or password.",
                    json_schema_extra=_SERVER_RULE,
                ),
                _SERVER,
            ],
            ...,
        ]
        | None,
        Field(
            min_length=1,
            max_length=16,
            description="URLs of servers of your own. Absent: the NATS of the chart.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ] = None
    credentials: Annotated[CredentialsSpec | None, Field(description="How the agents log in.")] = None
    operator_credentials: Annotated[
        CredentialsSpec | None,
        Field(
            description="How the operator logs in, which makes the stream and writes rosters. "
            "Absent: as the agents do, who then have more rights than they need."
        ),
    ] = None
    tls: Annotated[TlsSpec | None, Field(description="Authorities, and a certificate of the agents' own.")] = None
    subject_prefix: Annotated[
        SubjectToken, Field(description="First token of all subjects and, in capitals, of the stream's name.")
    ] = "eventfed"
    stream: Annotated[StreamSpec, Field(description="The stream that keeps the last value of each state.")] = (
        StreamSpec()
    )

    @model_validator(mode="after")
    def _own_servers(self) -> Self:
        own = self.credentials or self.operator_credentials or self.tls or self.subject_prefix != "eventfed"
        if own and not self.servers:
            raise ValueError(_FOREIGN_SERVERS)
        return self
