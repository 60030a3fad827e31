"""What the operator makes of an EventFederation, and that it writes nothing more once all is as it should be."""

from cluster_api import Api, eventually, federation
from installation import Operator

OWNED = ["ServiceAccount", "NetworkPolicy", "Secret", "Service", "DaemonSet"]


def owned(api: Api, namespace: str, name: str = "pbx"):
    names = [(kind, f"{name}-agent") for kind in OWNED] + [("Secret", f"{name}-asterisk")]
    return {one: api.find(one[0], namespace, one[1]) for one in names}


def test_everything(api: Api, operator: Operator, namespace: str, measure) -> None:
    import time

    t = time.monotonic()
    api.create(federation(namespace))
    eventually(lambda: all(owned(api, namespace).values()))
    print("made after", time.monotonic() - t)
    eventually(lambda: api.get("EventFederation", namespace, "pbx")["status"]["stream"], within=10)
    print("stream after", time.monotonic() - t)
    import json

    print(json.dumps(api.get("EventFederation", namespace, "pbx")["status"], indent=1))
    before = operator.actions()
    for i in range(10):
        time.sleep(1)
        print(operator.actions())
    print(operator.log)
    assert 0
