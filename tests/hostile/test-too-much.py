# SPDX-License-Identifier: LGPL-2.1-or-later
"""Messages that are too large, too deep, too many or never read, and connections beyond counting: whoever sends them
is thrown off by the bus or refused, and the service is there, no larger than before, for everybody else."""

import os
import struct
import time

from guestlocktest import (
    NAME, ROOT, Error, GLib, as_uid, at_end, bus, create_guest, disk, equal, fails, image, main, manager,
    note, service_pid, start_guest, start_service, temp_dir, test, wait_until)
from floodtest import (
    ECHO, UUID, Honest, Latency, flood, has_not_grown, is_served, may_lease, raw_peer, rss_kib, start_echo)
from filetest import wait_for_keeper
from rawbus import message

MIB = 1024 * 1024
MANAGER = f'{NAME}.Manager'


def n_descriptors(pid):
    return len(os.listdir(f'/proc/{pid}/fd'))


def get_guest(**options):
    return message(ROOT, MANAGER, 'GetGuest', GLib.Variant('(s)', (UUID,)), **options)


def in_use(pid):
    """For comparing: the service with all threads that it needs, and its keeper."""
    path = image(temp_dir())
    guest = start_guest([disk(path)])
    wait_for_keeper(path)
    guest.Shutdown({})
    equal(service_pid(), pid)
    return n_descriptors(pid), rss_kib(pid)


def is_as_before(pid, before):
    is_served(pid)
    wait_until(lambda: n_descriptors(pid) <= before[0], 'the descriptors to be closed', 30)
    # The C library keeps up to 64 MiB of what was freed for the next who needs as much.
    has_not_grown(pid, before[1], 81920)


def started():
    pid = start_service()
    return pid, in_use(pid)


# --- single messages ---

@test
def descriptors():
    pid, before = started()
    fds = [os.open('/dev/null', os.O_RDONLY) for _ in range(17)]
    for fd in fds:
        at_end(lambda fd=fd: os.close(fd))
    # As many as there may be: refused by us, and nothing of them stays.
    create = GLib.Variant('(ssa{sv})', ('none', 'x', {}))
    peer = raw_peer('alice')
    for _ in range(200):
        peer.send_fds(message(ROOT, MANAGER, 'CreateGuest', create, n_fds=16), fds[:16])
    assert not peer.is_thrown_off(0.2)
    is_as_before(pid, before)
    # One more.
    for _ in range(5):
        peer = raw_peer('alice')
        peer.send_fds(message(ROOT, MANAGER, 'CreateGuest', create, n_fds=17), fds)
        assert peer.is_thrown_off()
    is_as_before(pid, before)


@test
def huge_messages():
    pid, before = started()
    alice = as_uid('alice')
    with fails('InvalidArgs'):
        alice.manager().CreateGuest(UUID, 'x' * 30 * MIB, {})
    with fails('InvalidArgs'):
        alice.manager().CreateGuest(UUID, 'x', {'y' * 30 * MIB: 'z'})
    with fails('LimitExceeded'):
        alice.manager().StartGuest(UUID, 'x', [disk('/x')] * 400000, {})
    # 64 MiB, as the head of the message says: the bus does not wait for the rest.
    peer = raw_peer('alice')
    call = bytearray(peer.numbered(get_guest(), 1))
    struct.pack_into('<I', call, 4, 64 * MIB)
    peer.socket.sendall(call)
    assert peer.is_thrown_off()
    is_as_before(pid, before)


@test
def deep_containers():
    pid, before = started()
    alice = as_uid('alice')
    for depth in (8, 32, 60, 64, 100):
        value = GLib.Variant('s', 'x')
        for _ in range(depth):
            value = GLib.Variant('v', value)
        peer = raw_peer('alice')
        peer.send(message(ROOT, MANAGER, 'CreateGuest', GLib.Variant('(ssa{sv})', (UUID, 'x', {'driver': value}))))
        # Deeper than 64 is no message: the bus does not pass it on.
        if depth < 60:
            assert b'InvalidArgs' in peer.receive(), depth
        elif depth >= 64:
            assert peer.is_thrown_off(), depth
    with fails('InvalidArgs'):
        alice.call(ROOT, MANAGER, 'CreateGuest', GLib.Variant('(aaaaaaaas)', ([[[[[[[['x']]]]]]]],)))
    equal(manager().NGuests, 0)
    is_as_before(pid, before)


# --- connections ---

@test
def a_thousand_connections():
    may_lease('bob')
    pid, before = started()
    honest = Honest(as_uid('bob'), 'bob')
    Latency(honest.lease, 10)
    alone = Latency(honest.lease, 100)
    # The bus gives no user more than 256.
    peers = [raw_peer(user) for user in ('alice', 'carol', 'daemon', 'games') for _ in range(250)]
    for peer in peers:
        peer.send(get_guest(), 10)
    for peer in peers:
        while not peer.count_messages(peer.receive()):
            pass
    crowded = Latency(honest.lease, 100)
    note(f'a thousand connections that have called: alone {alone}, with them {crowded} ms; memory {before[1]} to '
         f'{rss_kib(pid)} KiB')
    for peer in peers:
        peer.send(get_guest(), 20)
        peer.close()
    is_as_before(pid, before)


