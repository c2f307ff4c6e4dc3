# SPDX-License-Identifier: LGPL-2.1-or-later
"""What nobody should send, from root and from alice, over the bus: each is refused with the right error, and
afterwards guests, leases, kernel locks, state files and the service itself are as they were."""

import contextlib
import os
import socket
import subprocess

from guestlocktest import (
    NAME, ROOT, RUNTIME_DIR, Fd, GLib, Signals, as_uid, at_end, bus, create_guest, disk, end_process, equal,
    fails, image, lock_on, main, manager, service_pid, spawn_process, start_guest, temp_dir, test, uid_of)

UUID = '4dea22b3-1d52-d8f3-2516-782e98ab3fa0'
FREE_UUID = '00000000-0000-4000-8000-0000000000ff'


class World:
    """A user with a guest in each state, and a look at everything that must not change."""

    def __init__(self, user):
        self.peer = bus if user == 'root' else as_uid(user)
        self.directory = temp_dir(user)
        self.paths = [image(self.directory, f'{number}.img', user) for number in range(4)]
        self.runs_as = None if user == 'root' else user
        self.process = spawn_process(user=self.runs_as)
        options = {'keep': True}
        self.new = create_guest('new', peer=self.peer)
        self.new.RegisterResource(*disk(self.paths[0]))
        self.held = start_guest([disk(self.paths[1])], 'held', {'pid': self.process.pid} | options, peer=self.peer)
        self.unbound = start_guest([disk(self.paths[2])], 'unbound', options, peer=self.peer)
        self.released = start_guest([disk(self.paths[3])], 'released', options, peer=self.peer)
        self.released.Release({})
        self.guests = [self.new, self.held, self.unbound, self.released]
        self.signals = Signals(properties=True)
        self.before = self.look()

    def look(self):
        state = RUNTIME_DIR / 'guests'
        return (sorted(manager().ListGuests({})), manager().NLeases,
                [(guest.get_all(), guest.Resources) for guest in self.guests],
                [lock_on(path, byte) for path in self.paths for byte in (0, 1 << 62)],
                {file.name: file.read_text() for file in state.iterdir()}, service_pid())

    @contextlib.contextmanager
    def refuses(self, error, contains=()):
        """What is inside is refused, and nothing has changed."""
        with fails(error, contains):
            yield
        equal(self.look(), self.before)
        self.signals.nothing_else()

    def opened(self, path, flags=os.O_RDWR):
        fd = os.open(path, flags | os.O_CLOEXEC)
        at_end(lambda: os.close(fd))
        return fd


def both(function):
    """The same test for both users."""
    for user in ('root', 'alice'):
        def run_as(user=user):
            function(World(user))
        run_as.__name__ = f'{function.__name__}_as_{user}'
        test(run_as)
    return function


def of_type(signature, value):
    return GLib.Variant(signature, value)


# --- messages ---

@both
def arguments_of_other_types(world):
    for target in (world.peer.manager(), *world.guests):
        for method in target.info.methods:
            signature = ''.join(argument.signature for argument in method.in_args)
            for body in (None, of_type('(ay)', (b'?',)), of_type('(ssssss)', 'abcdef'), of_type('(a{sv}i)', ({}, 1)),
                         of_type('(v)', (of_type('v', of_type('v', of_type('s', ''))),))):
                if (body.get_type_string()[1:-1] if body else '') != signature:
                    with fails('InvalidArgs'):
                        target.call(method.name, body)
    equal(world.look(), world.before)
    world.signals.nothing_else()


@both
def members_that_are_not_there(world):
    for target in (world.peer.manager(), world.held):
        with world.refuses('UnknownMethod'):
            target.call('Destroy', None)
        with world.refuses('UnknownMethod'):
            target.peer.call(target.path, target.info.name.lower(), 'Release', of_type('(a{sv})', ({},)))
        with world.refuses('org.freedesktop.DBus.Error.UnknownProperty'):
            target.get('Colour')
        for name in [value.name for value in target.info.properties]:
            with fails('org.freedesktop.DBus.Error.PropertyReadOnly'):
                target.peer.call(target.path, 'org.freedesktop.DBus.Properties', 'Set',
                                 of_type('(ssv)', (target.info.name, name, of_type('s', 'x'))))
    equal(world.look(), world.before)


@both
def objects_that_are_not_there(world):
    path = world.new.path
    base = path.partition('_u')[0]
    for wrong in (path + '_', path + '/x', base + '_u', base + '_u00', base + '_u_1', base + '_u4294967295',
                  base + '_u99999999999999999999', base.upper(), base[:-1], base[:-1] + 'g', base.replace('_', '', 1),
                  f'{ROOT}/guest', f'{ROOT}/guest/_', '/'):
        with fails('UnknownMethod' if wrong == f'{ROOT}/guest' else 'UnknownObject'):
            world.peer.guest(wrong).Free({})
    equal(world.look(), world.before)


