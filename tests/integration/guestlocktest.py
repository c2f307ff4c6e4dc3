# SPDX-License-Identifier: LGPL-2.1-or-later
"""Verbs for integration tests, which run inside tests/integration/run.

A test is a function with @test; main() runs them in order and prints TAP. Each begins with no
service, no guests and the default configuration, and whatever it made with the verbs below ends
with it. Members of the service are attributes, with arguments as in introspection/:

    guest = create_guest('web1')
    guest.RegisterResource(*disk('/srv/a.img'))
    with fails('BadState', contains='held'):
        guest.Free({})
    assert guest.State == 'held'
    pending = guest.later.Acquire({'wait-ms': 500})

In a dictionary of options a str, bool or int stands for s, b or u; anything else is a GLib.Variant
or an Fd.
"""

import contextlib
import errno
import fcntl
import os
import pwd
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import uuid as uuids
from pathlib import Path

import gi
gi.require_version('Gio', '2.0')
from gi.repository import Gio, GLib  # noqa: E402

NAME = 'org.guestlock1'
ROOT = '/org/guestlock1'
SOURCE = Path(__file__).resolve().parents[2]
RUNTIME_DIR = Path(os.environ['GUESTLOCK_RUNTIME_DIR'])
STATE_DIR = Path(os.environ['GUESTLOCK_STATE_DIR'])
CONFIG = Path(os.environ['GUESTLOCK_CONFIG'])
KEEPER_SOCKET = Path(os.environ['GUESTLOCK_KEEPER_SOCKET'])
RULES = Path(os.environ['GUESTLOCK_RULES'])
LOG = Path(os.environ['GUESTLOCK_LOG'])
# Under valgrind everything takes longer.
PATIENCE = 10 if os.environ.get('GUESTLOCKD_WRAPPER') else 1
# What nobody measures may take longer where other tests run at the same time.
BUSY = 6 * PATIENCE
FREEDESKTOP_ERRORS = ('InvalidArgs', 'AccessDenied', 'InteractiveAuthorizationRequired', 'UnknownObject',
                      'UnknownMethod', 'NoReply')


# --- saying what should be ---

def equal(actual, expected):
    assert actual == expected, f'expected {expected!r}, got {actual!r}'


def wait_until(condition, what, timeout=5):
    """Handles what comes in from the bus until condition() is true."""
    deadline = time.monotonic() + timeout * BUSY
    while True:
        # Asked before the condition is looked at, so that it is once more after a long pause of this process.
        late = time.monotonic() > deadline
        if condition():
            return
        if late:
            raise AssertionError(f'waited {timeout * BUSY} s in vain for {what}')
        if not GLib.MainContext.default().iteration(False):
            time.sleep(0.001)


# --- calling ---

class Error(Exception):
    """An error that came over the bus."""

    def __init__(self, error):
        self.name = Gio.DBusError.get_remote_error(error) or error.domain
        # Gio.DBusError.strip_remote_error() works on a copy here.
        self.message = error.message.removeprefix(f'GDBus.Error:{self.name}: ')
        super().__init__(f'{self.name}: {self.message}')


@contextlib.contextmanager
def fails(name, contains=()):
    """What is inside has to end in the error `name` (without a prefix: the service's own or D-Bus's),
    whose message has in it every string of `contains`."""
    if '.' not in name:
        name = ('org.freedesktop.DBus.Error.' if name in FREEDESKTOP_ERRORS else NAME + '.Error.') + name
    try:
        yield
    except Error as error:
        assert error.name == name, f'expected {name}, got {error}'
        for text in [contains] if isinstance(contains, str) else contains:
            assert text in error.message, f'expected "{text}" in: {error.message}'
        return
    raise AssertionError(f'expected {name}, but it succeeded')


class Fd:
    """A descriptor to pass in options, as in {'pidfd': Fd(3)}."""

    def __init__(self, fd):
        self.fd = fd


def _variant(value, fds):
    if isinstance(value, GLib.Variant):
        return value
    if isinstance(value, Fd):
        return GLib.Variant('h', fds.append(value.fd))
    return GLib.Variant({bool: 'b', int: 'u', str: 's'}[type(value)], value)


def _plain(value, fds):
    if isinstance(value, dict):
        return {key: _variant(entry, fds) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(entry, fds) for entry in value)
    return value


