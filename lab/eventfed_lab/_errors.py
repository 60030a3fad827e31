"""What the lab raises."""

from eventfed import EventfedError

__all__ = [
    "AmiConnectionLost",
    "AmiError",
    "AmiProtocolError",
    "AsteriskUnavailable",
    "ClusterUnavailable",
    "ControlPlaneUnavailable",
    "LabError",
    "NamedUnusable",
    "NatsUnavailable",
]


class LabError(EventfedError):
    """Root of the lab's exceptions; also raised itself when a server or phone does not do what was asked."""


class NamedUnusable(LabError):
    """What an environment variable names cannot be used. Nothing else is taken in its place, and nothing skipped."""


class AsteriskUnavailable(LabError):
    """No Asterisk can be had on this machine; the text is the plain reason."""


class NatsUnavailable(LabError):
    """No nats-server can be had on this machine; the text is the plain reason."""


class ClusterUnavailable(LabError):
    """No kind cluster can be had on this machine; the text is the plain reason."""


class ControlPlaneUnavailable(LabError):
    """No Kubernetes control plane can be had on this machine; the text is the plain reason."""


class AmiError(LabError):
    """The AMI answered ``Response: Error``, or something that is no answer."""


class AmiConnectionLost(AmiError):
    """There is no AMI, or no longer."""


class AmiProtocolError(AmiError):
    """Bytes that are not AMI."""