@both
def options(world):
    twice = GLib.VariantBuilder.new(GLib.VariantType('(a{sv})'))
    twice.open(GLib.VariantType('a{sv}'))
    for value in ('a', 'b'):
        twice.open(GLib.VariantType('{sv}'))
        twice.add_value(of_type('s', 'state'))
        twice.add_value(of_type('v', of_type('s', value)))
        twice.close()
    twice.close()
    with world.refuses('InvalidArgs', contains='twice'):
        world.held.call('Acquire', twice.end())
    for bad in ({'colour': 'red'}, {'': ''}, {'PID': 1}, {'pid ': 1}, {'x' * 100000: 1},
                {'pid': str(world.process.pid)}, {'pid': of_type('i', -1)}, {'pid': of_type('t', world.process.pid)},
                {'wait-ms': of_type('d', 1.0)}, {'state': of_type('o', '/')}, {'supervisor': 1}, {'wait-ms': 86400001},
                {'pidfd': 3}, {f'option-{number}': 1 for number in range(5000)}):
        with world.refuses('InvalidArgs'):
            world.held.Acquire(bad)
    for guest in world.guests:
        for member in ('Inquire', 'Release', 'Shutdown', 'Free', 'SetChild', 'GetChild'):
            with fails('InvalidArgs'):
                getattr(guest, member)({'colour': 'red'})
    equal(world.look(), world.before)


# --- names ---

@both
def guests_names(world):
    peer = world.peer
    with world.refuses('AlreadyExists'):
        create_guest(uuid=world.new.Uuid.upper(), peer=peer)
    for bad in ('', 'x', '\n', UUID[:-1], UUID + ' ', ' ' + UUID[1:], UUID.replace('-', ''), UUID.replace('d', 'g'),
                '{' + UUID + '}', 'ä' * 18, '0' * 36, '00000000-0000-0000-0000-000000000000', 'x' * 1000000,
                '../../etc/passwd', UUID + '\n'):
        for call in (lambda: create_guest(uuid=bad, peer=peer), lambda: start_guest([], uuid=bad, peer=peer),
                     lambda: peer.manager().GetGuest(bad), lambda: world.held.SetParameter('uuid', bad)):
            with fails('InvalidArgs'):
                call()
    for bad in ('', 'n' * 256, 'ä' * 128, 'x' * 1000000):
        for call in (lambda: create_guest(bad, peer=peer), lambda: start_guest([], bad, peer=peer),
                     lambda: world.held.SetParameter('name', bad)):
            with fails('InvalidArgs'):
                call()
    equal(world.look(), world.before)


@both
def paths(world):
    directory = world.directory
    os.mkfifo(directory / 'fifo')
    listener = socket.socket(socket.AF_UNIX)
    at_end(listener.close)
    listener.bind(str(directory / 'socket'))
    (directory / 'loop').symlink_to('loop')
    (directory / 'dangling').symlink_to('nowhere')
    (directory / 'fd').symlink_to('/proc/self/fd/0')
    os.mknod(directory / 'null', 0o020666, os.makedev(1, 3))
    for name in ('fifo', 'null', 'socket'):
        os.chmod(directory / name, 0o666)
    file = world.paths[0]
    for error, name in (
            ('InvalidArgs', ''), ('InvalidArgs', 'relative.img'), ('InvalidArgs', './0.img'),
            ('InvalidArgs', '../0.img'), ('InvalidArgs', ' ' + str(file)), ('InvalidArgs', 'file://' + str(file)),
            ('InvalidArgs', '/' + 'x' * 4095), ('InvalidArgs', '/' + './' * 2048 + 'x'), ('InvalidArgs', '/' * 1000000),
            ('InvalidArgs', directory), ('InvalidArgs', '/'), ('InvalidArgs', f'{directory}/.'),
            ('InvalidArgs', directory / 'fifo'), ('InvalidArgs', directory / 'socket'),
            ('InvalidArgs', '/dev/null'), ('InvalidArgs', '/dev/tty'), ('InvalidArgs', directory / 'null'),
            ('StorageUnavailable', directory / 'absent'), ('StorageUnavailable', directory / 'absent/absent'),
            ('StorageUnavailable', directory / 'dangling'), ('StorageUnavailable', f'{directory}/0.img\n'),
            ('StorageUnavailable', f'{file}/'), ('StorageUnavailable', f'{file}/x'),
            ('InvalidArgs', directory / 'loop'), ('InvalidArgs', f'{directory}/' + 'x' * 300),
            ('InvalidArgs', '/proc/self/fd/0'), ('InvalidArgs', f'/proc/self/root{file}'),
            ('InvalidArgs', f'/proc/{os.getpid()}/cwd/x'), ('InvalidArgs', directory / 'fd')):
        for mode in ('readonly', 'exclusive'):
            with fails(error):
                world.new.RegisterResource(*disk(name, mode))
        with fails(error):
            world.unbound.AcquireResource(*disk(name))
        with fails(error):
            start_guest([disk(world.paths[0]), disk(name)], peer=world.peer, uuid=FREE_UUID)
        with fails(error):
            world.new.RegisterResource('lease', 'key', 'exclusive',
                                       {'path': str(name), 'offset': of_type('t', 4096)})
        equal(world.look()[2:4], world.before[2:4])
    equal(world.look(), world.before)


