"""The API server as a test asks it: plain documents, one connection, no retries."""

import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

__all__ = ["Api", "Refused", "eventually", "federation", "pod"]

Document = dict[str, Any]

_PATHS = {
    "Namespace": ("/api/v1", "namespaces"),
    "Pod": ("/api/v1", "pods"),
    "Secret": ("/api/v1", "secrets"),
    "Service": ("/api/v1", "services"),
    "ServiceAccount": ("/api/v1", "serviceaccounts"),
    "Event": ("/api/v1", "events"),
    "ConfigMap": ("/api/v1", "configmaps"),
    "DaemonSet": ("/apis/apps/v1", "daemonsets"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
    "EventFederation": ("/apis/eventfed.io/v1alpha1", "eventfederations"),
    "CustomResourceDefinition": ("/apis/apiextensions.k8s.io/v1", "customresourcedefinitions"),
}
_CLUSTER = frozenset({"Namespace", "CustomResourceDefinition"})
_APPLY, _MERGE = "application/apply-patch+yaml", "application/merge-patch+json"


class Refused(Exception):
    """The API server answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status, self.message = status, message


class Api:
    """One user's way to the API server.

    Args:
        impersonate: act as this user instead, by the user of the token.
    """

    def __init__(self, url: str, authorities: Path, token: str, *, impersonate: str = "") -> None:
        self._host = urlsplit(url).netloc
        self._context = ssl.create_default_context(cafile=authorities)
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        if impersonate:
            self._headers["Impersonate-User"] = impersonate
        self._connection: http.client.HTTPSConnection | None = None

    def ask(self, method: str, path: str, body: Any = None, content: str = "application/json") -> Document:
        """The answer.

        Raises:
            Refused: for an error.
            OSError: the API server is away.
        """
        text = None if body is None else json.dumps(body)
        for fresh in (self._connection is None, True):
            if fresh:
                self.close()
                self._connection = http.client.HTTPSConnection(self._host, context=self._context, timeout=20)
            assert self._connection is not None
            try:
                self._connection.request(method, path, text, {**self._headers, "Content-Type": content})
                response = self._connection.getresponse()
                told = response.read().decode()
                break
            except (http.client.HTTPException, OSError):
                self.close()
                if fresh:
                    raise
        if response.status >= 400:
            # A path that is not served yet is answered in plain text.
            message = json.loads(told)["message"] if told.startswith("{") else told
            raise Refused(response.status, message)
        answer: Document = json.loads(told)
        return answer

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def find(self, kind: str, namespace: str, name: str) -> Document | None:
        try:
            return self.ask("GET", _path(kind, namespace, name))
        except Refused as error:
            if error.status == 404:
                return None
            raise

    def get(self, kind: str, namespace: str, name: str) -> Document:
        return self.ask("GET", _path(kind, namespace, name))

    def list(self, kind: str, namespace: str = "", selector: str = "") -> list[Document]:
        query = f"?{urlencode({'labelSelector': selector})}" if selector else ""
        items: list[Document] = self.ask("GET", _path(kind, namespace) + query)["items"]
        return items

    def create(self, manifest: Document) -> Document:
        return self.ask("POST", _path(manifest["kind"], manifest["metadata"].get("namespace", "")), manifest)

    def apply(self, manifest: Document, *, manager: str = "person") -> Document:
        path = _path(manifest["kind"], manifest["metadata"].get("namespace", ""), manifest["metadata"]["name"])
        return self.ask("PATCH", f"{path}?fieldManager={manager}&force=true", manifest, _APPLY)

    def merge(self, kind: str, namespace: str, name: str, patch: Document, subresource: str = "") -> Document:
        return self.ask("PATCH", _path(kind, namespace, name, subresource), patch, _MERGE)

    def delete(self, kind: str, namespace: str, name: str) -> None:
        try:
            self.ask("DELETE", _path(kind, namespace, name))
        except Refused as error:
            if error.status != 404:
                raise

    def token(self, namespace: str, account: str) -> str:
        """A token of a ServiceAccount."""
        request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
        path = _path("ServiceAccount", namespace, account, "token")
        told: str = self.ask("POST", path, request)["status"]["token"]
        return told


def _path(kind: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
    root, plural = _PATHS[kind]
    scope = f"namespaces/{namespace}" if namespace and kind not in _CLUSTER else ""
    return "/".join(part for part in (root, scope, plural, name, subresource) if part)


def eventually(look: Callable[[], Any], *, within: float = 15.0, pause: float = 0.05) -> Any:
    """What `look` gives once that is true (or is not None and no error); fails with the last it gave."""
    deadline = time.monotonic() + within
    while True:
        seen: Any
        try:
            seen = look()
        except (Refused, OSError, KeyError) as error:
            seen = None
            last: Any = error
        else:
            last = seen
        if seen:
            return seen
        assert time.monotonic() < deadline, f"not within {within:g} s: {last!r}"
        time.sleep(pause)


def federation(namespace: str, name: str = "pbx", **spec: Any) -> Document:
    """An EventFederation of device states; what `spec` has with the value None is left out."""
    whole: Mapping[str, Any] = {
        "members": {"selector": {"matchLabels": {"app": "asterisk"}}},
        "events": [{"type": "device_state"}],
        **spec,
    }
    return {
        "apiVersion": "eventfed.io/v1alpha1",
        "kind": "EventFederation",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {key: value for key, value in whole.items() if value is not None},
    }


def pod(
    namespace: str, name: str, *, node: str = "node-0", labels: Mapping[str, str] | None = None, port: int = 5060
) -> Document:
    """A pod that is bound to a node; nothing runs it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels or {"app": "asterisk"})},
        "spec": {
            "nodeName": node,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {"name": "main", "image": "none", "ports": [{"containerPort": port, "protocol": "UDP"}]},
            ],
        },
    }
