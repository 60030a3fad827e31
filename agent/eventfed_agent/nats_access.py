"""From the configuration file to what the federation client wants."""

import functools
import ssl

from eventfed import Credentials, CredentialsSource, FederationSettings, MailboxDeparture, Storage
from eventfed.spec import MailboxDepartureSpec

from .configuration import AgentConfiguration, ConfigurationError, NatsSection, read_secret

__all__ = ["credentials", "credentials_source", "federation_settings"]


def federation_settings(configuration: AgentConfiguration) -> FederationSettings:
    """The times and storage of a configuration."""
    departure, timing, nats = configuration.departure, configuration.timing, configuration.nats
    remove = departure.mailboxes is MailboxDepartureSpec.REMOVE
    return FederationSettings(
        lease_ttl=timing.lease_ttl,
        lease_renewal=timing.lease_renewal,
        grace_period=departure.grace_period,
        tombstone_ttl=departure.tombstone_ttl,
        state_ttl=timing.state_ttl,
        mailboxes=MailboxDeparture.REMOVE if remove else MailboxDeparture.KEEP,
        mailbox_grace_period=departure.mailbox_grace_period,
        storage=Storage(nats.storage),
        replicas=nats.replicas,
        create_stream=nats.create_stream,
    )


def credentials_source(nats: NatsSection) -> CredentialsSource:
    """Reads secrets and certificates each time that they are needed, so that files may be replaced.

    Raises:
        ConfigurationError: at once, when a file cannot be read or used now.
    """
    credentials(nats)
    return functools.partial(credentials, nats)


def credentials(nats: NatsSection) -> Credentials:
    """Secrets and certificates, read from their files.

    Raises:
        ConfigurationError: when a file cannot be read or used.
    """
    password, token = read_secret(nats.password_file), read_secret(nats.token_file)
    context: ssl.SSLContext | None = None
    asks_for_tls = any(server.startswith(("tls://", "wss://")) for server in nats.servers)
    if nats.ca_file or nats.certificate_file or nats.tls_handshake_first or asks_for_tls:
        try:
            context = ssl.create_default_context(cafile=nats.ca_file)
            if nats.certificate_file is not None:
                context.load_cert_chain(nats.certificate_file, nats.key_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigurationError(f"TLS files of [nats]: {error}") from None
    return Credentials(
        user=nats.user,
        password=password.get_secret_value() if password else None,
        token=token.get_secret_value() if token else None,
        nkey_seed_file=nats.nkey_seed_file,
        creds_file=nats.credentials_file,
        tls=context,
        tls_handshake_first=nats.tls_handshake_first,
        inbox_prefix=nats.inbox_prefix,
    )
