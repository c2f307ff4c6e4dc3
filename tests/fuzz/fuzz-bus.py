# SPDX-License-Identifier: LGPL-2.1-or-later
"""Random calls on the live service: every method of every interface on its objects, as introspection tells of them,
with arguments that are right, nearly right and absurd, from several connections at once. No call may hang, each
answer has to be one that the contract knows, and afterwards the service is the same process and has nothing left.

GUESTLOCK_FUZZ (1) multiplies the time that it takes, GUESTLOCK_FUZZ_SEED (1) chooses the calls.
"""

import contextlib
import os
import re
import socket
import tempfile
import time
import unicodedata
from collections import Counter
from pathlib import Path

from guestlocktest import (
    BUSY, LOG, NAME, PATIENCE, ROOT, RUNTIME_DIR, Error, Gio, GLib, as_uid, at_end, bus, create_guest, disk,
    end_process, equal, image, lock_on, main, manager, note, service_pid, spawn_process, start_guest, start_service,
    temp_dir, test, uid_of, wait_until)
from values import Values

SECONDS = 10 * float(os.environ.get('GUESTLOCK_FUZZ') or 1)
SEED = int(os.environ.get('GUESTLOCK_FUZZ_SEED', 1))
OUTSTANDING = 8
PATIENT = 60
SLOWEST = 120
MAX_GUESTS = 60
# Without DriverFailed: the driver that is built in has no such trouble, and whatever is ours to catch shows there.
OWN = {f'{NAME}.Error.{name}' for name in (
    'Conflict', 'BadState', 'NoSuchGuest', 'NoSuchResource', 'AlreadyExists', 'AlreadyRegistered', 'NotSupported',
    'Timeout', 'Cancelled', 'Stale', 'LeaseLost', 'GuestRunning', 'NoChild', 'LimitExceeded', 'NoSuchDriver',
    'DriverInUse', 'StorageUnavailable')}
COMMON = {f'org.freedesktop.DBus.Error.{name}' for name in (
    'InvalidArgs', 'AccessDenied', 'InteractiveAuthorizationRequired', 'UnknownObject')}
# What sd-bus itself says of members that are not there.
OF_THE_LIBRARY = {f'org.freedesktop.DBus.Error.{name}' for name in (
    'UnknownMethod', 'UnknownInterface', 'UnknownProperty', 'PropertyReadOnly')}


class World:
    """What the calls are about: some users' files, processes and guests, that are there for nothing else."""

    def __init__(self):
        self.directory = temp_dir()
        self.uids = [0, uid_of('alice'), uid_of('carol')]
        self.images = [image(self.directory, f'{n}.img', user)
                       for n, user in enumerate(('alice', 'alice', None, 'bob'))]
        self._make_paths()
        self._make_descriptors()
        self.children = []
        self.renew_children()
        self.uuids = [f'00000000-0000-4000-8000-00000000000{n:x}' for n in range(16)]
        self.uuids += ['', 'x', '00000000-0000-0000-0000-000000000000', self.uuids[1].upper(), 'x' * 36]
        self.states = ['', 'guestlock1', 'guestlock1;host=x;guest=' + self.uuids[0] + ';r=dxf1,2,3,4,-']
        self.objects = [ROOT]

    def _make_paths(self):
        first, second = self.images[:2]
        (self.directory / 'symlink').symlink_to(first)
        (self.directory / 'dangling').symlink_to('absent')
        (self.directory / 'loop').symlink_to('loop')
        (self.directory / 'hardlink').hardlink_to(first)
        os.mkfifo(self.directory / 'fifo')
        odd = self.directory / 'odd \n"ä\\name'
        odd.touch()
        self.paths = [*map(str, self.images * 20)] + [f'{self.directory}/{name}' for name in (
            'symlink', 'dangling', 'loop', 'hardlink', 'fifo', 'absent', odd.name, '..', './/./0.img', '0.img/', '')]
        self.paths += ['/dev/null', '/dev/zero', '/proc/self/fd/0', '/proc/self/mem', '/proc/1/root', second.name, '/',
                       '', '/' + 'x' * 4094, '/' + 'x' * 4095, '/x' * 2000, f'{self.directory}/' + 'y' * 256]

    def _make_descriptors(self):
        ends, pipe, deleted = socket.socketpair(), os.pipe(), tempfile.TemporaryFile(dir=self.directory)
        self.fds = [os.open(self.images[n % 4], flags | os.O_CLOEXEC) for n, flags in enumerate(
            (os.O_RDWR, os.O_RDWR, os.O_RDWR, os.O_RDONLY, os.O_RDONLY, os.O_WRONLY, os.O_PATH))]
        self.fds += [os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                     for path in (self.directory, '/dev/null', '/proc/self/maps')]
        self.fds += [*pipe, os.memfd_create('x'), os.eventfd(0), os.dup(deleted.fileno())]
        self.fds += [os.dup(end.fileno()) for end in ends]
        deleted.close()
        for end in ends:
            end.close()
        at_end(lambda: [os.close(fd) for fd in self.fds])

    def renew_children(self):
        """There are always some that live, and the ends of some that do not: no other process is ever named."""
        for child in [child for child in self.children if child.poll() is not None]:
            self.children.remove(child)
        while len(self.children) < 6:
            self.children.append(spawn_process(user=('alice', None)[len(self.children) % 2]))
        dead = spawn_process('true')
        end_process(dead)
        self.pids = [child.pid for child in self.children] * 3
        self.pids += [0, 1, dead.pid, service_pid(), 1 << 22, (1 << 31) - 1, 1 << 31, (1 << 32) - 1]
        for fd in getattr(self, 'pidfds', []):
            os.close(fd)
        self.pidfds = [os.pidfd_open(child.pid) for child in self.children]

    def close_pidfds(self):
        for fd in self.pidfds:
            os.close(fd)
        self.pidfds = []

    def descriptors(self):
        return self.fds + self.pidfds


