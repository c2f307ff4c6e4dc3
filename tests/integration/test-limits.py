# SPDX-License-Identifier: LGPL-2.1-or-later
"""Each limit on what a user can have is reached by alice, while bob, who is honest, and root go on as before."""

import contextlib
import time

from guestlocktest import (
    NAME, GLib, Signals, as_uid, configure, create_guest, disk, equal, fails, has_owner, image, is_locked, main,
    manager, note, start_guest, temp_dir, test, wait_until)
from polkittest import hanging_polkit, polkit_agent, polkit_rules
from storagetest import SlowFs, mount

EVERYBODY = '''polkit.addRule(function(action, subject) {
    if (action.id == "org.guestlock1.acquire" && subject.user == "bob") return polkit.Result.YES;
});'''
# Of storage that hangs, in seconds: what works answers sooner also where many others want the processor.
STORAGE_TIMEOUT = 5


def limits(**keys):
    configure('[limits]\n' + ''.join(f'{key}={value}\n' for key, value in keys.items()))
    polkit_rules(EVERYBODY)


def too_many(*words):
    return fails('LimitExceeded', contains=words)


def others_are_served(root=True):
    """Bob leads a guest through its life, and root as well."""
    for user in ('bob', 'root') if root else ('bob',):
        begin = time.monotonic()
        guest = start_guest([disk(image(temp_dir(), user=user))], name='honest', peer=as_uid(user),
                            options={'keep': True})
        guest.Release({})
        guest.Acquire({})
        guest.Shutdown({})
        guest.Free({})
        took = time.monotonic() - begin
        # Whoever has to wait for what hangs waits for longer, or is refused. The rest is room for a loaded machine.
        assert took < 20, f'it took {user} {took:.2f} s'


def disks(n, user='alice'):
    directory = temp_dir()
    return [image(directory, f'disk{number}', user) for number in range(n)]


# --- guests ---

@test
def guests_of_a_user():
    limits(MaxGuestsPerUid=3)
    alice = as_uid('alice')
    guests = [create_guest(peer=alice) for _ in range(3)]
    for peer in (alice, as_uid('alice')):
        with too_many('User', '3 guests'):
            create_guest(peer=peer)
        with too_many('3 guests'):
            start_guest([disk(path) for path in disks(1)], peer=peer)
    # Nor for another, by one who may do that for him.
    with too_many('3 guests'):
        create_guest(peer=as_uid('carol'), options={'owner-uid': guests[0].OwnerUid})
    others_are_served()
    for _ in range(4):
        create_guest()
    guests[0].Free({})
    create_guest(peer=alice)


@test
def guests_in_all():
    limits(MaxGuestsPerUid=2, MaxGuests=4)
    alice = as_uid('alice')
    for _ in range(2):
        create_guest(peer=alice)
    with too_many('2 guests'):
        create_guest(peer=alice)
    others_are_served()
    for _ in range(2):
        create_guest()
    # This one is for root, too.
    for user in ('root', 'bob'):
        with too_many('MaxGuests'):
            create_guest(peer=as_uid(user))
    equal(manager().NGuests, 4)


@test
def resources_of_a_guest():
    limits(MaxResourcesPerGuest=3)
    alice, paths = as_uid('alice'), disks(4)
    guest = start_guest([disk(path) for path in paths[:3]], peer=alice)
    with too_many('3 resources'):
        guest.AcquireResource(*disk(paths[3]))
    with too_many('3 resources'):
        start_guest([disk(path) for path in disks(4)], peer=alice)
    other = create_guest(peer=alice)
    for number in range(3):
        other.RegisterResource('lease', f'key{number}', 'exclusive',
                               {'path': str(paths[3]), 'offset': GLib.Variant('t', 1 + number)})
    with too_many('3 resources'):
        other.RegisterResource(*disk(paths[3]))
    others_are_served()
    guest.ReleaseResource('disk', str(paths[0]), {})
    guest.AcquireResource(*disk(paths[3]))
    # Root's guests have no more.
    with too_many('3 resources'):
        start_guest([disk(path) for path in disks(4)])


