"""Leases on the wire."""

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventfed import EID, Lease, MalformedEnvelope, UnsupportedEnvelope, decode_lease, encode_lease

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
leases = st.builds(
    Lease,
    st.binary(min_size=6, max_size=6).map(EID),
    uid=texts,
    name=texts,
    agent=texts,
    instance=texts,
    epoch=st.integers(1, 2**63 - 1),
    address=texts,
    complete=st.booleans(),
    stream=texts,
    since=st.floats(0, 2**39),
)
LEASE = Lease(EID.derive("a"), uid="u", name="n", agent="x", instance="i", epoch=1)


@given(leases)
def test_a_lease_comes_back_unchanged(lease: Lease) -> None:
    assert decode_lease(encode_lease(lease)) == lease


@pytest.mark.parser
@given(st.binary(max_size=300))
def test_noise_is_only_ever_malformed(noise: bytes) -> None:
    with pytest.raises(MalformedEnvelope):
        decode_lease(noise)


@pytest.mark.parser
@given(
    st.dictionaries(
        st.sampled_from(["eid", "epoch", "since", "complete", "uid", "agent", "stream", "unknown"]),
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | texts | st.binary(max_size=8),
    )
)
def test_wrong_fields_are_a_lease_or_malformed(fields: dict[str, object]) -> None:
    body = msgpack.unpackb(encode_lease(LEASE)) | fields
    try:
        decode_lease(msgpack.packb(body))
    except MalformedEnvelope:
        return
    assert isinstance(body["epoch"], int)
    assert len(body["eid"]) == 6


def test_a_later_version_says_so() -> None:
    with pytest.raises(UnsupportedEnvelope, match="upgrade"):
        decode_lease(msgpack.packb(msgpack.unpackb(encode_lease(LEASE)) | {"v": 2}))


def test_a_long_text_is_refused() -> None:
    with pytest.raises(MalformedEnvelope, match="1024"):
        decode_lease(msgpack.packb(msgpack.unpackb(encode_lease(LEASE)) | {"name": "x" * 1025}))
