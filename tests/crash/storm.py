# SPDX-License-Identifier: LGPL-2.1-or-later
"""The storm: clients and their guests on a few disks (the load), and a nemesis that kills and stops whatever it finds.

What can be killed is found by the name of the command in this PID namespace, where nothing else runs, and killed by
pidfd. To add a kind of process: have the clients start it, and give it a line in VICTIMS.
"""

import contextlib
import json
import os
import random
import select
import signal
import stat
import subprocess
import time
from collections import Counter, namedtuple
from pathlib import Path

from guestlocktest import at_end, end_process, image, lock, spawn_process, temp_dir, wait_until
from processtest import is_alive
from polkittest import polkit_rules
from storagetest import SlowFs, loop_device, mounted_ext4, must_run, test_program

HERE = Path(__file__).parent
USERS = ['root', 'alice', 'bob', 'carol']
RULE = '''polkit.addRule(function(action) {
    if (action.id == "org.guestlock1.acquire") return polkit.Result.YES;
});'''
SLOW_MSEC = 80
RECORD = 256
OWNER, NEXT = 0, 1 << 62
READER, WRITER = NEXT + 1, NEXT + 2
HOST = 1 << 60

# The commands that are killed together, by what they call themselves (15 bytes of it), how often, how often they are
# stopped for a while instead, and which of those that there are may be chosen (None: all).
Victim = namedtuple('Victim', 'name commands weight stopped among', defaults=[None])
SERVICE, KEEPER, GUEST, CLIENT = 'guestlockd', 'guestlock-keepe', 'crash-guest', 'crash-client'
SUPERVISOR = 'guestlock-super'


def those_with_a_slow_write(load, pids):
    """The last thing in the log is that it begins one."""
    writers = set()
    for disk in load.disks:
        log = load.directory / 'logs' / str(disk.index)
        if disk.uring and log.stat().st_size > 0:
            kind, _, _, number, *_ = log.read_bytes()[-RECORD:].split()
            if kind == b'begin':
                writers.add(number)
    return [pid for pid in pids if number_of_guest(pid) in writers]


def number_of_guest(pid):
    try:
        return Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')[2]
    except (OSError, IndexError):
        return None


VICTIMS = [
    Victim('service', [SERVICE], 40, 0.15),
    Victim('keeper', [KEEPER], 12, 0.3),
    Victim('service and keeper', [SERVICE, KEEPER], 12, 0),
    Victim('guest', [GUEST], 20, 0.5),
    Victim('guest with a write on its way', [GUEST], 30, 0, those_with_a_slow_write),
    Victim('client', [CLIENT], 12, 0.3),
    Victim('supervisor', [SUPERVISOR], 10, 0.2),
    Victim('service and supervisor', [SERVICE, SUPERVISOR], 4, 0),
]


# One kind may be killed far more often than the others.
FAVOURITE = os.environ.get('GUESTLOCK_CRASH_FAVOURITE')
WEIGHTS = [victim.weight * (10 if victim.name == FAVOURITE else 1) for victim in VICTIMS]


def processes():
    """pid and command of each."""
    for entry in Path('/proc').iterdir():
        if entry.name.isdigit():
            try:
                yield int(entry.name), (entry / 'comm').read_text().rstrip('\n')
            except OSError:
                continue


def find_processes(command):
    return sorted(pid for pid, name in processes() if name == command)


class Held:
    """A process that cannot become another one while it is looked at; raises ProcessLookupError when it is gone."""

    def __init__(self, pid, command):
        self.fd = os.pidfd_open(pid)
        try:
            if Path(f'/proc/{pid}/comm').read_text().rstrip('\n') != command:
                raise ProcessLookupError
        except OSError:
            os.close(self.fd)
            raise ProcessLookupError from None

    def send(self, number):
        signal.pidfd_send_signal(self.fd, number)

    def has_ended(self):
        return bool(select.select([self.fd], [], [], 0)[0])

    def close(self):
        os.close(self.fd)


# --- disks ---

class Disk:
    def __init__(self, index, path, *others, root=False, uring=False):
        self.index, self.path = index, Path(path)
        self.names, self.root, self.uring = [str(path), *map(str, others)], root, uring

    def locks(self):
        """Those of the kernel on it, as (write, byte), sorted. Each node of a device has locks of its own."""
        found, files = [], {(status.st_dev, status.st_ino) for status in map(os.stat, self.names)}
        wanted = {f'{os.major(device):02x}:{os.minor(device):02x}:{inode}' for device, inode in files}
        for line in Path('/proc/locks').read_text().splitlines():
            field = line.split()
            if len(field) == 8 and field[1] == 'OFDLCK' and field[5] in wanted:
                byte = int(field[6])
                found.append((field[3] == 'WRITE', HOST if HOST <= byte < NEXT else byte))
        return sorted(found)