@test
def guests_without_a_process():
    limits(MaxUnboundGuestsPerUid=2)
    alice, paths = as_uid('alice'), disks(3)
    guests = [start_guest([disk(path)], peer=alice) for path in paths[:2]]
    with too_many('2 guests without a process'):
        start_guest([disk(paths[2])], peer=alice)
    assert not is_locked(paths[2])
    others_are_served()
    for path in disks(3, 'root'):
        start_guest([disk(path)])
    guests[0].Shutdown({})
    start_guest([disk(paths[2])], peer=alice)


@test
def bytes_of_names():
    limits(MaxStringBytes=20, MaxPathBytes=100, MaxBytesPerGuest=4096, MaxBytesPerUid=4999, MaxResourcesPerGuest=300)
    alice, path = as_uid('alice'), disks(1)[0]
    for text in ('x' * 21, 'ü' * 11):
        with fails('InvalidArgs', contains='20 bytes'):
            create_guest(text, peer=alice)
    guest = create_guest('x' * 20, peer=alice)
    with fails('InvalidArgs', contains='20 bytes'):
        guest.SetParameter('name', 'x' * 21)
    with fails('InvalidArgs', contains='100 bytes'):
        guest.RegisterResource(*disk(f'{path.parent}/{"x" * 100}'))
    with fails('InvalidArgs', contains='20 bytes'):
        guest.RegisterResource('lease', 'k' * 21, 'exclusive', {'path': str(path), 'offset': GLib.Variant('t', 1)})

    def fill(target, first, n):
        """Leases with keys of 20 bytes each."""
        for number in range(first, first + n):
            target.RegisterResource('lease', f'{number:020}', 'exclusive',
                                    {'path': str(path), 'offset': GLib.Variant('t', 1000 + number)})
    fill(guest, 0, 203)
    with too_many('4096 bytes'):
        fill(guest, 203, 1)
    with too_many('4096 bytes'):
        start_guest([disk(f'/srv/{number:090}') for number in range(60)], peer=alice)
    # All of hers together.
    second = create_guest('x' * 20, peer=alice)
    fill(second, 300, 44)
    with too_many('4999 bytes'):
        fill(second, 344, 1)
    with too_many('4999 bytes'):
        create_guest('x' * 20, peer=alice)
    others_are_served()
    second.Free({})
    create_guest('x' * 20, peer=alice)


# --- calls ---

@test
def acquires_that_wait():
    limits(MaxWaitingPerUid=2)
    alice, path = as_uid('alice'), disks(1)[0]
    path.chmod(0o666)
    holder = start_guest([disk(path)])
    pending = [alice.manager().later.StartGuest(f'4dea22b3-1d52-d8f3-2516-78200000000{number}', 'web', [disk(path)],
                                                {'wait-ms': 600000}) for number in range(2)]
    alice.wait_until_taken_up()
    late = create_guest(peer=as_uid('alice'))
    late.RegisterResource(*disk(path))
    with too_many('2 acquires waiting'):
        late.Acquire({'wait-ms': 600000})
    # Whoever does not wait is told at once, as always; bob's place is behind hers, and he gets it when she goes.
    with fails('Conflict'):
        late.Acquire({})
    others_are_served()
    bobs = create_guest(peer=as_uid('bob'))
    bobs.RegisterResource(*disk(path))
    acquire = bobs.later.Acquire({'wait-ms': 600000})
    assert not any(call.done for call in pending) and not acquire.done
    alice.close()
    wait_until(lambda: not has_owner(alice.name), 'the bus to see that she has left')
    holder.Shutdown({})
    equal(acquire.result(), bobs.Generation)


