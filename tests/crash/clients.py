# SPDX-License-Identifier: LGPL-2.1-or-later
"""Clients of the service that start guests, plug, unplug, release and wait, and never hurry to tidy up: the load of a
storm (storm.py).

This program forks them, which is quicker than starting them. Each line that it reads, "USER SEED NUMBER", is a
client to start, and is answered with its pid. Guests are numbered from NUMBER on, of which nobody else has the next
thousand. In the storm's directory (its argument) are the disks that there are (disks.json), the logs of the disks, and
`calls`, to which every client writes what it called: BEGIN END REPEATED WAITED METHOD OUTCOME.

A call that gets no reply since the service was killed is repeated, as the contract says. Whatever then goes wrong in a
way in which it may go wrong (somebody else has the disk, or the guest was killed) ends this guest, and the client goes
on with another. Anything else is written down as "odd", for the storm to complain about.
"""

import array
import contextlib
import faulthandler
import importlib.util
import json
import os
import pwd
import random
import signal
import socket
import subprocess
import sys
import time
import traceback
import types
import uuid as uuids
from pathlib import Path

import gi
gi.require_version('Gio', '2.0')
from gi.repository import Gio, GLib  # noqa: E402,F401

# The service was killed, before it answered or while it was being started.
NO_ANSWER = {'NoReply', 'ServiceUnknown', 'NameHasNoOwner', 'Spawn.ChildExited', 'Spawn.ChildSignaled', 'Spawn.Failed'}
# Somebody else has it.
REFUSED = {'Conflict', 'Timeout'}
# The guest was killed meanwhile, or has lost its lease; who looks after what others leave behind may have freed it.
GONE = {'BadState', 'Cancelled', 'GuestRunning', 'LeaseLost', 'NoSuchGuest', 'NoSuchResource', 'Stale', 'UnknownObject',
        # What was to end or to be given back has not within ten seconds: whoever was to see to it was stopped or killed.
        'StorageUnavailable'}
MODES = ['exclusive', 'exclusive', 'shared', 'readonly']
PATIENT = 60
GUEST_PATIENCE = 5


class Over(Exception):
    """This guest's life is."""


class Calls:
    """Calls on the service, repeated until they are answered, and written down."""

    def __init__(self, log):
        self.log = os.open(log, os.O_WRONLY | os.O_APPEND)

    def note(self, begin, repeated, waited, method, outcome):
        line = f'{begin:.6f} {time.monotonic():.6f} {repeated} {waited} {method} {outcome}\n'
        os.write(self.log, line.encode())

    def make(self, target, method, *arguments, already=None, call=None):
        """Gives the result, or None where ALREADY is what a call that took effect says when it is repeated."""
        from guestlocktest import Error
        begin, repeated = time.monotonic(), 0
        waited = any(isinstance(argument, dict) and argument.get('wait-ms') for argument in arguments)
        while True:
            try:
                result = target.method(method, call or _call_patiently(target))(*arguments)
                self.note(begin, repeated, int(waited), method, 'ok')
                return result
            except Error as error:
                name = error.name.removeprefix('org.guestlock1.Error.').removeprefix('org.freedesktop.DBus.Error.')
                if name in NO_ANSWER:
                    repeated += 1
                    continue
                if repeated and name == already:
                    self.note(begin, repeated, int(waited), method, 'ok')
                    return None
                self._judge(begin, repeated, int(waited), method, name, error.message)

    def _judge(self, begin, repeated, waited, method, name, message):
        dead = name == 'InvalidArgs' and ('has ended' in message or 'does not exist' in message)
        refused = name in REFUSED or (name == 'AccessDenied' and 'read-only descriptor' in message)
        known = refused or name in GONE or dead
        self.note(begin, repeated, waited, method, name if known else f'odd {name}: {message}'.replace('\n', ' '))
        raise Refused(name) if refused else Over(name)


class Refused(Exception):
    pass


def _call_patiently(target):
    return lambda *arguments: target.peer.call(*arguments, timeout=PATIENT)


class Guest:
    """A process that writes to disks when it is told that it may; below a supervisor, if there is one to put before it."""

    def __init__(self, directory, program, number, lifetime, seed, supervisor=()):
        self.command = [program, directory / 'logs', str(number), str(lifetime), str(seed)]
        self.control, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(PATIENT if supervisor else GUEST_PATIENCE)
        self.is_supervised = bool(supervisor)
        self.process = subprocess.Popen([*supervisor, *self.command], stdin=end,
                                        stderr=subprocess.DEVNULL if supervisor else None)
        self.pid = self.process.pid
        end.close()

    def tell(self, text, fds=()):
        """One that does not answer was stopped, or is dead: nobody may rely on what it does."""
        try:
            self.control.sendmsg([text.encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))]
                                 if fds else [])
            answer = self.control.recv(64)
        except OSError as error:
            self.kill()
            raise Over(f'the guest: {error}') from None
        if answer != b'ok':
            self.kill()
            raise Over(f'the guest: {answer}')

    def kill(self):
        self.process.kill()
        self.process.wait()

    def leave(self):
        self.control.close()