def _pack(signature, arguments):
    """The arguments as a tuple of the types in `signature`, and the descriptors among them."""
    fds = Gio.UnixFDList()
    assert len(signature) == len(arguments), f'{len(signature)} arguments wanted, {len(arguments)} given'
    convert = {'h': lambda value, fds: fds.append(value), 'v': _variant}
    plain = tuple(convert.get(of, _plain)(value, fds) for of, value in zip(signature, arguments))
    return GLib.Variant('(' + ''.join(signature) + ')', plain), fds


def _unpack(reply):
    values = reply.unpack()
    return values[0] if len(values) == 1 else values or None


class Pending:
    """A call under way."""

    def __init__(self):
        self.reply = self.error = None

    def finish(self, connection, result):
        try:
            self.reply = connection.call_with_unix_fd_list_finish(result)[0]
        except GLib.Error as error:
            self.error = Error(error)

    @property
    def done(self):
        while GLib.MainContext.default().iteration(False):
            pass
        return self.reply is not None or self.error is not None

    def result(self, timeout=5):
        wait_until(lambda: self.done, 'a reply', timeout)
        if self.error:
            raise self.error
        return _unpack(self.reply)


class Peer:
    """A connection to the bus."""

    def __init__(self):
        self.connection = Gio.DBusConnection.new_for_address_sync(
            os.environ['DBUS_SYSTEM_BUS_ADDRESS'],
            Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION)
        self.interactive = False
        self.name = self.connection.get_unique_name()

    def _arguments(self, path, interface, member, body, fds, timeout):
        flags = (Gio.DBusCallFlags.ALLOW_INTERACTIVE_AUTHORIZATION if self.interactive
                 else Gio.DBusCallFlags.NONE)
        destination = 'org.freedesktop.DBus' if interface == 'org.freedesktop.DBus' else NAME
        return destination, path, interface, member, body, None, flags, timeout * 1000 * BUSY, fds, None

    def call(self, path, interface, member, body=None, fds=None, timeout=20):
        """Any call on the service, with a GLib.Variant as its body."""
        try:
            return _unpack(self.connection.call_with_unix_fd_list_sync(
                *self._arguments(path, interface, member, body, fds, timeout))[0])
        except GLib.Error as error:
            raise Error(error) from None

    def call_with_fds(self, path, interface, member, body=None, fds=None):
        """The reply, and the Gio.UnixFDList that came with it (None: nothing came)."""
        try:
            reply, received = self.connection.call_with_unix_fd_list_sync(
                *self._arguments(path, interface, member, body, fds, 20))
            return _unpack(reply), received
        except GLib.Error as error:
            raise Error(error) from None

    def call_later(self, path, interface, member, body=None, fds=None):
        pending = Pending()
        self.connection.call_with_unix_fd_list(
            *self._arguments(path, interface, member, body, fds, 60), pending.finish)
        return pending

    def ask_bus(self, member, signature, *arguments):
        return self.call('/org/freedesktop/DBus', 'org.freedesktop.DBus', member,
                         GLib.Variant(signature, arguments))

    def manager(self):
        return Object(self, ROOT, 'Manager')

    def guest(self, path):
        return Object(self, path, 'Guest')

    def wait_until_taken_up(self):
        """The service has begun with all that this peer has called before, also with what it has not answered."""
        self.call(ROOT, 'org.freedesktop.DBus.Peer', 'Ping')

    def close(self):
        self.connection.close_sync(None)


def _read_interface(name):
    xml = (SOURCE / 'introspection' / f'{NAME}.{name}.xml').read_text()
    return Gio.DBusNodeInfo.new_for_xml(xml).lookup_interface(f'{NAME}.{name}')


INTERFACES = {name: _read_interface(name) for name in ('Manager', 'Guest')}


class Later:
    """The methods of an object, called without waiting for the reply: each gives a Pending."""

    def __init__(self, target):
        self.target = target

    def __getattr__(self, member):
        return self.target.method(member, self.target.peer.call_later)


class WithFds:
    """The methods of an object, each of which gives what came back and the descriptors that came with it."""

    def __init__(self, target):
        self.target = target

    def __getattr__(self, member):
        return self.target.method(member, self.target.peer.call_with_fds)