def is_printable(text):
    """What is unassigned here may be a letter to the service: GLib knows a later Unicode than Python."""
    return all(character.isprintable() or unicodedata.category(character) == 'Cn' for character in text)


class Call:
    """One that is under way."""

    def __init__(self, fuzzer, peer, path, interface, method, body, fds):
        self.fuzzer, self.path, self.interface, self.method = fuzzer, path, interface, method
        self.body, self.since = body, time.monotonic()
        # Whatever waits may wait for as long as its guest is there.
        self.may_wait = bool(re.search(r"'wait-ms': <uint32 \d{4,}>", body.print_(True)[:100000]))
        flags = (Gio.DBusCallFlags.ALLOW_INTERACTIVE_AUTHORIZATION if fuzzer.values.chance(0.1)
                 else Gio.DBusCallFlags.NONE)
        self.peer, self.fd_list = peer, Gio.UnixFDList()
        for fd in fds:
            self.fd_list.append(fd)
        peer.connection.call_with_unix_fd_list(
            NAME, path, interface, method.name, body, None, flags, (1 << 31) - 1, self.fd_list, None, self.finish)

    def finish(self, connection, result):
        self.fuzzer.under_way.remove(self)
        try:
            reply = connection.call_with_unix_fd_list_finish(result)[0]
        except GLib.Error as error:
            self.fuzzer.take_error(self, Error(error))
        else:
            self.fuzzer.take_reply(self, reply)

    def __str__(self):
        return f'{self.interface}.{self.method.name}{self.body.print_(True)[:2000]} of {self.peer.name} on {self.path}'


