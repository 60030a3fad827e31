"""What the chart tells the operator, and how wrong values are refused."""

from pathlib import Path

import pytest

from eventfed_operator.crd.resource import PodSecuritySpec, PodTemplateSpec
from eventfed_operator.environment import MisconfiguredEnvironment, read_environment
from eventfed_operator.process import main


@pytest.fixture
def passwords(tmp_path: Path) -> dict[str, str]:
    names = {"EVENTFED_NATS_OPERATOR_PASSWORD_FILE": "one", "EVENTFED_NATS_AGENT_PASSWORD_FILE": "two"}
    for name, text in names.items():
        (tmp_path / name).write_text(f"{text}\n")
    return {name: str(tmp_path / name) for name in names}


def test_what_the_chart_says_is_read(passwords: dict[str, str]) -> None:
    configuration = read_environment(
        {
            "EVENTFED_IMAGE": "eventfed:1",
            "EVENTFED_NATS_SERVERS": "nats://a:4222, nats://b:4222",
            **passwords,
            "EVENTFED_WATCH_NAMESPACES": "voice,other",
            "EVENTFED_ALLOW_FEDERATIONS": "company",
            "EVENTFED_LEASE": "eventfed",
            "EVENTFED_POD": "eventfed-1",
            "EVENTFED_NAMESPACE": "system",
            "EVENTFED_HTTP": "[::]:9000",
            "EVENTFED_METRICS_FROM": '[{"podSelector": {}}]',
            "EVENTFED_RESYNC": "10",
            "EVENTFED_PULL_SECRETS": "registry,other",
            "EVENTFED_AGENT_POD_TEMPLATE": '{"labels": {"a": "b"}, "securityContext": {"runAsNonRoot": true},'
            ' "containerSecurityContext": {"procMount": "Default"}}',
        }
    )
    assert configuration.settings.nats is not None
    assert configuration.settings.nats.servers == ("nats://a:4222", "nats://b:4222")
    assert configuration.settings.nats.password == "two"
    assert configuration.nats is not None
    assert (configuration.nats.user, configuration.nats.password) == ("operator", "one")
    assert configuration.namespaces == ("voice", "other")
    assert configuration.settings.allow_federations == {"company"}
    assert configuration.election is not None
    assert configuration.election.identity == "eventfed-1"
    assert configuration.http == ("::", 9000)
    assert configuration.settings.metrics_from == ({"podSelector": {}},)
    assert configuration.resync == 10
    assert configuration.settings.pull_secrets == ("registry", "other")
    assert configuration.settings.agent_template == PodTemplateSpec(
        labels={"a": "b"}, security_context=PodSecuritySpec(run_as_non_root=True)
    )
    assert configuration.settings.container_security == {"procMount": "Default"}
    assert "two" not in repr(configuration)
    assert "'one'" not in repr(configuration)


def test_without_nats_and_lease_neither_is_used() -> None:
    configuration = read_environment({"EVENTFED_IMAGE": "eventfed:1"})
    assert (configuration.nats, configuration.settings.nats, configuration.election) == (None, None, None)
    assert configuration.namespaces == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EVENTFED_IMAGE", ""),
        ("EVENTFED_NATS_SERVERS", "nats://a:4222"),
        ("EVENTFED_LEASE", "eventfed"),
        ("EVENTFED_LOG_LEVEL", "loud"),
        ("EVENTFED_RESYNC", "soon"),
        ("EVENTFED_WITHDRAWAL", "0"),
        ("EVENTFED_HTTP", "8080"),
        ("EVENTFED_HTTP", "0.0.0.0:99999"),
        ("EVENTFED_METRICS_FROM", "{}"),
        ("EVENTFED_METRICS_FROM", "["),
        ("EVENTFED_METRICS_FROM", "[]"),
        ("EVENTFED_AGENT_POD_TEMPLATE", "[]"),
        ("EVENTFED_AGENT_POD_TEMPLATE", "{"),
        ("EVENTFED_AGENT_POD_TEMPLATE", '{"containerSecurityContext": 5}'),
        ("EVENTFED_AGENT_POD_TEMPLATE", '{"volumes": [{"name": "a", "hostPath": {"path": "/"}}]}'),
    ],
)
def test_a_wrong_value_is_refused_by_name(name: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    environment = {"EVENTFED_IMAGE": "eventfed:1", name: value}
    with pytest.raises(MisconfiguredEnvironment, match="EVENTFED_"):
        read_environment(environment)
    assert main(environment) == 2
    assert "EVENTFED_" in capsys.readouterr().err


def test_passwords_that_were_replaced_are_read_again_and_a_missing_one_leaves_what_was_known(
    passwords: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    configuration = read_environment(
        {"EVENTFED_IMAGE": "eventfed:1", "EVENTFED_NATS_SERVERS": "nats://a:4222", **passwords}
    )
    assert configuration.passwords is not None
    renew = configuration.passwords.renew
    settings, operator = renew(configuration.settings, configuration.nats)
    assert (settings, operator) == (configuration.settings, configuration.nats)
    own, agents = map(Path, passwords.values())
    own.write_text("three\n")
    agents.write_text("four\n")
    settings, operator = renew(settings, operator)
    assert settings.nats is not None
    assert operator is not None
    assert (operator.user, operator.password, settings.nats.password) == ("operator", "three", "four")
    agents.unlink()
    for _ in range(3):
        assert renew(settings, operator) == (settings, operator)
    [line] = [record.getMessage() for record in caplog.records]
    assert str(agents) in line
    assert not {"three", "four"} & set(line.split())