@test
def dialogs():
    limits(MaxDialogsPerUid=2)
    polkit_rules('''polkit.addRule(function(action, subject) {
        if (action.id == "org.guestlock1.acquire")
            return subject.user == "alice" ? polkit.Result.AUTH_ADMIN : polkit.Result.YES;
    });''')
    agent, alice = polkit_agent('never'), as_uid('alice')
    alice.interactive = True
    pending = [alice.manager().later.CreateGuest(f'4dea22b3-1d52-d8f3-2516-78200000000{number}', 'web', {})
               for number in range(2)]
    for _ in pending:
        assert agent.stdout.readline().startswith('begin ')
    for peer in (alice, as_uid('alice')):
        peer.interactive = True
        with too_many('2 times'):
            create_guest(peer=peer)
    others_are_served()
    assert not any(call.done for call in pending)


@test
def calls_under_way():
    limits(MaxCallsPerUid=4, StorageTimeoutSec=300)
    storage = SlowFs()
    path = storage.point / image(storage.below, user='alice').name
    alice = as_uid('alice')
    guests = [create_guest(peer=alice) for _ in range(5)]
    storage.be('hang')
    pending = [guest.later.RegisterResource(*disk(path)) for guest in guests[:4]]
    wait_until(lambda: _refused(guests[4]), 'her calls to be under way')
    for peer in (alice, as_uid('alice')):
        with too_many('4 calls'):
            create_guest(peer=peer)
        # To look is nobody's business to forbid.
        equal(peer.guest(guests[0].path).State, 'new')
    others_are_served()
    storage.be('ok')
    for call in pending:
        call.result()
    create_guest(peer=alice)
    # What has left does not count.
    storage.be('hang')
    gone = as_uid('alice')
    for guest in guests[:4]:
        gone.guest(guest.path).later.RegisterResource(*disk(storage.point / 'another'))
    wait_until(lambda: _refused(guests[4]), 'her calls to be under way')
    gone.close()
    wait_until(lambda: not _refused(guests[4]), 'her calls to be forgotten')


def _refused(guest):
    try:
        guest.Inquire({})
    except Exception as error:
        assert error.name == f'{NAME}.Error.LimitExceeded', error
        return True
    return False


@test
def questions_to_polkit():
    """More than the bus lets the service have under way, of one user; another is served in between."""
    limits(MaxCallsPerUid=1000, MaxGuestsPerUid=1000)
    others_are_served()
    bob = as_uid('bob')
    alone = _time_of(lambda: [create_guest(peer=bob) for _ in range(5)]) / 5
    peers, pending = [as_uid('alice') for _ in range(5)], []
    # All of hers have come when his do, and what is counted is in which order they are granted: no time is.
    with hanging_polkit():
        signals = Signals()
        for number in range(500):
            pending.append(_create_later(peers[number % 5], number))
        for peer in peers:
            peer.wait_until_taken_up()
        his = [_create_later(bob, number) for number in range(5)]
        bob.wait_until_taken_up()
        equal(signals.so_far(), [])
        assert not any(call.done for call in (*pending, *his))
    in_between = _time_of(lambda: [call.result() for call in his]) / 5
    for call in pending:
        call.result(20)
    added = [arguments[0] for _, member, arguments in signals.until_now() if member == 'InterfacesAdded']
    equal(len(added), 505)
    places = sorted(added.index(call.result()) for call in his)
    # In polkit's own queue, which knows no users, as many as are under way would be before him each time.
    before_him = [place - before - 1 for before, place in zip([-1] + places, places)]
    note(f'bob: {alone * 1000:.1f} ms alone, {in_between * 1000:.1f} ms; hers before each of his: {before_him}')
    assert max(before_him) < 24, before_him


def _create_later(peer, number):
    return peer.manager().later.CreateGuest(f'4dea22b3-1d52-d8f3-2516-{number:012}', 'x', {})


def _time_of(action):
    begin = time.monotonic()
    action()
    return time.monotonic() - begin


# --- storage ---