@both
def types_and_modes(world):
    path = str(world.paths[3])
    for bad in ('', 'DISK', 'guest', 'disk ', 'd', 'x' * 100000):
        for call in (lambda: world.new.RegisterResource(bad, path, 'exclusive', {}),
                     lambda: world.unbound.AcquireResource(bad, path, 'exclusive', {}),
                     lambda: world.unbound.ReleaseResource(bad, path, {}),
                     lambda: start_guest([(bad, path, 'exclusive', {})], peer=world.peer)):
            with fails('InvalidArgs'):
                call()
    for bad in ('', 'Exclusive', 'rw', 'exclusive\n', 'x' * 100000):
        for call in (lambda: world.new.RegisterResource('disk', path, bad, {}),
                     lambda: world.unbound.AcquireResource('disk', str(world.paths[2]), bad, {}),
                     lambda: start_guest([('disk', path, bad, {})], peer=world.peer)):
            with fails('InvalidArgs'):
                call()
    for bad in ('', 'k' * 256):
        with world.refuses('InvalidArgs'):
            world.new.RegisterResource('lease', bad, 'exclusive', {'path': path, 'offset': of_type('t', 1)})
    for options in ({'path': path}, {'offset': of_type('t', 1)}, {'lockspace': 'x'}):
        with world.refuses('InvalidArgs'):
            world.new.RegisterResource('disk', path, 'exclusive', options)


@both
def descriptors(world):
    file = world.paths[3]
    ends = socket.socketpair()
    for end in ends:
        at_end(end.close)
    pipe = os.pipe()
    for end in pipe:
        at_end(lambda end=end: os.close(end))
    pidfd = os.pidfd_open(world.process.pid)
    at_end(lambda: os.close(pidfd))
    for error, fd, mode in (
            ('InvalidArgs', world.opened(world.directory, os.O_RDONLY), 'readonly'),
            ('InvalidArgs', world.opened(file, os.O_PATH), 'readonly'),
            ('InvalidArgs', world.opened(file, os.O_WRONLY), 'exclusive'),
            ('InvalidArgs', world.opened('/dev/null'), 'exclusive'),
            ('InvalidArgs', ends[0].fileno(), 'exclusive'), ('InvalidArgs', pipe[0], 'readonly'),
            ('InvalidArgs', pipe[1], 'exclusive'), ('InvalidArgs', pidfd, 'exclusive'),
            ('AccessDenied', world.opened(file, os.O_RDONLY), 'exclusive')):
        with world.refuses(error):
            world.new.RegisterResourceFd('disk', '/vda', fd, mode, {})
        with world.refuses(error):
            world.unbound.AcquireResourceFd('disk', '/vda', fd, mode, {})
    with world.refuses('InvalidArgs'):
        world.new.RegisterResourceFd('disk', 'relative', world.opened(file), 'exclusive', {})
    # An index of a descriptor that was not passed.
    with world.refuses('InvalidArgs'):
        world.new.call('RegisterResourceFd', of_type('(sshsa{sv})', ('disk', '/vda', 5, 'exclusive', {})))


@both
def text_that_only_the_bus_takes(world):
    """U+FFFE is UTF-8 and may be in a D-Bus string; sd-bus reads no such string."""
    path = str(world.paths[3])
    for text in ('\ufffe', 'x\U0010ffff', '\ufdd0'):
        for call in (lambda: world.peer.manager().CreateGuest(FREE_UUID, text, {}),
                     lambda: world.peer.manager().CreateGuest(FREE_UUID, 'x', {'driver': text}),
                     lambda: world.peer.manager().GetGuest(text), lambda: start_guest([], text, peer=world.peer),
                     lambda: world.new.SetParameter(text, 'x'), lambda: world.new.SetParameter('name', text),
                     lambda: world.new.RegisterResource('disk', path + text, 'exclusive', {}),
                     lambda: world.new.ReleaseResource('disk', path + text, {}),
                     lambda: world.released.Acquire({'state': text})):
            with world.refuses('InvalidArgs'):
                call()