class Object:
    """One of the service's objects, as one peer sees it. Its methods and properties are attributes."""

    def __init__(self, peer, path, interface):
        self.peer, self.path, self.info = peer, path, INTERFACES[interface]
        self.later = Later(self)
        self.with_fds = WithFds(self)

    def method(self, member, call):
        signature = [arg.signature for arg in self.info.lookup_method(member).in_args]
        return lambda *arguments: call(self.path, self.info.name, member, *_pack(signature, arguments))

    def call(self, member, body):
        """A method with whatever body: for what no well-behaved client sends."""
        return self.peer.call(self.path, self.info.name, member, body)

    def get(self, name):
        return self.peer.call(self.path, 'org.freedesktop.DBus.Properties', 'Get',
                              GLib.Variant('(ss)', (self.info.name, name)))

    def get_all(self):
        return self.peer.call(self.path, 'org.freedesktop.DBus.Properties', 'GetAll',
                              GLib.Variant('(s)', (self.info.name,)))

    def introspect(self):
        xml = self.peer.call(self.path, 'org.freedesktop.DBus.Introspectable', 'Introspect')
        return Gio.DBusNodeInfo.new_for_xml(xml)

    def __getattr__(self, name):
        if self.info.lookup_method(name):
            return self.method(name, self.peer.call)
        if self.info.lookup_property(name):
            return self.get(name)
        raise AttributeError(f'{self.info.name} has no member {name}')


# The test itself, uid 0.
bus = Peer()


def manager():
    return bus.manager()


def _some(uuid):
    return str(uuids.uuid4()) if uuid is None else uuid


def create_guest(name='guest', options=None, uuid=None, peer=bus):
    return peer.guest(peer.manager().CreateGuest(_some(uuid), name, options or {}))


def start_guest(resources, name='guest', options=None, uuid=None, peer=bus):
    path, _ = peer.manager().StartGuest(_some(uuid), name, list(resources), options or {})
    return peer.guest(path)


def disk(path, mode='exclusive'):
    """For start_guest(); the first three are the arguments of the methods."""
    return 'disk', str(path), mode, {}


# --- signals ---

class Signals:
    """Every signal of the service from now on, in order, as (path, member, arguments); changes of
    properties only if asked for."""

    def __init__(self, peer=bus, path=None, properties=False):
        self.peer, self.properties, self.seen = peer, properties, []
        subscription = peer.connection.signal_subscribe(
            NAME, None, None, path, None, Gio.DBusSignalFlags.NONE, self._take)
        # A round trip, so that the bus knows of it.
        peer.ask_bus('GetId', '()')
        at_end(lambda: peer.connection.signal_unsubscribe(subscription))

    def _take(self, _connection, _sender, path, _interface, member, body):
        if self.properties or member != 'PropertiesChanged':
            self.seen.append((path, member, body.unpack()))

    def expect(self, member, path=None, timeout=5):
        """Waits for the next signal, which has to be this one, and returns its arguments."""
        wait_until(lambda: self.seen, f'the signal {member}', timeout)
        signal_path, signal_member, arguments = self.seen.pop(0)
        assert signal_member == member and path in (None, signal_path), \
            f'expected {member} of {path or "anything"}, got {signal_member}{arguments} of {signal_path}'
        return arguments

    def so_far(self):
        """Those that have come, without waiting: all that the service sent before its last reply to the peer."""
        while GLib.MainContext.default().iteration(False):
            pass
        seen, self.seen = self.seen, []
        return seen

    def until_now(self):
        """The same when others than the peer have called: all that the service has sent until now."""
        self.peer.call(ROOT, 'org.freedesktop.DBus.Peer', 'Ping')
        return self.so_far()

    def nothing_else(self):
        """The service has sent nothing that was not expected."""
        unexpected = self.until_now()
        assert not unexpected, f'unexpected: {unexpected}'


@contextlib.contextmanager
def expect_signal(member, path=None, timeout=5):
    """What is inside makes the service send this signal first. Gives a list that has its arguments afterwards."""
    signals, arguments = Signals(path=path), []
    yield arguments
    arguments.extend(signals.expect(member, path, timeout))


# --- other users, processes, files ---

def connect_as(user, groups=()):
    entry = pwd.getpwnam(user) if isinstance(user, str) else pwd.getpwuid(user)
    before = os.getgroups()
    # The bus asks the kernel once who connects, and remembers it.
    os.setgroups(list(groups))
    os.setresgid(entry.pw_gid, entry.pw_gid, 0)
    os.setresuid(entry.pw_uid, entry.pw_uid, 0)
    try:
        return Peer()
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(before)


def as_uid(user, groups=()):
    """A connection of another user (name or uid), with `groups` as its supplementary ones."""
    peer = connect_as(user, groups)
    at_end(lambda: _close(peer))
    return peer