class Client:
    def __init__(self, directory, seed, number):
        import guestlocktest
        self.test = guestlocktest
        self.directory, self.random, self.number = directory, random.Random(seed), number
        self.calls = Calls(directory / 'calls')
        self.disks = [disk for disk in json.loads((directory / 'disks.json').read_text())
                      if os.getuid() == 0 or not disk['root']]
        self.manager = guestlocktest.manager()
        self.left = []

    # --- lives of guests ---

    def run(self):
        ready = self.directory / 'quiet-clients' / str(os.getpid())
        while True:
            if (self.directory / 'quiet').exists():
                ready.touch()
                time.sleep(0.01)
                continue
            self.left = [guest for guest in self.left if guest.process.poll() is None]
            self.one_life()

    def one_life(self):
        self.number += 1
        self.used, self.path = {}, None
        lifetime = self.random.choice([50, 100, 200, 400, 800, 3000])
        self.guest = Guest(self.directory, os.environ['CRASH_GUEST'], self.number, lifetime,
                           self.random.randrange(1 << 48))
        try:
            self.acquire()
            for _ in range(self.random.randrange(5)):
                time.sleep(self.random.random() * 0.02)
                self.random.choice([self.plug, self.unplug, self.change, self.suspend])()
            self.random.choice([self.end, self.shut_down, self.kill, self.leave, self.leave])()
        except (Over, Refused):
            self.give_up()

    def give_up(self):
        """Sometimes somebody else has to tidy up."""
        self.guest.kill()
        self.guest.leave()
        if self.random.random() < 0.8:
            with contextlib.suppress(Over, Refused):
                self.free()

    def free(self):
        """An object that outlived its guest."""
        if self.path:
            self.call('Shutdown', {'kill': True})
            self.call('Free', {}, already='UnknownObject')

    # --- having disks ---

    def call(self, method, *arguments, **options):
        return self.calls.make(self.test.bus.guest(self.path), method, *arguments, **options)

    def choose(self, n, taken=()):
        disks = [disk for disk in self.disks if disk['index'] not in taken]
        return [(disk, self.random.choice(disk['names']), self.random.choice(MODES))
                for disk in self.random.sample(disks, min(n, len(disks)))]

    def options(self, **options):
        if self.random.random() < 0.6:
            options['wait-ms'] = self.random.choice([50, 200, 1000])
        return options

    def use(self, disk, name, mode, generation):
        self.guest.tell(f'use {disk["index"]} {mode} {generation} {"uring" if disk["uring"] else "plain"} {name}')
        self.used[disk['index']] = disk, name, mode

    def drop(self, disk):
        self.guest.tell(f'drop {disk["index"]}')
        del self.used[disk['index']]

    def acquire(self):
        wanted = self.choose(self.random.choice([1, 1, 1, 2, 2, 3]))
        way = self.random.choices([self.start, self.create, self.inherit, self.supervise, self.unbound],
                                  [4, 3, 3, 3, 1])[0]
        generation = way(wanted)
        for disk, name, mode in wanted:
            self.use(disk, name, mode, generation)

    def guest_options(self):
        return {'on-lease-lost': self.random.choice(['pause', 'kill'])}

    def uuid(self):
        return str(uuids.UUID(int=self.random.getrandbits(128), version=4))

    def start(self, wanted):
        options = self.options(pid=self.guest.pid, keep=self.random.random() < 0.5, **self.guest_options())
        self.path, generation = self.calls.make(
            self.manager, 'StartGuest', self.uuid(), f'{self.number}',
            [('disk', name, mode, {}) for _, name, mode in wanted], options)
        return generation

    def create_and_register(self, wanted, by_descriptor=False):
        uuid = self.uuid()
        self.path = self.calls.make(self.manager, 'CreateGuest', uuid, f'{self.number}', self.guest_options(),
                                    already='AlreadyExists')
        if not self.path:
            self.path = self.calls.make(self.manager, 'GetGuest', uuid)
        for _, name, mode in wanted:
            if by_descriptor:
                fd = os.open(name, (os.O_RDONLY if mode == 'readonly' else os.O_RDWR) | os.O_CLOEXEC)
                try:
                    self.call('RegisterResourceFd', 'disk', name, fd, mode, {}, already='AlreadyRegistered')
                finally:
                    os.close(fd)
            else:
                self.call('RegisterResource', 'disk', name, mode, {}, already='AlreadyRegistered')

    def create(self, wanted):
        self.create_and_register(wanted)
        if self.random.random() < 0.5:
            return self.call('Acquire', self.options(pid=self.guest.pid))
        pidfd = os.pidfd_open(self.guest.pid)
        try:
            return self.call('Acquire', self.options(pidfd=self.test.Fd(pidfd)))
        finally:
            os.close(pidfd)

    def inherit(self, wanted):
        self.create_and_register(wanted, by_descriptor=True)
        (generation, _), fds = self.call('AcquireInherit', self.options(pid=self.guest.pid),
                                         call=self.test.bus.call_with_fds)
        fds = fds.steal_fds() if fds else []
        try:
            self.guest.tell('keep', fds)
        finally:
            for fd in fds:
                os.close(fd)
        return generation

    def supervise(self, wanted):
        """The supervisor acquires, and nothing runs below it if it cannot."""
        *rest, lifetime, seed = self.guest.command
        self.guest.kill()
        self.guest.leave()
        self.create_and_register(wanted)
        program = self.call('GetSupervisorPath')
        orphan = self.random.choice(['end', 'keep'])
        arguments = self.call('GetSupervisorArgs', self.options(orphan=orphan))
        self.guest = Guest(self.directory, rest[0], self.number, lifetime, seed, [program, *arguments])
        self.guest.tell('keep')
        return self.call('Acquire', {})

    def unbound(self, wanted):
        """Leases that no process's life bounds: nobody may write yet."""
        self.create_and_register(wanted)
        self.call('Acquire', self.options())
        time.sleep(self.random.random() * 0.02)
        self.call('Release', {})
        self.free()
        raise Over('it had no process')

    # --- what else guests do ---

    def plug(self):
        for disk, name, mode in self.choose(1, self.used):
            try:
                generation = self.call('AcquireResource', 'disk', name, mode, {})
            except Refused:
                return
            self.use(disk, name, mode, generation)

    def unplug(self):
        if self.used:
            disk, name, _ = self.random.choice(list(self.used.values()))
            self.drop(disk)
            self.call('ReleaseResource', 'disk', name, {}, already='NoSuchResource')

    def change(self):
        if not self.used:
            return
        disk, name, _ = self.random.choice(list(self.used.values()))
        mode = self.random.choice(MODES)
        self.drop(disk)
        generation = self.call('AcquireResource', 'disk', name, mode, {})
        self.use(disk, name, mode, generation)

    def suspend(self):
        if self.guest.is_supervised:
            return
        resources = list(self.used.values())
        for disk, *_ in resources:
            self.drop(disk)
        state = self.call('Release', {})
        time.sleep(self.random.random() * 0.02)
        generation = self.call('Acquire', self.options(**{'state': state, 'pid': self.guest.pid}))
        for disk, name, mode in resources:
            self.use(disk, name, mode, generation)

    # --- their ends ---

    def end(self):
        self.guest.tell('end')
        try:
            self.guest.process.wait(GUEST_PATIENCE)
        except subprocess.TimeoutExpired:
            # It has lost a lease, and was stopped just then.
            self.guest.kill()
        self.free()

    def shut_down(self):
        self.free()
        self.guest.kill()

    def kill(self):
        self.guest.kill()

    def leave(self):
        """It goes on by itself."""
        self.guest.leave()
        self.left.append(self.guest)