def _several_names(directory, number):
    path = image(directory, f'{number}.img')
    path.chmod(0o666)
    (directory / f'{number}-symlink').symlink_to(path)
    (directory / f'{number}-hard').hardlink_to(path)
    return path, directory / f'{number}-symlink', directory / f'{number}-hard'


def make_disks():
    """Three images, each with several names, and a device with two nodes; on slow storage, where a write takes a while, a
    device and an image on a file system."""
    directory = temp_dir()
    disks = [Disk(index, *_several_names(directory, index)) for index in range(3)]
    device = loop_device(image(directory, 'device.img'))
    node = directory / 'node'
    os.mknod(node, stat.S_IFBLK | 0o600, os.stat(device).st_rdev)
    disks.append(Disk(3, device, node, root=True))
    slow = SlowFs()

    def slow_device(name, size):
        # With direct I/O a read overtakes a write: else whoever reads waits for what is on its way.
        return loop_device(slow.point / image(slow.below, name, size=size).name, '--direct-io=on')
    on_slow = mounted_ext4(slow_device('fs.img', 16 << 20)) / 'disk.img'
    on_slow.write_bytes(bytes(1 << 20))
    on_slow.chmod(0o666)
    must_run('sync', '--file-system', on_slow)
    disks.append(Disk(4, on_slow, uring=True))
    disks.append(Disk(5, slow_device('slow.img', 1 << 20), root=True, uring=True))
    slow.be(f'slow {SLOW_MSEC}')
    at_end(lambda: slow.be('ok'))
    return disks


# --- the load ---

class Load:
    def __init__(self, disks, seed, n_clients=8):
        self.directory, self.disks, self.seed = temp_dir(), disks, seed
        self.calls, self.quiet = self.directory / 'calls', self.directory / 'quiet'
        self.acknowledged = self.directory / 'quiet-clients'
        self._make_files()
        polkit_rules(RULE)
        env = dict(os.environ, CRASH_GUEST=test_program('crash-guest', 'crash'))
        self.said = open(self.directory / 'said', 'w+')
        self.forker = spawn_process('/usr/bin/python3', str(HERE / 'clients.py'), str(self.directory), env=env,
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said, text=True)
        self.n_started, self.clients = 0, {}
        at_end(self.end)
        self.janitor = self._start('janitor')
        for slot in range(n_clients):
            self.clients[slot] = self._start(USERS[slot % len(USERS)])

    def _make_files(self):
        logs = self.directory / 'logs'
        for path in (logs, self.acknowledged):
            path.mkdir()
            path.chmod(0o777)
        for path in (self.calls, *(logs / str(disk.index) for disk in self.disks)):
            path.touch()
            path.chmod(0o666)
        (self.directory / 'disks.json').write_text(json.dumps(
            [{'index': disk.index, 'names': disk.names, 'root': disk.root, 'uring': disk.uring}
             for disk in self.disks]))

    def _start(self, user):
        self.n_started += 1
        self.forker.stdin.write(f'{user} {self.seed}-{self.n_started} {self.n_started * 1000}\n')
        self.forker.stdin.flush()
        return int(self.forker.stdout.readline())

    def replace_the_dead(self):
        for slot, pid in self.clients.items():
            if is_dead(pid):
                self.clients[slot] = self._start(USERS[slot % len(USERS)])

    def be_quiet(self):
        """No client is in a call, and none makes one, from the end of this on."""
        # In this order: whoever says so from now on has seen it.
        self.quiet.touch()
        for path in self.acknowledged.iterdir():
            path.unlink()
        try:
            wait_until(lambda: not self._noisy_ones(), 'the clients to be quiet', 120)
        except AssertionError:
            for pid in self._noisy_ones():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGUSR1)
            time.sleep(1)
            raise AssertionError(f'some clients hang: {self.what_they_said()} {self.odd_calls()}') from None
        # The janitor may have been at it when it said so; its next look comes after this.
        self.calls_made = self.calls.stat().st_size
        self._settle()

    def _noisy_ones(self):
        self.replace_the_dead()
        return {*self.clients.values(), self.janitor} - {int(path.name) for path in self.acknowledged.iterdir()}

    def what_they_said(self):
        self.said.seek(0)
        return self.said.read()[-8000:]

    def _settle(self):
        while True:
            time.sleep(0.05)
            size = self.calls.stat().st_size
            if size == self.calls_made:
                return
            self.calls_made = size

    def go_on(self):
        self.quiet.unlink()

    def end(self):
        """Clients and guests are gone when this is over."""
        end_process(self.forker)
        for command in (CLIENT, 'crash-janitor', SUPERVISOR, GUEST):
            kill_all(command)

    def check_logs(self):
        """What the checker has to say, and whether it is content."""
        result = subprocess.run(
            [HERE / 'check-logs', self.directory / 'logs', *(f'{disk.index}={disk.path}' for disk in self.disks)],
            capture_output=True, text=True)
        return result.stdout + result.stderr, result.returncode == 0

    def odd_calls(self):
        return [f'{method}: {outcome}' for *_, method, outcome in self.what_was_called() if outcome.startswith('odd')]

    def what_was_called(self):
        """(begin, end, repeated, waited, method, outcome) of each call."""
        for line in self.calls.read_text().splitlines():
            begin, end, repeated, waited, method, outcome = line.split(' ', 5)
            yield float(begin), float(end), int(repeated), bool(int(waited)), method, outcome


