"""A Kubernetes control plane without nodes: etcd, kube-apiserver and some controllers, on loopback."""

import json
import os
import secrets
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Self

from ._addresses import Allotment, allot
from ._errors import ControlPlaneUnavailable, LabError
from ._folders import claim_folder, release_folder
from ._process import ChildProcess

__all__ = ["ControlPlane"]

_PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
_CONTROLLERS = (
    "clusterrole-aggregation-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "serviceaccount-controller",
)
_ADDRESSES = "198.19.0.0/16"
_AUDIT = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}],
}


class ControlPlane:
    """One control plane with RBAC and the usual admission, whose API server keeps its port over restarts.

    Of the controllers only those run that remove what has lost its owner or its namespace, make the ServiceAccounts of
    new namespaces, and add up roles. Nothing runs pods: their status, and that of DaemonSets, is what a test writes.

    Args:
        programs: the folder with etcd, kube-apiserver, kube-controller-manager and kubectl.
        services: addresses of Services.

    Raises:
        ControlPlaneUnavailable: a program is missing.
    """

    def __init__(self, programs: Path, *, services: str = _ADDRESSES) -> None:
        missing = [name for name in _PROGRAMS if not (programs / name).is_file()]
        if shutil.which("openssl") is None:
            missing.append("openssl")
        if missing:
            raise ControlPlaneUnavailable(f"there is no {', no '.join(missing)}")
        self.programs = programs
        self._services = services
        self._allotment: Allotment = allot("127.0.0.1")
        self.folder, self._lock = claim_folder("eventfed-kubernetes")
        self.port = self._allotment.ports[0]
        self.token = secrets.token_hex(16)
        """Of a user who may do everything."""
        self.starts: list[tuple[float, float]] = []
        """From when to when, in seconds since 1970, the API server was starting: it does not know all roles then."""
        self._etcd: ChildProcess | None = None
        self._api: ChildProcess | None = None
        self._controllers: ChildProcess | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def authorities(self) -> Path:
        """PEM file of who signed the API server's certificate."""
        return self.folder / "certs" / "apiserver.crt"

    @property
    def kubeconfig(self) -> Path:
        """For a user who may do everything."""
        return self.folder / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        """What service accounts asked for, a JSON document a line (level Metadata)."""
        return self.folder / "audit.log"

    def write_kubeconfig(self, path: Path, token: str, *, server: str | None = None) -> Path:
        """Credentials as a file; `server` in place of the API server's own address."""
        cluster = {"server": server or self.url, "certificate-authority": str(self.authorities)}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": cluster}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "user"}}],
            "current-context": "lab",
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(document))
        return path

    def start(self, within: float = 60.0) -> None:
        """Start etcd and the API server; controllers follow by `start_controllers`.

        Raises:
            LabError: they were not ready after `within` seconds; with the end of their logs.
        """
        folder, peers, clients = self.folder, self._allotment.ports[2], self._allotment.ports[1]
        (folder / "tokens").write_text(f"{self.token},admin,1,system:masters\n")
        (folder / "audit.json").write_text(json.dumps(_AUDIT))
        key = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(folder / "sa.key")]
        subprocess.run(key, check=True, capture_output=True)
        self.write_kubeconfig(self.kubeconfig, self.token)
        etcd = f"http://127.0.0.1:{clients}"
        self._etcd = self._run(
            "etcd",
            *(f"--data-dir={folder / 'etcd'}", "--unsafe-no-fsync", "--log-level=warn"),
            *(f"--listen-client-urls={etcd}", f"--advertise-client-urls={etcd}"),
            f"--listen-peer-urls=http://127.0.0.1:{peers}",
        )
        self.start_api_server(within)

    def start_api_server(self, within: float = 60.0) -> None:
        """Start the API server, and return when it is ready.

        Raises:
            LabError: it was not after `within` seconds; with the end of its log.
        """
        folder, began = self.folder, time.time()
        self._api = self._run(
            "kube-apiserver",
            *(f"--etcd-servers=http://127.0.0.1:{self._allotment.ports[1]}", f"--cert-dir={folder / 'certs'}"),
            *("--bind-address=127.0.0.1", f"--secure-port={self.port}", "--shutdown-delay-duration=0s"),
            *(f"--token-auth-file={folder / 'tokens'}", "--authorization-mode=RBAC"),
            # Who may own what, and block an owner's deletion, is guarded on some clusters only; our rights have to do.
            "--enable-admission-plugins=OwnerReferencesPermissionEnforcement",
            *("--service-account-issuer=https://lab.test", f"--service-account-key-file={folder / 'sa.key'}"),
            f"--service-account-signing-key-file={folder / 'sa.key'}",
            f"--service-cluster-ip-range={self._services}",
            *(f"--audit-policy-file={folder / 'audit.json'}", f"--audit-log-path={self.audit_log}"),
        )
        deadline = time.monotonic() + within
        while not self._ready():
            if not (self._running(self._api) and self._running(self._etcd)) or time.monotonic() > deadline:
                told = "\n".join((folder / f"{name}.log").read_text()[-2000:] for name in ("etcd", "kube-apiserver"))
                raise LabError(f"the API server did not start:\n{told}")
            time.sleep(0.05)
        self.starts.append((began, time.time()))

    def kill_api_server(self) -> None:
        """SIGKILL; etcd keeps what it has."""
        if self._api is not None:
            self._api.kill()

    def start_controllers(self) -> None:
        """Start them. Definitions of further resources that come later are noticed only half a minute afterwards."""
        self._controllers = self._run(
            "kube-controller-manager",
            *(f"--kubeconfig={self.kubeconfig}", "--leader-elect=false", f"--controllers={','.join(_CONTROLLERS)}"),
            *("--bind-address=127.0.0.1", f"--secure-port={self._allotment.ports[3]}"),
            f"--service-account-private-key-file={self.folder / 'sa.key'}",
            *("--kube-api-qps=300", "--kube-api-burst=600"),
        )

    def kubectl(
        self, *arguments: str, text: str = "", check: bool = True, within: float = 60.0
    ) -> "subprocess.CompletedProcess[str]":
        """`kubectl` of a user who may do everything; `text` is its standard input.

        Raises:
            LabError: it failed, and `check` is set; with what it told.
        """
        done = subprocess.run(
            [self.programs / "kubectl", "--kubeconfig", self.kubeconfig, *arguments],
            input=text,
            capture_output=True,
            text=True,
            check=False,
            timeout=within,
            env=self.environment,
        )
        if check and done.returncode:
            raise LabError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done

    @property
    def environment(self) -> dict[str, str]:
        """For programs that keep a cache: it stands in the folder."""
        return {"PATH": os.environ.get("PATH", ""), "HOME": str(self.folder), "KUBECONFIG": str(self.kubeconfig)}

    def close(self) -> None:
        """End all and remove what they wrote."""
        for process in (self._controllers, self._api, self._etcd):
            if process is not None:
                process.kill()
        release_folder(self.folder, self._lock)
        self._allotment.release()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, program: str, *arguments: str) -> ChildProcess:
        return ChildProcess(
            [str(self.programs / program), *arguments],
            output=self.folder / f"{program}.log",
            environment=self.environment,
        )

    @staticmethod
    def _running(process: ChildProcess | None) -> bool:
        return process is not None and process.running

    def _ready(self) -> bool:
        if not self.authorities.is_file():
            return False
        try:
            context = ssl.create_default_context(cafile=self.authorities)
            request = urllib.request.Request(f"{self.url}/readyz", headers={"Authorization": f"Bearer {self.token}"})
            with urllib.request.urlopen(request, timeout=2, context=context) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False