# --- processes ---

@both
def processes(world):
    dead = spawn_process()
    dead_fd = os.pidfd_open(dead.pid)
    at_end(lambda: os.close(dead_fd))
    end_process(dead)
    zombie = spawn_process('true', user=world.runs_as)
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    threads = spawn_process('/usr/bin/python3', '-c', '''
import threading, time
thread = threading.Thread(target=time.sleep, args=[1000])
thread.start()
print(thread.native_id, flush=True)''', stdout=subprocess.PIPE, text=True, user=world.runs_as)
    thread = int(threads.stdout.readline())
    end, other_end = os.pipe()
    for fd in (end, other_end):
        at_end(lambda fd=fd: os.close(fd))
    for options in ({'pid': dead.pid}, {'pidfd': Fd(dead_fd)}, {'pid': zombie.pid}, {'pid': 0}, {'pid': 1},
                    {'pid': thread}, {'pid': service_pid()}, {'pid': 1 << 22}, {'pid': (1 << 32) - 1},
                    {'pidfd': Fd(end)}, {'pid': world.process.pid, 'pidfd': Fd(dead_fd)}):
        for guest in (world.new, world.unbound, world.released):
            for more in ({}, {'supervisor': True}, {'register-only': True}):
                with fails('InvalidArgs'):
                    guest.Acquire(options | more)
            with fails('InvalidArgs'):
                guest.SetChild(options)
        with world.refuses('InvalidArgs'):
            start_guest([disk(world.paths[0])], options=options, peer=world.peer, uuid=FREE_UUID)
    for pid in (0, 1, dead.pid, service_pid(), (1 << 32) - 1):
        with world.refuses('NoSuchGuest'):
            world.peer.manager().GetGuestByPID(pid)


# --- sizes and repetition ---

@both
def too_much(world):
    many = [disk(world.directory / f'no-{number}') for number in range(65)]
    with world.refuses('LimitExceeded', contains='64'):
        start_guest(many, peer=world.peer)
    for bad in ('x' * 1000000, 'guestlock1', 'guestlock1;' + 'r=;' * 100000, ';' * 5000, 'guestlock1;host=;guest='):
        with world.refuses('InvalidArgs'):
            world.released.Acquire({'state': bad})
    with world.refuses('AlreadyRegistered'):
        start_guest([disk(world.paths[0])] * 2, peer=world.peer)


@both
def calls_in_the_wrong_state(world):
    path = world.paths[3]
    for guest, error, call in (
            (world.new, 'BadState', lambda: world.new.AcquireResource(*disk(path))),
            (world.held, 'BadState', lambda: world.held.Free({})),
            (world.unbound, 'BadState', lambda: world.unbound.Free({})),
            (world.held, 'GuestRunning', lambda: world.held.Shutdown({})),
            (world.held, 'AlreadyExists', lambda: world.held.SetChild(
                {'pid': spawn_process(user=world.runs_as).pid})),
            (world.new, 'NoChild', lambda: world.new.GetChild({})),
            (world.new, 'AlreadyRegistered', lambda: world.new.RegisterResource(*disk(world.paths[0]))),
            (world.new, 'NoSuchResource', lambda: world.new.ReleaseResource('disk', str(path), {})),
            (world.new, 'AlreadyExists', lambda: create_guest(uuid=world.new.Uuid, peer=world.peer)),
            (world.held, 'AlreadyExists', lambda: start_guest([], uuid=world.held.Uuid, peer=world.peer))):
        for _ in range(2):
            with world.refuses(error, contains=guest.Uuid):
                call()


@test
def objects_of_other_users():
    world, other = World('root'), as_uid('alice')
    for guest in world.guests:
        guest = other.guest(guest.path)
        for member in ('Acquire', 'Inquire', 'Release', 'Shutdown', 'Free', 'GetChild'):
            with world.refuses('InteractiveAuthorizationRequired', contains=f'{NAME}.manage'):
                getattr(guest, member)({})
        with world.refuses('InteractiveAuthorizationRequired'):
            guest.Shutdown({'kill': True})
        with world.refuses('InteractiveAuthorizationRequired'):
            guest.SetParameter('name', 'mine')
    # Of the same uuid she has none.
    with fails('UnknownObject'):
        other.guest(f'{world.new.path}_u{uid_of("alice")}').Free({})
    with world.refuses('AccessDenied', contains=str(world.paths[0])):
        start_guest([disk(world.paths[0])], peer=other)


main()
