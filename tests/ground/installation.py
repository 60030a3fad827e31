"""The chart as Helm renders it, installed as far as its operator needs it: identity, rights, environment and NATS."""

import asyncio
import base64
import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import yaml

from eventfed_lab import Allotment, ControlPlane, NatsServer, allot
from eventfed_lab._process import ChildProcess
from tests.ground.cluster_api import Api, eventually

__all__ = ["CHART", "Installation", "Operator", "helm", "render"]

CHART = Path(__file__).resolve().parents[2] / "charts" / "eventfed"
_VERSION = "1.34.0"
_RIGHTS = {"Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}


def helm(
    plane: ControlPlane, *arguments: str | Path, check: bool = True, text: str = ""
) -> "subprocess.CompletedProcess[str]":
    """The Helm of the control plane's programs."""
    done = subprocess.run(
        [plane.programs / "helm", *arguments],
        capture_output=True,
        text=True,
        input=text,
        env=plane.environment,
        check=False,
        timeout=60,
    )
    assert not check or done.returncode == 0, f"helm {arguments}: {done.stderr}"
    return done


def render(
    plane: ControlPlane,
    values: Mapping[str, Any] | None = None,
    *,
    release: str = "eventfed",
    namespace: str = "eventfed",
) -> list[dict[str, Any]]:
    """All objects of the chart, its test's pod among them."""
    told = helm(
        plane,
        *("template", release, CHART, "--namespace", namespace, "--kube-version", _VERSION, "--values", "-"),
        text=json.dumps(values or {}),
    )
    return [one for one in yaml.safe_load_all(told.stdout) if one]


def _one(objects: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in objects if one["kind"] == kind and one["metadata"]["name"] == name]
    return found


class Operator:
    """One process of the operator."""

    def __init__(self, command: list[str], environment: Mapping[str, str], log: Path, address: Allotment) -> None:
        self._command, self._environment, self._log, self._address = command, dict(environment), log, address
        self._url = f"http://{environment['EVENTFED_HTTP']}"
        self._process: ChildProcess | None = None

    def start(self) -> Self:
        """Start it, and return when it serves its endpoints."""
        self._process = ChildProcess(self._command, output=self._log, environment=self._environment)
        eventually(lambda: self.get("/healthz") or not self.running, within=30)
        assert self.running, self.log
        return self

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    @property
    def returncode(self) -> int | None:
        assert self._process is not None
        return self._process.returncode

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def get(self, path: str) -> tuple[int, str] | None:
        """Status and text of one of its endpoints; None if it does not answer."""
        try:
            with urllib.request.urlopen(f"{self._url}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return None

    def metrics(self) -> dict[str, float]:
        """By name with labels, as they are written."""
        answer = self.get("/metrics")
        assert answer is not None
        lines = [line.rpartition(" ") for line in answer[1].splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in lines}

    @property
    def leads(self) -> bool:
        return self.running and self.get("/metrics") is not None and self.metrics()["eventfed_operator_leader"] == 1

    def actions(self) -> dict[str, float]:
        """How often each action was carried out."""
        return {
            found[1]: value
            for name, value in self.metrics().items()
            if (found := re.fullmatch(r'eventfed_operator_actions_total\{action="(\w+)"\}', name))
        }

    def terminate(self) -> None:
        """SIGTERM, and wait for its end."""
        assert self._process is not None
        asyncio.run(self._process.terminate(20))

    def hang(self) -> None:
        """Stop it where it stands (SIGSTOP)."""
        assert self._process is not None
        self._process.hang()

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        assert self._process is not None
        self._process.resume()

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()

    def close(self) -> None:
        """End it, and give its port back."""
        self.kill()
        self._address.release()


class Installation:
    """A release of the chart in a namespace, whose NATS and operators are processes.

    Args:
        values: of the chart.
        folder: for files.
        release: name of the Helm release.
    """

    def __init__(
        self, plane: ControlPlane, api: Api, folder: Path, *, namespace: str, values: Mapping[str, Any], release: str
    ) -> None:
        self.plane, self.api, self.namespace = plane, api, namespace
        self.name = release if "eventfed" in release else f"{release}-eventfed"
        self.account = f"{self.name}-operator"
        self.user = f"system:serviceaccount:{namespace}:{self.account}"
        self._folder = folder
        self.objects = render(plane, values, release=release, namespace=namespace)
        documents = [one for one in self.objects if one["kind"] in _RIGHTS]
        for one in documents:
            one["metadata"].setdefault("namespace", namespace)
        made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        plane.kubectl("apply", "-f", "-", text=yaml.safe_dump_all([made, *documents]))
        self.passwords: dict[str, str] = {}
        self.nats: NatsServer | None = None
        if any(one["kind"] == "StatefulSet" for one in self.objects):
            secret = _one(self.objects, "Secret", f"{self.name}-nats")
            self.passwords = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
            self.nats = NatsServer(configuration=self._nats_configuration())
            asyncio.run(self.nats.start())
        self._operators: list[Operator] = []

    def _nats_configuration(self) -> str:
        """The chart's, but for places and ports."""
        text: str = _one(self.objects, "ConfigMap", f"{self.name}-nats")["data"]["nats.conf"]
        text = re.sub(r"^(server_name|port|http):.*$", "", text, flags=re.MULTILINE)
        text = re.sub(r"^jetstream \{.*?^\}$", "", text, flags=re.MULTILINE | re.DOTALL)
        for user, password in self.passwords.items():
            text = text.replace(f"$NATS_{user.upper()}_PASSWORD", password)
        return text

    def operator(self, pod: str = "operator-0", *, server: str | None = None, **more: str) -> Operator:
        """An operator with the environment of the chart's Deployment and its ServiceAccount's token; not started.

        Args:
            pod: its name.
            server: where it reaches the API server; None: directly.
            more: further variables, in place of the chart's.
        """
        deployment = _one(self.objects, "Deployment", self.account)
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        environment = {one["name"]: one.get("value", "") for one in container["env"]}
        address = allot("127.0.0.1")
        kubeconfig = self._folder / f"{self.namespace}-{pod}-kubeconfig"
        token = self.api.token(self.namespace, self.account)
        environment |= {
            "PATH": os.environ.get("PATH", ""),
            "KUBECONFIG": str(self.plane.write_kubeconfig(kubeconfig, token, server=server)),
            "EVENTFED_POD": pod,
            "EVENTFED_NAMESPACE": self.namespace,
            "EVENTFED_HTTP": f"127.0.0.1:{address.ports[0]}",
        }
        if self.nats is not None:
            environment["EVENTFED_NATS_SERVERS"] = self.nats.url
            for user in ("operator", "agent"):
                file = self._folder / f"{self.namespace}-{user}"
                file.write_text(self.passwords[user])
                environment[f"EVENTFED_NATS_{user.upper()}_PASSWORD_FILE"] = str(file)
        environment |= more
        command = [sys.executable, *container["command"][1:]]
        log = self._folder / f"{self.namespace}-{pod}.log"
        made = Operator(command, environment, log, address)
        self._operators.append(made)
        return made

    def close(self) -> None:
        for one in self._operators:
            one.close()
        if self.nats is not None:
            asyncio.run(self.nats.close())