@test
def gone_before_the_answer():
    pid, before = started()
    path = image(temp_dir())
    path.chmod(0o666)
    holder = start_guest([disk(path)], 'holder')
    waiting = GLib.Variant('(ssa(sssa{sv})a{sv})', (
        UUID, 'x', [('disk', str(path), 'exclusive', {})], {'wait-ms': GLib.Variant('u', 60000)}))
    calls = [message(ROOT, MANAGER, 'StartGuest', waiting),
             message(ROOT, MANAGER, 'CreateGuest',
                     GLib.Variant('(ssa{sv})', (UUID, 'x', {'owner-uid': GLib.Variant('u', 0)}))),
             message(ROOT, 'org.freedesktop.DBus.ObjectManager', 'GetManagedObjects')]
    gone = set()
    for number in range(300):
        peer = raw_peer('alice')
        for call in calls:
            peer.send(call, 5)
        peer.close()
        gone.add(peer.name)
    # The bus reads what they have sent bit by bit, and only then that they have left.
    wait_until(lambda: not gone & set(bus.ask_bus('ListNames', '()')), 'the bus to see that they have left', 30)
    # None of them is in front of anybody.
    pending = manager().later.StartGuest('00000000-0000-4000-8000-000000000001', 'next', [disk(path)],
                                         {'wait-ms': 60000})
    holder.Shutdown({})
    bus.guest(pending.result(30)[0]).Shutdown({})
    equal(manager().NGuests, 0)
    is_as_before(pid, before)


@test
def answers_that_are_never_read():
    """dbus-daemon listens to nobody who has more than 127 MiB with it that was not read, so whoever asks much and reads
    nothing can keep the service from being heard while he is there. It does not grow meanwhile, and goes on when he has
    gone."""
    start_echo()
    pid, _ = started()
    for number in range(100):
        create_guest('n' * 255)
    before, honest = in_use(pid), as_uid('bob')
    peers = [raw_peer('alice') for _ in range(3)]
    for peer in peers:
        peer.socket.settimeout(0.1)
    calls, deaf = 0, False
    deadline = time.monotonic() + 30
    while not deaf and time.monotonic() < deadline:
        for peer in peers:
            try:
                peer.send(message(ROOT, 'org.freedesktop.DBus.ObjectManager', 'GetManagedObjects'), 10)
                calls += 10
            except TimeoutError:
                pass
        try:
            honest.call(ROOT, 'org.freedesktop.DBus.Peer', 'Ping', timeout=2)
        except Error:
            deaf = True
    note(f'{calls} lists that were not read; the bus {"has stopped" if deaf else "has not stopped"} listening to us; '
         f'memory {before[1]} to {rss_kib(pid)} KiB')
    has_not_grown(pid, before[1], 32768)
    for peer in peers:
        peer.close()
    wait_until(lambda: answers(honest), 'the bus to listen again', 20)
    is_as_before(pid, before)


def answers(peer):
    try:
        peer.call(ROOT, 'org.freedesktop.DBus.Peer', 'Ping', timeout=2)
        return True
    except Error:
        return False


@test
def calls_that_want_no_answer():
    """The bus bounds only those that want one. It takes more of them than it passes on, which is its own affair: what
    an honest caller of the echo waits for then is printed beside. The service holds no more than it may, and is there
    when it is over."""
    start_echo()
    pid, before = started()
    bob = as_uid('bob')
    took = {}
    for destination in (ECHO, NAME):
        call = message(ROOT, MANAGER, 'CreateGuest', GLib.Variant('(ssa{sv})', (UUID, 'x', {})), destination,
                       reply=False)
        with flood('daemon', 1, [call], 0):
            begin = time.monotonic()
            bob.connection.call_sync(destination, ROOT, 'org.freedesktop.DBus.Peer', 'Ping', None, None, 0, 240000,
                                     None)
            took[destination] = time.monotonic() - begin
            time.sleep(1)
        wait_until(lambda: answers(bob), 'the flood to be over', 60)
    note('one call during a flood of calls without answers: ' +
         ', '.join(f'{destination} {seconds * 1000:.0f} ms' for destination, seconds in took.items()))
    is_as_before(pid, before)


# --- signals ---

@test
def forged_and_very_many_signals():
    """She tells the service that bob has left, as the bus would; and as much else as her socket takes."""
    may_lease('bob')
    pid, before = started()
    path = image(temp_dir(), user='bob')
    holder = start_guest([disk(path)], 'holder')
    bob, alice = as_uid('bob'), as_uid('alice')
    guest = create_guest(peer=bob)
    guest.RegisterResource(*disk(path))
    pending = guest.later.Acquire({'wait-ms': 60000})
    wait_until(lambda: guest.Waiting, 'the acquire to wait')
    body = GLib.Variant('(sss)', (bob.name, bob.name, ''))
    for sender in (None, 'org.freedesktop.DBus'):
        for _ in range(1000):
            alice.connection.emit_signal(NAME, '/org/freedesktop/DBus', 'org.freedesktop.DBus', 'NameOwnerChanged',
                                         body)
        alice.connection.flush_sync(None)
    alice.manager().ListDrivers()
    assert guest.Waiting and not pending.done
    guest.Release({})
    holder.Shutdown({})
    # Her ears on everything that is said: the bus allows 512 rules a connection.
    for listener in [as_uid('alice') for _ in range(4)]:
        for number in range(500):
            listener.ask_bus('AddMatch', '(s)', f"type='signal',sender='{NAME}',path='{ROOT}/guest/x{number}'")
    is_as_before(pid, before)


main()