class Fuzzer:
    def __init__(self, users):
        self.users, self.world = users, World()
        self.values = Values(SEED, self.world)
        self.peers = [as_uid(user) for user in users]
        self.under_way, self.troubles, self.outcomes, self.calls = [], [], Counter(), 0
        self.guests = []
        self.interfaces = {ROOT: bus.manager().introspect().interfaces}
        guest = create_guest()
        self.guest_interfaces = guest.introspect().interfaces
        guest.Free({})
        self.methods = {method.name for interface in self.guest_interfaces + self.interfaces[ROOT]
                        if interface.name.startswith(NAME) for method in interface.methods}
        # Two that are there all the time, the property of somebody else for most.
        for path in self.world.images[2:]:
            start_guest([disk(path)], 'victim', {'keep': True, 'pid': self.world.children[1].pid})

    # --- one call ---

    def call_something(self):
        peer = self.values.choice(self.peers)
        on_guest = self.guests and self.values.chance(0.75)
        path = self.values.choice(self.guests) if on_guest else ROOT
        interfaces = self.guest_interfaces if on_guest else self.interfaces[ROOT]
        own = [interface for interface in interfaces if interface.name.startswith(NAME)]
        interface = self.values.choice(own if self.values.chance(0.9) else interfaces)
        if not interface.methods:
            return
        method = self.choose_method(interface)
        fds = []
        body = self.values.body(method.name, method.in_args, fds)
        while self.values.chance(0.05) and len(fds) < 16:
            fds.append(self.values.choice(self.world.descriptors()))
        if self.values.chance(0.02):
            path = self.values.choice((ROOT, ROOT + '/guest', path + '_u1', path + '/x', '/', path[:-1] + 'f'))
        self.calls += 1
        self.under_way.append(Call(self, peer, path, interface.name, method, body, fds))

    def choose_method(self, interface):
        """What ends things is chosen less often, unless there are many."""
        many = len(self.guests) > MAX_GUESTS
        methods = interface.methods
        weights = [{'Free': 5 if many else 0.5, 'Shutdown': 5 if many else 0.7, 'CreateGuest': 0 if many else 1,
                    'StartGuest': 0 if many else 3}.get(method.name, 1) for method in methods]
        return self.values.random.choices(methods, weights)[0]

    def take_reply(self, call, reply):
        self.outcomes[call.method.name, 'done'] += 1
        expected = '(' + ''.join(argument.signature for argument in call.method.out_args) + ')'
        if reply.get_type_string() != expected:
            self.troubles.append(f'{call} is answered with {reply.get_type_string()}, not {expected}')
        if call.method.name in ('Release', 'Inquire') and reply.unpack()[0]:
            self.world.states[3:] = (self.world.states[3:] + [reply.unpack()[0]])[-8:]

    def take_error(self, call, error):
        if error.name.startswith('g-io-error') and call.peer.connection.is_closed():
            return
        self.outcomes[call.method.name, error.name.rpartition('.')[2]] += 1
        self.values.learn(call.method.name, error.message)
        allowed = OWN | COMMON if call.interface.startswith(NAME) else set()
        if error.name not in allowed | OF_THE_LIBRARY | COMMON:
            self.troubles.append(f'{call} is refused with {error}')
        elif call.interface.startswith(NAME) and not (0 < len(error.message) <= 8192 and is_printable(error.message)):
            self.troubles.append(f'{call} is refused in these words: {error.message[:9000]!r}')

    # --- all of them ---

    def run(self, seconds):
        deadline, turns = time.monotonic() + seconds * PATIENCE, 0
        # On a machine that is slow it takes longer to try everything.
        while (time.monotonic() < deadline or self.untried()) and not self.troubles:
            assert time.monotonic() < deadline + SLOWEST * PATIENCE, f'{self.untried()} were never answered'
            turns += 1
            if turns % 100 == 1:
                self.look_around()
            if self.values.chance(0.003):
                self.change_peer()
            if self.values.chance(0.01):
                end_process(self.values.choice(self.world.children))
            self.call_something()
            while GLib.MainContext.default().iteration(False):
                pass
            self.wait_for_some()
        assert not self.troubles, self.troubles[0]

    def untried(self):
        """The methods of ours that were not answered yet, whatever the answer."""
        return self.methods - {method for method, _ in self.outcomes}

    def wait_for_some(self):
        """Those that may wait do not count."""
        def urgent():
            return [call for call in self.under_way if not call.may_wait]
        for call in urgent():
            assert time.monotonic() < call.since + PATIENT * BUSY, f'{call} is not answered within {PATIENT * BUSY} s'
        wait_until(lambda: len(urgent()) <= OUTSTANDING, 'an answer', PATIENT)

    def look_around(self):
        self.world.renew_children()
        self.guests = [guest[5] for guest in manager().ListGuests({})]
        self.world.objects = self.guests or [ROOT]

    def change_peer(self):
        """One leaves the bus, whatever it has under way, and another comes."""
        peer = self.peers.pop(self.values.random.randrange(len(self.peers)))
        peer.close()
        wait_until(lambda: not [call for call in self.under_way if call.peer is peer], 'its calls to end')
        self.peers.append(as_uid(self.values.choice(self.users)))

    def free_all(self):
        """Ends every guest, as root. One user's signal does not end another's process, so these end first."""
        for child in self.world.children:
            end_process(child)

        def end(path):
            for member, options in (('Shutdown', {'kill': True}), ('Release', {}), ('Free', {})):
                try:
                    getattr(bus.guest(path), member)(options)
                except Error as error:
                    assert error.name in OWN | COMMON, error
        def nothing_left():
            for guest in manager().ListGuests({}):
                end(guest[5])
            return manager().NGuests == 0
        wait_until(nothing_left, 'all guests to be freed', 30)
        # With its guest ends what waits for it.
        wait_until(lambda: not self.under_way, f'{len(self.under_way)} calls to be answered', 30)
        assert not self.troubles, self.troubles[0]