class Mounts:
    """Many mounts, which all hang when told to."""

    def __init__(self, n, user='alice'):
        self.fs, self.paths = SlowFs(), []
        for number in range(n):
            below = self.fs.below / f'{number}'
            below.mkdir()
            image(below, user=user)
            point = temp_dir()
            mount('--bind', str(self.fs.point / f'{number}'), str(point))
            self.paths.append(point / 'disk.img')


@contextlib.contextmanager
def hanging(storage):
    storage.be('hang')
    try:
        yield
    finally:
        storage.be('ok')


@test
def operations_that_are_stuck():
    limits(MaxStuckPerUid=2, StorageTimeoutSec=STORAGE_TIMEOUT)
    storage, alice = SlowFs(), as_uid('alice')
    path = storage.point / image(storage.below, user='alice').name
    guests = [create_guest(peer=alice) for _ in range(3)]
    with hanging(storage):
        pending = [guest.later.RegisterResource(*disk(path)) for guest in guests[:2]]
        for call in pending:
            with fails('StorageUnavailable', contains='has not answered'):
                call.result()
        # On no storage at all, until the first ones have ended.
        with fails('StorageUnavailable', contains='2 operations of uid'):
            guests[2].RegisterResource(*disk(disks(1)[0]))
        others_are_served()
    wait_until(lambda: _can_register(guests[2]), 'what was stuck to end')


def _can_register(guest):
    try:
        guest.RegisterResource(*disk(disks(1)[0]))
    except Exception as error:
        assert error.name == f'{NAME}.Error.StorageUnavailable', error
        return False
    return True


@test
def threads_of_a_user():
    limits(MaxWorkerThreads=4, MaxWorkerThreadsPerUid=2, StorageTimeoutSec=STORAGE_TIMEOUT)
    mounts, alice, own = Mounts(6), as_uid('alice'), disks(1)[0]
    guests = [create_guest(peer=alice) for _ in range(7)]
    with hanging(mounts.fs):
        begin = time.monotonic()
        pending = [guest.later.RegisterResource(*disk(path)) for guest, path in zip(guests, mounts.paths)]
        last = guests[6].later.RegisterResource(*disk(own))
        others_are_served()
        # None before its time, which a slow machine may have let pass.
        assert not any(call.done for call in (*pending, last)) or time.monotonic() - begin >= STORAGE_TIMEOUT
        for call in (*pending, last):
            with fails('StorageUnavailable', contains='has not answered'):
                call.result()
        others_are_served()
    guests[6].RegisterResource(*disk(own))


@test
def many_healthy_mounts():
    """Of one user, whose guest has a disk on each."""
    limits(MaxWorkerThreads=4, MaxWorkerThreadsPerUid=1)
    mounts = Mounts(8, user='bob')
    guest = start_guest([disk(path) for path in mounts.paths], peer=as_uid('bob'))
    equal({resource['state'] for resource in guest.Resources}, {'held'})
    guest.Shutdown({})


@test
def threads_for_what_is_given_back():
    """What is done for alice's guests without her asking keeps no more threads than what she asks."""
    limits(MaxWorkerThreads=6, MaxWorkerThreadsPerUid=2, StorageTimeoutSec=STORAGE_TIMEOUT)
    mounts, alice = Mounts(8), as_uid('alice')
    guests = [start_guest([disk(path)], peer=alice, options={'keep': True}) for path in mounts.paths]
    with hanging(mounts.fs):
        pending = [guest.later.Release({}) for guest in guests]
        others_are_served()
        for call in pending:
            with fails('StorageUnavailable'):
                call.result()
        others_are_served()
    for guest in guests:
        wait_until(lambda guest=guest: _released(guest), 'the guest to be released')


def _released(guest):
    try:
        guest.Release({})
    except Exception as error:
        assert error.name == f'{NAME}.Error.StorageUnavailable', error
        return False
    return guest.State == 'released'


main()