def kill_all(command):
    def none_left():
        for pid in find_processes(command):
            try:
                held = Held(pid, command)
            except ProcessLookupError:
                continue
            try:
                held.send(signal.SIGKILL)
            except ProcessLookupError:
                pass
            held.close()
        return all(is_dead(pid) for pid in find_processes(command))
    wait_until(none_left, f'the end of every {command}', 30)


def is_dead(pid):
    """Also its last thread."""
    try:
        return not is_alive(pid) and len(os.listdir(f'/proc/{pid}/task')) <= 1
    except OSError:
        return True


# --- the nemesis ---

class Nemesis:
    def __init__(self, load, seed, pace):
        self.load, self.random, self.pace = load, random.Random(seed), pace
        self.kills, self.stops = Counter(), Counter()
        self.times, self.stopped, self.dying = [], [], []
        self.strangers, self.n_strangers = [], 0
        at_end(self.let_go)

    def rage(self, n):
        """N more kills."""
        end = sum(self.kills.values()) + n
        while sum(self.kills.values()) < end:
            time.sleep(self.random.expovariate(1 / self.pace))
            self.continue_those_due()
            self.load.replace_the_dead()
            victim = self.random.choices(VICTIMS, WEIGHTS)[0]
            if self.random.random() < victim.stopped:
                self.stop(victim)
            else:
                self.kill(victim)
        self.let_go()
        # Who calls a service that is killed but not dead yet has no answer.
        wait_until(lambda: all(held.has_ended() for held in self.dying), 'those who were killed to be dead', 30)
        while self.dying:
            self.dying.pop().close()

    def _take(self, victim):
        """One process of each command, or nothing if one is not there."""
        taken = []
        for command in self.random.sample(victim.commands, len(victim.commands)):
            pids = find_processes(command)
            if victim.among:
                pids = victim.among(self.load, pids)
            try:
                taken.append(Held(self.random.choice(pids), command) if pids else None)
            except ProcessLookupError:
                taken.append(None)
        if None not in taken:
            return taken
        for held in filter(None, taken):
            held.close()
        return []

    def kill(self, victim):
        taken = self._take(victim)
        for held in taken:
            try:
                held.send(signal.SIGKILL)
                self.kills[victim.name] += 1
            except ProcessLookupError:
                pass
            self.dying.append(held)
        if taken and SERVICE in victim.commands:
            self.times.append(time.monotonic())
        if len(taken) > 1 and self.random.random() < 0.2:
            self.let_a_stranger_in()

    def stop(self, victim):
        for held in self._take(victim):
            try:
                held.send(signal.SIGSTOP)
                self.stops[victim.name] += 1
            except ProcessLookupError:
                held.close()
                continue
            self.stopped.append((time.monotonic() + self.random.uniform(0.01, 0.3), time.monotonic(), held, victim))

    def let_a_stranger_in(self):
        """Somebody who does not know of the service has a disk, if nobody keeps it locked while the service is away. He
        does not write: the guest that had it is told that it has lost it, and is stopped."""
        disk = self.random.choice([disk for disk in self.load.disks if not disk.root])
        try:
            self.strangers.append((time.monotonic() + 2, lock(disk.path)))
            self.n_strangers += 1
        except BlockingIOError:
            pass

    def continue_those_due(self, all_of_them=False):
        for entry in self.stopped[:]:
            if all_of_them or entry[0] <= time.monotonic():
                self.stopped.remove(entry)
                _, begin, held, victim = entry
                try:
                    held.send(signal.SIGCONT)
                except ProcessLookupError:
                    pass
                held.close()
        for entry in self.strangers[:]:
            if all_of_them or entry[0] <= time.monotonic():
                self.strangers.remove(entry)
                os.close(entry[1])

    def let_go(self):
        self.continue_those_due(all_of_them=True)
