"""Whether an object is as it should be, whatever the API server added."""

import copy
from typing import Any

import pytest

from eventfed_operator.drift import is_foreign, matches, stamped

WANTED: dict[str, Any] = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {
        "containers": [
            {
                "name": "agent",
                "args": ["agent", "--config"],
                "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}},
            }
        ],
        "ports": [{"port": 5066, "protocol": "UDP"}],
    },
}


def test_what_others_added_is_let_be() -> None:
    present = copy.deepcopy(WANTED)
    present["metadata"]["labels"]["c"] = "d"
    present["status"] = {}
    present["spec"]["containers"].insert(0, {"name": "sidecar"})
    present["spec"]["containers"][1]["terminationMessagePath"] = "/dev/termination-log"
    present["spec"]["ports"][0]["targetPort"] = 5066
    assert matches(present, WANTED)


def test_amounts_are_compared_by_value() -> None:
    present = copy.deepcopy(WANTED)
    present["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1", "memory": "1Gi"}}
    assert matches(present, WANTED)
    present["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "2", "memory": "1Gi"}}
    assert not matches(present, WANTED)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("100m", "0.1", True),
        ("1e3", "1k", True),
        ("1Ki", "1024", True),
        ("1k", "1Ki", False),
        ("1n", "0.000000001", True),
        ("what", "what", True),
        ("i", "1", False),
        ("", "0", False),
    ],
)
def test_amounts_are_written_in_many_ways(one: str, other: str, same: bool) -> None:
    assert matches({"limits": {"x": one}}, {"limits": {"x": other}}) is same
    volume, wanted = ({"emptyDir": {"sizeLimit": amount}} for amount in (one, other))
    assert matches(volume, wanted) is same


def test_only_amounts_are_compared_by_value() -> None:
    assert not matches({"args": ["1000m"]}, {"args": ["1"]})


@pytest.mark.parametrize(
    "edit",
    [
        lambda one: one["metadata"]["labels"].clear(),
        lambda one: one["metadata"].update(labels=None),
        lambda one: one["spec"]["containers"].clear(),
        lambda one: one["spec"]["containers"][0].update(args=["agent"]),
        lambda one: one["spec"]["containers"][0].update(args="agent --config"),
        lambda one: one["spec"]["ports"].append({"port": 1}),
        lambda one: one["spec"]["ports"][0].update(protocol="TCP"),
    ],
)
def test_what_somebody_changed_is_noticed(edit: Any) -> None:
    present = copy.deepcopy(WANTED)
    edit(present)
    assert not matches(present, WANTED)


def test_what_is_asked_for_no_longer_is_noticed_too() -> None:
    before = stamped({"metadata": {}, "spec": {"nodeSelector": {"a": "b"}, "x": 1}})
    assert matches(before, stamped({"metadata": {}, "spec": {"nodeSelector": {"a": "b"}, "x": 1}}))
    assert not matches(before, stamped({"metadata": {}, "spec": {"x": 1}}))


def owner(uid: str) -> dict[str, Any]:
    return {"ownerReferences": [{"uid": uid, "controller": True}]}


@pytest.mark.parametrize(
    ("metadata", "foreign"),
    [
        (owner("uid-pbx"), False),
        (owner("uid-of-a-deleted-one"), True),
        ({"labels": {"eventfed.io/federation": "pbx"}}, False),
        ({"labels": {"eventfed.io/federation": "other"}}, True),
        ({}, True),
        ({"labels": None, "ownerReferences": None}, True),
        ({**owner("uid-other"), "labels": {"eventfed.io/federation": "pbx"}}, True),
    ],
)
def test_an_object_of_somebody_else_is_known(operator_world: Any, metadata: dict[str, Any], foreign: bool) -> None:
    assert is_foreign({"metadata": metadata}, operator_world().resource) is foreign
