"""The ground that the demo and the tests stand on: Asterisk servers, nats-servers and phones on one machine."""

from ._addresses import Allotment, allot
from ._agents import SHORT_TIMES, AgentProcess
from ._ami import AmiClient, AmiEvents, AmiMessage, AmiParser
from ._cluster import Cluster, Document
from ._cluster_pbx import ClusterPbx, example, federation, install_chart
from ._configuration import AsteriskConfiguration, pod_configuration_files
from ._control_plane import ControlPlane
from ._errors import (
    AmiConnectionLost,
    AmiError,
    AmiProtocolError,
    AsteriskUnavailable,
    ClusterUnavailable,
    ControlPlaneUnavailable,
    LabError,
    NamedUnusable,
    NatsUnavailable,
)
from ._federated import Federated
from ._figures import ProcessFigures, process_figures
from ._lamps import Lamps
from ._nats import NatsServer, nats_server_binary
from ._pbx import Pbx
from ._phone import Call, Notification, Phone, Subscription
from ._pods import AsteriskPod, pod_eid
from ._reachable import ReachableAsterisk
from ._rootfs import AsteriskRoot, obtain_asterisk
from ._server import FederatedServer, MailboxCounts, QueueMember, Server, VoicemailMethod, hint_text
from ._servers import AsteriskServer
from ._simulated import SimulatedServer
from ._spool import VoicemailSpool
from ._truth import Truth

__all__ = [
    "SHORT_TIMES",
    "AgentProcess",
    "Allotment",
    "AmiClient",
    "AmiConnectionLost",
    "AmiError",
    "AmiEvents",
    "AmiMessage",
    "AmiParser",
    "AmiProtocolError",
    "AsteriskConfiguration",
    "AsteriskPod",
    "AsteriskRoot",
    "AsteriskServer",
    "AsteriskUnavailable",
    "Call",
    "Cluster",
    "ClusterPbx",
    "ClusterUnavailable",
    "ControlPlane",
    "ControlPlaneUnavailable",
    "Document",
    "Federated",
    "FederatedServer",
    "LabError",
    "Lamps",
    "MailboxCounts",
    "NamedUnusable",
    "NatsServer",
    "NatsUnavailable",
    "Notification",
    "Pbx",
    "Phone",
    "ProcessFigures",
    "QueueMember",
    "ReachableAsterisk",
    "Server",
    "SimulatedServer",
    "Subscription",
    "Truth",
    "VoicemailMethod",
    "VoicemailSpool",
    "allot",
    "example",
    "federation",
    "hint_text",
    "install_chart",
    "nats_server_binary",
    "obtain_asterisk",
    "pod_configuration_files",
    "pod_eid",
    "process_figures",
]
