"""One of many claimers has a lease, until it ends, is given back or is finished."""

import itertools
from collections import Counter

import pytest

from search.store import Lease, StudyStore
from tests.store.harness import (
    THREADS,
    Processes,
    claimed,
    expired,
    in_threads,
    wait_for_the_others,
)


def test_the_first_claim_gets_the_lease_and_the_second_does_not(store: StudyStore) -> None:
    lease = store.leases.claim("a/1", owner="me")
    assert lease == Lease(key="a/1", owner="me", fence=1, attempts=1)
    assert store.leases.claim("a/1", owner="you") is None
    assert store.leases.claim("a/1", owner="me") is None
    assert store.leases.claim("a/2", owner="you") is not None


def test_held_leases_are_listed_below_their_prefix_only(store: StudyStore) -> None:
    for key in ("a_1/trial/1", "a_1/trial/2", "a_1/fold/1", "ab1/trial/3"):
        claimed(store, key)
    expired(store, "a_1/trial/9")
    store.leases.release(claimed(store, "a_1/trial/8"))
    store.leases.finish(claimed(store, "a_1/trial/7"))
    assert store.leases.held("a_1/trial/") == {"a_1/trial/1", "a_1/trial/2"}
    assert store.leases.held("nobody/") == set()


@pytest.mark.parametrize("seconds", [0.0, -5.0])
def test_an_expired_lease_goes_to_the_next_with_a_larger_fence(
    store: StudyStore, seconds: float
) -> None:
    first = store.leases.claim("a/1", owner="slow", seconds=seconds)
    second = store.leases.claim("a/1", owner="next")
    assert first is not None and second is not None
    assert (second.owner, second.fence, second.attempts) == ("next", first.fence + 1, 2)


def test_who_lost_a_lease_changes_nothing(store: StudyStore) -> None:
    old = expired(store)
    new = claimed(store, owner="next")
    assert not store.leases.renew(old)
    store.leases.release(old)
    store.leases.finish(old)
    assert store.leases.held("a/") == {"a/1"}
    assert store.leases.claim("a/1", owner="third") is None
    assert store.leases.renew(new)


def test_an_expired_lease_that_nobody_claimed_is_renewed(store: StudyStore) -> None:
    slow = expired(store)
    assert store.leases.held("a/") == set()
    assert store.leases.renew(slow)
    assert store.leases.held("a/") == {"a/1"}
    assert store.leases.claim("a/1", owner="next") is None


def test_renewing_sets_a_new_end(store: StudyStore) -> None:
    lease = claimed(store)
    hasty = StudyStore(store.url, lease_seconds=-1.0)
    assert hasty.leases.renew(lease)
    hasty.close()
    assert claimed(store, owner="next").fence == 2


def test_a_released_lease_is_free_and_its_attempts_are_counted(store: StudyStore) -> None:
    for attempt in range(1, 5):
        lease = claimed(store, owner=f"worker {attempt}")
        assert (lease.fence, lease.attempts) == (attempt, attempt)
        store.leases.release(lease)
        store.leases.release(lease)


def test_progress_forgets_the_attempts_before(store: StudyStore) -> None:
    for attempt in (1, 2, 3):
        lease = claimed(store)
        assert lease.attempts == attempt
        assert store.leases.renew(lease)
        store.leases.release(lease)
    assert store.leases.renew(lease, progressed=True)
    store.leases.release(lease)
    assert claimed(store).attempts == 2


def test_work_that_was_stopped_in_good_order_counts_as_no_attempt(store: StudyStore) -> None:
    for fence in (1, 2, 3):
        lease = claimed(store)
        assert (lease.fence, lease.attempts) == (fence, 1)
        store.leases.release(lease, refund=True)


def test_who_lost_a_lease_does_not_touch_the_attempts(store: StudyStore) -> None:
    old = expired(store)
    new = claimed(store, owner="next")
    store.leases.release(old, refund=True)
    assert not store.leases.renew(old, progressed=True)
    store.leases.release(new)
    assert claimed(store).attempts == 3


def test_a_finished_lease_is_free_and_its_attempts_are_forgotten(store: StudyStore) -> None:
    expired(store)
    lease = claimed(store, owner="next")
    store.leases.finish(lease)
    assert store.leases.held("a/") == set()
    assert not store.leases.renew(lease)
    assert claimed(store).attempts == 1


def test_a_fence_grows_even_after_the_work_was_finished(store: StudyStore) -> None:
    """Or a worker that slept would take the newcomer's lease for its own."""
    asleep = expired(store)
    store.leases.finish(claimed(store, owner="next"))
    newcomer = claimed(store, owner="newcomer")
    assert newcomer.fence > asleep.fence
    assert not store.leases.renew(asleep)


KEYS = 100


def claim_all(store: StudyStore, first: int) -> list[str]:
    """Claim as many of the keys as can be had, from a place of one's own."""
    keys = [f"k/{(first + number) % KEYS}" for number in range(KEYS)]
    return [key for key in keys if store.leases.claim(key, owner=str(first)) is not None]


def claim_all_in_process(url: str) -> list[str]:
    store = StudyStore(url)
    wait_for_the_others()
    got = claim_all(store, 0)
    store.close()
    return got


def test_threads_claim_each_key_exactly_once(store: StudyStore) -> None:
    got = in_threads(lambda number: claim_all(store, number * KEYS // THREADS))
    assert Counter(itertools.chain(*got)) == {f"k/{number}": 1 for number in range(KEYS)}


def test_processes_claim_each_key_exactly_once(processes: Processes, store: StudyStore) -> None:
    got = processes.run(claim_all_in_process, store.url)
    assert Counter(itertools.chain(*got)) == {f"k/{number}": 1 for number in range(KEYS)}


def test_an_expired_lease_is_taken_over_by_one(store: StudyStore) -> None:
    expired(store)
    got = in_threads(lambda number: store.leases.claim("a/1", owner=str(number)))
    assert [lease.fence for lease in got if lease is not None] == [2]