def _close(peer):
    """Also one that the bus is throwing off."""
    try:
        peer.close()
    except GLib.Error as error:
        if not error.matches(Gio.io_error_quark(), Gio.IOErrorEnum.CLOSED):
            raise


def uid_of(user):
    return pwd.getpwnam(user).pw_uid


def _credentials(user):
    if user is None:
        return {}
    entry = pwd.getpwnam(user)
    return {'user': entry.pw_uid, 'group': entry.pw_gid, 'extra_groups': []}


def run(*command, user=None, timeout=30, **popen):
    """Runs a program to its end, as another user if wanted."""
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          timeout=timeout * BUSY, **_credentials(user), **popen)


def spawn_process(*command, user=None, **popen):
    """A process that lives until the test ends; without a command one that does nothing."""
    process = subprocess.Popen(command or ('sleep', 'infinity'),
                               **{'stdin': subprocess.DEVNULL} | _credentials(user) | popen)
    at_end(lambda: end_process(process))
    return process


def end_process(process, how=signal.SIGKILL):
    if process.poll() is None:
        process.send_signal(how)
    return process.wait(10 * BUSY)


def temp_dir(user=None, on_disk=False):
    """A directory that every user can reach, in memory or on a real disk."""
    path = Path(tempfile.mkdtemp(prefix='guestlock-', dir='/var/tmp' if on_disk else os.environ['GUESTLOCK_TMP']))
    at_end(lambda: _remove(path))
    path.chmod(0o755)
    if user:
        os.chown(path, uid_of(user), -1)
    return path


def _remove(path):
    """Also where the service or others still put files, or take them away: they end after this test's own."""
    def is_gone():
        try:
            shutil.rmtree(path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                raise
        return not path.exists()

    wait_until(is_gone, f'{path} to be removed')


def image(directory, name='disk.img', user=None, size=1 << 20):
    """A sparse image file in `directory`, which belongs to `user`."""
    path = directory / name
    path.touch(0o644)
    os.truncate(path, size)
    if user:
        os.chown(path, uid_of(user), -1)
    return path


_OFD_GETLK, _OFD_SETLK = 36, 37
_FLOCK = 'hhqqi4x'


def lock_on(path, byte):
    """The lock that keeps others from writing to this byte: 'read', 'write' or None."""
    with open(path, 'rb') as file:
        answer = fcntl.fcntl(file, _OFD_GETLK, struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0))
    return {fcntl.F_RDLCK: 'read', fcntl.F_WRLCK: 'write', fcntl.F_UNLCK: None}[struct.unpack(_FLOCK, answer)[0]]


def lock(path, *bytes_, kind='write'):
    """Locks these bytes (the first one), as virtlockd or QEMU would, and gives the descriptor: to close it is to
    unlock. Raises BlockingIOError if somebody else has one of them locked."""
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        for byte in bytes_ or (0,):
            fcntl.fcntl(fd, _OFD_SETLK, struct.pack(
                _FLOCK, {'read': fcntl.F_RDLCK, 'write': fcntl.F_WRLCK}[kind], os.SEEK_SET, byte, 1, 0))
    except BlockingIOError:
        os.close(fd)
        raise
    return fd


def is_locked(path, byte=0):
    """Whether a process that knows only this byte is kept from locking it: tried, and given up at once."""
    try:
        os.close(lock(path, byte))
    except BlockingIOError:
        return True
    return False


# --- the service ---

def has_owner(name):
    return bus.ask_bus('NameHasOwner', '(s)', name)


def service_pid():
    return bus.ask_bus('GetConnectionUnixProcessID', '(s)', NAME)


def start_service():
    """Has the bus start the service, if it does not run; gives its pid."""
    bus.ask_bus('StartServiceByName', '(su)', NAME, 0)
    return service_pid()


def end_service(how=signal.SIGTERM):
    end_owner(NAME, how)


