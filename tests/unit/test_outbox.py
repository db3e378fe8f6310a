"""The outbox: at least once, one message per target, nothing for ever, nothing twice."""

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from steadyd.delivery.outbox import GATHER, PATIENCE, Outbox
from steadyd.model.notification import Message, Occasion, Parcel, ParcelState, Receipt, Tone

HELLO = Message("box web: is down", "body", Tone.FAILURE)
FOLDED = Message("box web: was down", "body", Tone.SUCCESS)


def parcel(
    id_: str, at: float = 0.0, target: str = "t", occasion: Occasion = Occasion.OPENED
) -> Parcel:
    return Parcel(id_, target, "default", "json", f"incident-{id_[:1]}", occasion, HELLO, at, at)


def ids(outbox: Outbox, now: float) -> list[list[str]]:
    return [[p.id for p in d.parcels] for d in outbox.due(now)]


def test_the_first_goes_at_once_and_followers_go_as_one_ten_seconds_later() -> None:
    outbox = Outbox()
    outbox.post(parcel("a"))
    (first,) = outbox.due(0.0)
    outbox.settle(first, Receipt.DELIVERED, "", 0.5)
    outbox.post(parcel("b", 1.0))
    outbox.post(parcel("c", 2.0))

    assert ids(outbox, GATHER - 0.1) == []
    assert outbox.next_due(2.0) == GATHER
    assert ids(outbox, GATHER) == [["b", "c"]]


def test_one_target_that_hangs_does_not_hold_another() -> None:
    outbox = Outbox()
    outbox.post(parcel("a", target="hangs"))
    outbox.due(0.0)
    outbox.post(parcel("b", 20.0, target="hangs"))
    outbox.post(parcel("c", 20.0, target="works"))

    assert ids(outbox, 20.0) == [["c"]]
    assert outbox.next_due(20.0) is None


def test_a_failed_attempt_waits_longer_each_time_and_dies_after_a_day() -> None:
    outbox, now, waits = Outbox(), 0.0, []
    outbox.post(parcel("a"))
    while len(outbox):
        (delivery,) = outbox.due(now)
        (after,) = outbox.settle(delivery, Receipt.TRY_AGAIN, "refused", now)
        waits.append(after.due_at - now)
        now = max(after.due_at, now + GATHER)

    assert waits[:6] == [60, 120, 300, 600, 1800, 1800]
    assert after.state is ParcelState.DEAD
    assert now >= PATIENCE
    assert outbox.dead == 1


def test_what_is_refused_for_good_dies_at_once_with_the_reason() -> None:
    outbox = Outbox()
    outbox.post(parcel("a"))
    (delivery,) = outbox.due(0.0)
    (dead,) = outbox.settle(delivery, Receipt.REFUSED, "no such URL", 1.0)

    assert (dead.state, dead.last_error) == (ParcelState.DEAD, "no such URL")
    assert len(outbox) == 0


def test_a_parcel_is_known_by_its_id() -> None:
    outbox = Outbox()

    assert len(outbox.post(parcel("a"))) == 1
    assert outbox.post(parcel("a")) == []


def test_down_and_up_that_both_wait_become_one() -> None:
    outbox = Outbox()
    outbox.post(parcel("a1"))
    changed = outbox.post(parcel("a2", 5.0, occasion=Occasion.CLOSED), FOLDED)

    assert [(p.id, p.state) for p in changed] == [
        ("a1", ParcelState.FOLDED),
        ("a2", ParcelState.NEW),
    ]
    (delivery,) = outbox.due(5.0)
    assert [p.message for p in delivery.parcels] == [FOLDED]


def test_an_opening_on_its_way_is_not_folded() -> None:
    outbox = Outbox()
    outbox.post(parcel("a1"))
    outbox.due(0.0)

    assert len(outbox.post(parcel("a2", 5.0, occasion=Occasion.CLOSED), FOLDED)) == 1


def test_what_was_being_sent_at_a_crash_is_sent_again() -> None:
    sending = replace(parcel("a"), state=ParcelState.SENDING)

    assert ids(Outbox([sending]), 1.0) == [["a"]]


def test_a_burst_for_one_target_goes_in_few_messages_without_waiting_between_full_ones() -> None:
    outbox = Outbox()
    for number in range(1000):
        outbox.post(parcel(f"{number:04}"))
    messages, now = 0, 0.0
    while len(outbox):
        for delivery in outbox.due(now):
            messages += 1
            outbox.settle(delivery, Receipt.DELIVERED, "", now)

    assert messages == 4


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["post", "deliver", "fail", "crash", "wait"]), max_size=60))
def test_nothing_is_lost_or_settled_twice_whatever_happens(events: list[str]) -> None:
    outbox, stored, now, posted = Outbox(), dict[str, Parcel](), 0.0, 0
    for event in events:
        now += 100.0 if event == "wait" else 1.0
        if event == "post":
            posted += 1
            changed = outbox.post(parcel(f"p{posted}", now, target=f"t{posted % 3}"))
        elif event == "crash":
            outbox = Outbox([p for p in stored.values() if p.state is not ParcelState.DELIVERED])
            continue
        else:
            receipt = Receipt.TRY_AGAIN if event == "fail" else Receipt.DELIVERED
            changed = []
            for delivery in outbox.due(now):
                for p in outbox.settle(delivery, receipt, "", now):
                    assert p.id not in stored or stored[p.id].state is not ParcelState.DELIVERED
                    changed.append(p)
        stored.update((p.id, p) for p in changed)
    while len(outbox):
        now += 3600
        for delivery in outbox.due(now):
            stored.update((p.id, p) for p in outbox.settle(delivery, Receipt.DELIVERED, "", now))

    assert len(stored) == posted
    assert all(p.state is ParcelState.DELIVERED for p in stored.values())


def test_a_time_of_a_clock_that_was_ahead_holds_nothing_back() -> None:
    outbox = Outbox([parcel("a", at=7 * 3600.0)])

    assert outbox.next_due(3600.0) == 3600.0
    assert ids(outbox, 3600.0) == [["a"]]