def memory(pid):
    """What it uses, in MiB, without what it shares."""
    return int(re.search(r'RssAnon:\s+(\d+)', Path(f'/proc/{pid}/status').read_text())[1]) >> 10


def read_each(directory, read):
    """What this says of each entry; descriptors come and go meanwhile."""
    for entry in directory.iterdir():
        with contextlib.suppress(FileNotFoundError):
            yield read(entry)


def descriptors_of(pid):
    return Counter(read_each(Path(f'/proc/{pid}/fd'), os.readlink))


def locks_of(pid):
    return [text for info in read_each(Path(f'/proc/{pid}/fdinfo'), Path.read_text) for text in info.splitlines()
            if text.startswith('lock:')]


def comes_to_nothing(left):
    try:
        wait_until(lambda: not left(), 'nothing to be left', 30)
    except AssertionError as error:
        raise AssertionError(f'{error}: {left()}') from None


def check_that_nothing_is_left(world, pid, before):
    equal(service_pid(), pid)
    equal((manager().NGuests, manager().NLeases, manager().ListGuests({})), (0, 0, []))
    # What a thread is just closing may still be there.
    comes_to_nothing(lambda: locks_of(pid))
    equal([lock_on(path, byte) for path in world.images for byte in (0, 1 << 62)], [None] * 8)
    equal([path.name for name in ('guests', 'set-aside') for path in (RUNTIME_DIR / name).glob('*')], [])

    def left():
        return descriptors_of(pid) - before
    comes_to_nothing(lambda: [name for name in left() if 'pidfd' in name or str(world.directory) in name])
    # Threads of storage that was not there before may have one each.
    comes_to_nothing(lambda: left() if left().total() > 8 else None)
    said = re.search(r'.*(-|\) )(CRITICAL|WARNING) \*\*.*|.*Assertion.*|.*assertion.*', LOG.read_text(errors='replace'))
    assert not said, said[0]


def fuzz(*users):
    pid = start_service()
    fuzzer = Fuzzer(users)
    before, before_memory = descriptors_of(pid), memory(pid)
    fuzzer.run(SECONDS)
    fuzzer.free_all()
    fuzzer.world.close_pidfds()
    wait_until(lambda: not [name for name in descriptors_of(pid) - before if 'pidfd' in name], 'pidfds to be closed')
    after = memory(pid)
    note(f'{fuzzer.calls} calls, seed {SEED}; memory before and after: {before_memory} and {after} MiB')
    for method in sorted(fuzzer.methods):
        outcomes = sorted((name, n) for (of, name), n in fuzzer.outcomes.items() if of == method)
        note(f'{method}: ' + ', '.join(f'{n} {name}' for name, n in outcomes))
    check_that_nothing_is_left(fuzzer.world, pid, before)
    # A sanitizer keeps what was freed for a while.
    limit = 1024 if b'__asan_init' in Path(f'/proc/{pid}/exe').read_bytes() else 64
    assert after - before_memory < limit, f'{before_memory} MiB have become {after} MiB'


@test
def calls_of_root():
    fuzz('root', 'root')


@test
def calls_of_users():
    fuzz('alice', 'alice', 'carol', 'bob')


main()