def keeper_pid():
    """Of guestlock-keeper, or None: whoever listens on its socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as end:
        try:
            end.connect(str(KEEPER_SOCKET))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        return struct.unpack('3i', end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]


def keeper_is_ready():
    """The service runs, and has found its keeper: what is granted from now on is kept. (One that has just been started
    may need longer than a grant waits for it.)"""
    path = image(temp_dir())

    def is_kept():
        guest = start_guest([disk(path)])
        kept_by = guest.Resources[0]['kept-by']
        guest.Shutdown({})
        return kept_by == 'keeper'
    wait_until(is_kept, 'guestlock-keeper', 10)


def end_keeper():
    """With what it keeps."""
    pid = keeper_pid()
    if pid is not None:
        _end_pid(pid, signal.SIGKILL, 'guestlock-keeper')


def _end_pid(pid, how, what, ended=lambda: True):
    """Waits until it is gone, and what it leaves is as `ended` has it. It may be ending by itself just now."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        wait_until(ended, f'the end of {what}, pid {pid}', 10)
        return
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, how)
        wait_until(lambda: _has_ended(pidfd) and ended(), f'the end of {what}, pid {pid}', 10)
    finally:
        os.close(pidfd)


def restart_service():
    """Kills the service at once and has it started again; gives the new pid."""
    end_service(signal.SIGKILL)
    return start_service()


def _is_starting():
    """Whether the bus has something started that has not taken its name yet: until then it has a child that sees to
    that. In a booted systemd that starts things, not the bus."""
    if 'GUESTLOCK_SYSTEM_BUS' in os.environ:
        return False
    pid = bus.ask_bus('GetConnectionUnixProcessID', '(s)', 'org.freedesktop.DBus')
    return bool(Path(f'/proc/{pid}/task/{pid}/children').read_text())


def wait_for_starts():
    """Somebody's last call may have had it started."""
    wait_until(lambda: not _is_starting(), 'what the bus starts to be there', 10)


def end_owner(name, how):
    wait_for_starts()
    try:
        owner = bus.ask_bus('GetNameOwner', '(s)', name)
        pid = bus.ask_bus('GetConnectionUnixProcessID', '(s)', owner)
    except Error as error:
        if error.name != 'org.freedesktop.DBus.Error.NameHasNoOwner':
            raise
        return
    # The name itself may be another's soon.
    _end_pid(pid, how, name, lambda: not has_owner(owner))


def _has_ended(pidfd):
    """With all its threads: a process whose first one is a zombie may still have files open."""
    return bool(select.select([pidfd], [], [], 0)[0])


def configure(text):
    """Gives the service this configuration from its next start on."""
    CONFIG.write_text(text)
    at_end(lambda: CONFIG.write_text(''))


# --- running tests ---

def note(text):
    """Something to read in the report."""
    print(f'# {text}', flush=True)


class Skip(Exception):
    pass


def skip(reason):
    raise Skip(reason)


_tests = []
_at_end = []


def test(function):
    """Marks a test. Its name in the report is the function's."""
    _tests.append(function)
    return function


def at_end(action):
    """To be done when this test ends, whatever its result; the last first."""
    _at_end.append(action)


def _tidy_up():
    """Undoes what the test did, all of it, and returns what went wrong on the way."""
    troubles = []

    def wipe():
        # Whatever the test left behind may have the service started while its directories go.
        for _ in range(10):
            end_service()
            end_keeper()
            for directory in (RUNTIME_DIR, STATE_DIR):
                shutil.rmtree(directory, ignore_errors=True)
            if not _is_starting() and not has_owner(NAME) and not RUNTIME_DIR.exists() and not STATE_DIR.exists():
                return
        raise AssertionError(f'{NAME} is started again and again')

    _at_end.insert(0, wipe)
    while _at_end:
        try:
            _at_end.pop()()
        except Exception:
            troubles.append(traceback.format_exc())
    return ''.join(troubles)


def _run_one(function):
    """The outcome ('ok' or 'not ok'), a directive for its line, and an explanation."""
    outcome, directive, explanation = 'ok', '', ''
    try:
        function()
    except Skip as reason:
        directive = f' # SKIP {reason}'
    except Exception:
        outcome, explanation = 'not ok', traceback.format_exc()
    finally:
        troubles = _tidy_up()
    return 'not ok' if troubles else outcome, directive, explanation + troubles


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    wanted = [function for function in _tests if not sys.argv[1:] or function.__name__ in sys.argv[1:]]
    failed = not wanted
    print(f'1..{len(wanted)}', flush=True)
    for number, function in enumerate(wanted, 1):
        begin = LOG.stat().st_size
        outcome, directive, explanation = _run_one(function)
        if outcome != 'ok':
            failed = True
            log = LOG.read_bytes()[begin:].decode(errors='replace')
            print(re.sub('^', '# ', f'{explanation}log:\n{log}'.rstrip(), flags=re.M))
        print(f'{outcome} {number} {function.__name__}{directive}', flush=True)
    sys.exit(failed)