class Janitor:
    """Root, who ends what nobody looks after any more: guests that were left without a process, or have lost a lease.
    What is found twice is."""

    def __init__(self, directory):
        import guestlocktest
        self.test, self.directory = guestlocktest, directory
        self.calls, self.seen = Calls(directory / 'calls'), set()

    def run(self):
        while True:
            (self.directory / 'quiet-clients' / str(os.getpid())).touch()
            time.sleep(1)
            if (self.directory / 'quiet').exists():
                continue
            with contextlib.suppress(Over, Refused):
                self._look()

    def _look(self):
        listed = self.calls.make(self.test.manager(), 'ListGuests', {})
        forlorn = {(path, state) for _, _, state, pid, _, path in listed if pid == 0 or state == 'lost'}
        for path, state in forlorn & self.seen:
            self._end(self.test.bus.guest(path))
        self.seen = forlorn

    def _end(self, guest):
        with contextlib.suppress(Over, Refused):
            self.calls.make(guest, 'Shutdown', {'kill': True})
            self.calls.make(guest, 'Free', {}, already='UnknownObject')


# --- being forked ---

def _read_module(name):
    """Reads a module and gives what loads it: the loading connects to the bus, and has to be done as the right user."""
    spec = importlib.util.find_spec(name)
    code = spec.loader.get_code(name)

    def load():
        module = sys.modules[name] = types.ModuleType(name)
        module.__file__ = spec.origin
        exec(code, module.__dict__)
    return load


def _become(user):
    entry = pwd.getpwnam(user)
    os.setgroups([])
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)


def _live(directory, load, user, seed, number):
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    # Where it hangs, for whoever wants to know.
    faulthandler.register(signal.SIGUSR1)
    Path('/proc/self/comm').write_text('crash-janitor' if user == 'janitor' else 'crash-client')
    if user != 'janitor':
        _become(user)
    load()
    (Janitor(directory) if user == 'janitor' else Client(directory, seed, number)).run()


def main():
    directory, load = Path(sys.argv[1]), _read_module('guestlocktest')
    # Nobody waits for them.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while line := sys.stdin.readline():
        user, seed, number = line.split()
        pid = os.fork()
        if pid == 0:
            try:
                _live(directory, load, user, seed, int(number))
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        print(pid, flush=True)


main()
