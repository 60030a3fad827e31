"""The objects of an EventFederation: what they hold, and that Kubernetes knows them."""

import base64
import copy
from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest

from eventfed.model.device_kinds import DEFAULT_DEVICES
from eventfed_agent.configuration import AgentConfiguration, parse_configuration
from eventfed_operator.agent_configuration import agent_configuration, referenced_secrets, toml_document
from eventfed_operator.builders import (
    CHECKSUM,
    build_agent_secret,
    build_asterisk_secret,
    build_daemon_set,
    build_network_policy,
    build_service,
    build_service_account,
)
from eventfed_operator.resources import InvalidResource, Resource, Settings, read_resource
from eventfed_operator.tokens import HeaderTokens

TOKENS = HeaderTokens("current-secret", "previous-secret")
OWN_NATS: dict[str, Any] = {
    "servers": ["tls://nats.example.net:4222"],
    "credentials": {"user": "agents", "password": {"name": "nats", "key": "password"}},
    "operatorCredentials": {"nkeySeed": {"name": "nats-operator", "key": "seed"}},
    "tls": {"authorities": {"name": "nats-ca", "key": "ca.crt"}, "certificate": "nats-client"},
}
SPECS: list[dict[str, Any]] = [
    {},
    {"nats": OWN_NATS},
    {
        "agent": {
            "image": "registry.example/other:2",
            "imagePullSecrets": ["registry"],
            "resources": {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}},
            "placement": {
                "nodeSelector": {"pool": "voice"},
                "tolerations": [{"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}],
                "priorityClassName": "system-node-critical",
            },
            "updateStrategy": {"type": "OnDelete"},
            "podTemplate": {
                "labels": {"team": "voice"},
                "annotations": {"sidecar.example.net/inject": "false"},
                "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}},
                "securityContext": {"runAsNonRoot": True, "seLinuxOptions": {"level": "s0:c1,c2"}},
                "env": [{"name": "TZ", "value": "Europe/Vienna"}],
                "volumes": [{"name": "ca", "configMap": {"name": "own"}}],
                "volumeMounts": [{"name": "ca", "mountPath": "/etc/own", "readOnly": True}],
            },
        },
        "members": {
            "selector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["asterisk"]}]},
            "transport": "TCP",
        },
    },
]


def build(world: Any) -> dict[str, dict[str, Any]]:
    resource, settings = world.resource, world.settings
    configuration = agent_configuration(resource, settings, TOKENS, {})
    return {
        "account": build_service_account(resource),
        "service": build_service(resource, "10.96.0.7"),
        "policy": build_network_policy(resource, settings),
        "secret": build_agent_secret(resource, TOKENS, configuration),
        "asterisk": build_asterisk_secret(resource, "10.96.0.7", TOKENS),
        "agents": build_daemon_set(resource, settings, configuration),
    }


def entry(secret: dict[str, Any], key: str) -> str:
    return base64.b64decode(secret["data"][key]).decode()


@pytest.fixture(params=SPECS, ids=["least", "own NATS", "much"])
def built(request: pytest.FixtureRequest, operator_world: Any) -> dict[str, dict[str, Any]]:
    return build(operator_world(**request.param))


def test_kubernetes_knows_every_field(built: dict[str, dict[str, Any]]) -> None:
    for manifest in built.values():
        for version in ("1.30", "1.34"):
            kubernetes_validate.validate(manifest, version, strict=True)


def test_every_object_is_owned_and_labelled(built: dict[str, dict[str, Any]]) -> None:
    for manifest in built.values():
        metadata = manifest["metadata"]
        assert metadata["namespace"] == "voice"
        assert metadata["labels"]["eventfed.io/federation"] == "pbx"
        assert [(one["kind"], one["uid"], one["controller"]) for one in metadata["ownerReferences"]] == [
            ("EventFederation", "uid-pbx", True)
        ]
    assert {manifest["metadata"]["name"] for manifest in built.values()} == {"pbx-agent", "pbx-asterisk"}


def test_building_twice_gives_the_same(operator_world: Any) -> None:
    assert build(operator_world()) == build(operator_world())


def test_agents_are_admitted_where_pod_security_is_restricted(built: dict[str, dict[str, Any]]) -> None:
    pod = built["agents"]["spec"]["template"]["spec"]
    if "seLinuxOptions" not in pod["securityContext"]:
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not pod.keys() & {"hostNetwork", "hostPID", "hostIPC"}
    assert {next(iter(volume.keys() - {"name"})) for volume in pod["volumes"]} <= {"secret", "projected", "configMap"}
    for container in pod["containers"]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert all("hostPort" not in port for port in container["ports"])


def test_agents_have_no_credentials_for_kubernetes(built: dict[str, dict[str, Any]]) -> None:
    assert built["account"]["automountServiceAccountToken"] is False
    pod = built["agents"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["serviceAccountName"] == built["account"]["metadata"]["name"]


def test_a_new_agent_is_ready_before_the_old_one_ends(operator_world: Any) -> None:
    agents = build(operator_world())["agents"]["spec"]
    assert agents["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
    }
    pod = agents["template"]["spec"]
    assert "lifecycle" not in pod["containers"][0], "an agent that sleeps in preStop is ready, and keeps its flows"
    assert pod["terminationGracePeriodSeconds"] > 4 + 8


@pytest.mark.parametrize(
    ("strategy", "wanted"),
    [
        ({"maxSurge": "25%"}, {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}}),
        ({"type": "OnDelete"}, {"type": "OnDelete"}),
    ],
)
def test_agents_are_replaced_as_the_user_says(
    operator_world: Any, strategy: dict[str, Any], wanted: dict[str, Any]
) -> None:
    assert build(operator_world(agent={"updateStrategy": strategy}))["agents"]["spec"]["updateStrategy"] == wanted


def test_placement_resources_and_image_are_the_users(operator_world: Any) -> None:
    pod = build(operator_world(**SPECS[2]))["agents"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"pool": "voice"}
    assert pod["tolerations"] == [{"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}]
    assert pod["priorityClassName"] == "system-node-critical"
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert pod["containers"][0]["image"] == "registry.example/other:2"
    assert pod["containers"][0]["resources"] == {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}}
    assert build(operator_world())["agents"]["spec"]["template"]["spec"]["containers"][0]["image"] == (
        "registry.example/eventfed:1"
    )


def test_asterisk_reaches_the_agent_of_its_own_node(operator_world: Any) -> None:
    world = operator_world()
    service = build(world)["service"]
    assert service["spec"]["internalTrafficPolicy"] == "Local"
    assert service["spec"]["clusterIP"] == "10.96.0.7"
    pod_labels = build(world)["agents"]["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"].items() <= pod_labels.items()
    assert "clusterIP" not in build_service(world.resource, None)["spec"]


def test_only_members_reach_the_sip_port(operator_world: Any) -> None:
    policy = build(operator_world())["policy"]["spec"]
    sip, http = policy["ingress"]
    assert sip["from"] == [{"podSelector": {"matchLabels": {"app": "asterisk"}}}]
    assert {(port["port"], port["protocol"]) for port in sip["ports"]} == {(5066, "UDP"), (5066, "TCP")}
    assert [port["port"] for port in http["ports"]] == [9466]
    assert policy["policyTypes"] == ["Ingress"]


def test_who_may_read_metrics_is_the_operators_setting(operator_world: Any) -> None:
    world = operator_world()
    peers = ({"namespaceSelector": {"matchLabels": {"name": "monitoring"}}},)
    policy = build_network_policy(world.resource, replace(world.settings, metrics_from=peers))
    assert policy["spec"]["ingress"][1]["from"] == list(peers)


def test_the_snippet_names_the_service_by_its_address_and_both_tokens(operator_world: Any) -> None:
    snippet = entry(build(operator_world())["asterisk"], "pjsip_eventfed.conf")
    assert "server_uri = sip:eventfed@10.96.0.7:5066\n" in snippet
    assert "match_header = X-Eventfed-Token: current-secret" in snippet
    assert "match_header = X-Eventfed-Token: previous-secret" in snippet
    assert f"@device_state_filter = {DEFAULT_DEVICES}" in snippet
    members = {"selector": {"matchLabels": {"app": "asterisk"}}, "transport": "TCP"}
    assert "\\;transport=tcp" in entry(build(operator_world(members=members))["asterisk"], "pjsip_eventfed.conf")


def test_names_that_the_user_includes_are_published_at_all(operator_world: Any) -> None:
    world = operator_world(events=[{"type": "device_state", "include": ["^Queue:sales"]}])
    assert "@device_state_filter = .\n" in entry(build(world)["asterisk"], "pjsip_eventfed.conf")


# --- the agents' file --------------------------------------------------------------------------------------------


def read(world: Any) -> AgentConfiguration:
    return parse_configuration(entry(build(world)["secret"], "agent.toml"), "agent.toml")


def test_an_agent_can_read_its_file(operator_world: Any) -> None:
    configuration = read(operator_world(departure={"gracePeriod": 5, "mailboxes": "Remove"}))
    assert configuration.federation.name == "voice_pbx"
    assert configuration.nats.servers == ("nats://nats:4222",)
    assert configuration.nats.user == "agent"
    assert configuration.nats.create_stream is False
    assert configuration.agent.listen == ("0.0.0.0:5066",)
    assert configuration.departure.grace_period == 5
    assert configuration.departure.mailboxes.value == "Remove"
    assert [event.type for event in configuration.events] == ["mwi", "device_state"]
    assert configuration.members == ()


def test_an_agent_reads_the_users_nats_from_files_that_its_pod_mounts(operator_world: Any) -> None:
    world = operator_world(nats=OWN_NATS)
    nats = read(world).nats
    mounted = {
        f"/etc/eventfed-nats/{item['path']}": (source["secret"]["name"], item["key"])
        for volume in build(world)["agents"]["spec"]["template"]["spec"]["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
        for item in source["secret"]["items"]
    }
    assert mounted[str(nats.password_file)] == ("nats", "password")
    assert mounted[str(nats.ca_file)] == ("nats-ca", "ca.crt")
    assert mounted[str(nats.certificate_file)] == ("nats-client", "tls.crt")
    assert mounted[str(nats.key_file)] == ("nats-client", "tls.key")
    assert len(mounted) == 4, "the operator's credentials are not for agents"
    assert nats.user == "agents"


def test_every_secret_that_is_named_is_known(operator_world: Any) -> None:
    assert referenced_secrets(operator_world(nats=OWN_NATS).resource.spec.nats) == {
        "nats": {"password"},
        "nats-operator": {"seed"},
        "nats-ca": {"ca.crt"},
        "nats-client": {"tls.crt", "tls.key"},
    }
    assert referenced_secrets(operator_world().resource.spec.nats) == {}


def test_secrets_stand_in_files_of_their_own_and_in_no_representation(operator_world: Any) -> None:
    world = operator_world()
    secret = build(world)["secret"]
    assert entry(secret, "token") == "current-secret"
    assert entry(secret, "previous-token") == "previous-secret"
    assert entry(secret, "nats-password") == "s3cret"
    configuration = agent_configuration(world.resource, world.settings, TOKENS, {})
    for text in (entry(secret, "agent.toml"), repr(configuration), repr(TOKENS), repr(world.settings)):
        assert not any(value in text for value in ("current-secret", "previous-secret", "s3cret"))
    agents = str(build(world)["agents"])
    assert not any(value in agents for value in ("current-secret", "previous-secret", "s3cret"))


def test_without_any_nats_it_says_what_to_do(operator_world: Any) -> None:
    world = operator_world()
    with pytest.raises(InvalidResource, match="name your servers"):
        agent_configuration(world.resource, Settings("image"), TOKENS, {})


def test_texts_that_toml_and_json_write_differently_come_through(operator_world: Any) -> None:
    pattern = 'a"b\\\\c\x7fd☎😀\t'
    configuration = read(operator_world(events=[{"type": "device_state", "include": [pattern]}]))
    assert configuration.events[0].include == (pattern,)
    assert toml_document({"a": {"b": [1.5, True, "x"]}, "c": [{"d": 1}, {"d": 2}]}) == (
        '[a]\nb = [1.5, true, "x"]\n\n[[c]]\nd = 1\n\n[[c]]\nd = 2\n'
    )


# --- which changes roll the agents -------------------------------------------------------------------------------


def checksum(world: Any, tokens: HeaderTokens = TOKENS, versions: dict[str, str | None] | None = None) -> str:
    configuration = agent_configuration(world.resource, world.settings, tokens, versions or {})
    template = build_daemon_set(world.resource, world.settings, configuration)["spec"]["template"]
    value: str = template["metadata"]["annotations"][CHECKSUM]
    return value


@pytest.mark.parametrize(
    "change",
    [
        {"events": [{"type": "device_state", "exclude": ["x"]}]},
        {"members": {"selector": {"matchLabels": {"app": "other"}}}},
        {"departure": {"gracePeriod": 60}},
        {"paused": True},
        {"deletionPolicy": "Retain"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_agents_take_over_by_themselves(operator_world: Any, change: dict[str, Any]) -> None:
    assert checksum(operator_world(**change)) == checksum(operator_world())


@pytest.mark.parametrize(
    "change",
    [{"site": "east"}, {"nats": {"servers": ["nats://other:4222"]}}, {"agent": {"logLevel": "debug"}}],
    ids=lambda change: next(iter(change)),
)
def test_agents_are_rolled_by(operator_world: Any, change: dict[str, Any]) -> None:
    assert checksum(operator_world(**change)) != checksum(operator_world())


def test_agents_take_over_header_secrets_by_themselves(operator_world: Any) -> None:
    world = operator_world()
    assert checksum(world, HeaderTokens("another-token")) == checksum(world)
    assert checksum(world, HeaderTokens("another-token", "a-token-of-before")) == checksum(world)


def test_agents_are_rolled_by_other_secrets_of_nats(operator_world: Any) -> None:
    world = operator_world()
    other = copy.deepcopy(world)
    other.settings = replace(world.settings, nats=replace(world.settings.nats, password="another"))
    assert checksum(other) != checksum(world)
    own = operator_world(nats=OWN_NATS)
    assert checksum(own, versions={"nats": "1"}) != checksum(own, versions={"nats": "2"})
    assert checksum(own, versions={"nats": "1", "mine": "1"}) == checksum(own, versions={"nats": "1", "mine": "2"})


# --- reading -----------------------------------------------------------------------------------------------------


def test_a_resource_is_read_with_its_defaults(operator_world: Any) -> None:
    resource: Resource = operator_world().resource
    assert (resource.federation, resource.subjects.stream) == ("voice_pbx", "EVENTFED_voice_pbx_local")
    assert resource.deleted is None
    assert operator_world(federation="shared").resource.federation == "shared"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"spec": {}},
            r"spec\.members: is missing: write an object with selector; spec\.events: is missing: write a list",
        ),
        ({"metadata": {"name": "Pbx"}}, r"metadata\.name: use 1 to 40 characters"),
        ({"metadata": {"creationTimestamp": "2026-03-01T11:00:00"}}, "has no time zone"),
    ],
)
def test_a_resource_that_cannot_be_acted_on_says_why(
    operator_world: Any, change: dict[str, dict[str, Any]], message: str
) -> None:
    manifest = operator_world().manifest
    manifest["metadata"] |= change.get("metadata", {})
    manifest["spec"] = change.get("spec", manifest["spec"])
    with pytest.raises(InvalidResource, match=message):
        read_resource(manifest)


def test_a_damaged_status_is_as_good_as_none(operator_world: Any) -> None:
    world = operator_world()
    world.manifest["status"] = {"conditions": "all well"}
    assert world.resource.status.conditions == ()
