"""What the operator keeps from one look at an EventFederation to the next."""

from eventfed_operator.installation import OwnChanges


def test_each_look_in_succession_that_changed_something_makes_the_next_one_later_up_to_a_limit() -> None:
    changes = OwnChanges()
    pauses = []
    for _ in range(10):
        changes.looked(changed=True)
        pauses.append(changes.pause)
    assert pauses == [0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 51.2, 51.2]
    changes.looked(changed=False)
    assert changes.pause == 0
    changes.looked(changed=True)
    assert changes.pause == 0.4
