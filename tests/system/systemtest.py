# SPDX-License-Identifier: LGPL-2.1-or-later
"""Verbs for tests of the installed tree in a booted systemd, beside those of guestlocktest: units, the journal, and
guests whose disks a stranger tries to get all the while. They run inside tests/system/run.
"""

import json
import os
import signal
import subprocess
import time
import types
from pathlib import Path

import guestlocktest
from guestlocktest import (
    NAME, at_end, bus, disk, end_process, equal, has_owner, image, is_locked, note, spawn_process, start_guest,
    temp_dir, wait_until)
from processtest import goes_on
from storagetest import QEMU, must_run

BUS = os.environ['GUESTLOCK_SYSTEM_BUS']
SERVICE, KEEPER = 'guestlockd.service', 'guestlock-keeper.service'
# Of the messages in service/log.h.
STARTED = 'dd834085f8b94e1ba9a3607e08b2976b'
NO_KEEPER = '66cbda6c4452433296ccb6513d207525'
SET_ASIDE = '83f9363b68864f958b143264072fdab5'
# How long a disk may stay locked after its guest's end: milliseconds, and the rest is room for a machine that has other
# things to do. Nothing but the guest's end has the service look so soon.
RELEASE_SEC = 10


# --- systemd ---

def systemctl(*arguments):
    return must_run('systemctl', *arguments).strip()


def unit(name, prop):
    return systemctl('show', '--property', prop, '--value', name)


def main_pid(name):
    return int(unit(name, 'MainPID'))


def keeper_pid():
    """Of guestlock-keeper, or None. Its socket would say 1, systemd, which made it."""
    return main_pid(KEEPER) or None


# For those verbs of guestlocktest that use it.
guestlocktest.keeper_pid = keeper_pid


def kill_unit(name, how=signal.SIGKILL):
    """Sends a signal to the unit's main process alone; gives its pid."""
    pid = main_pid(name)
    assert pid, f'{name} does not run'
    os.kill(pid, how)
    return pid


def stop_service():
    """As systemd does it, and until the bus has noticed: before that, calls go to the one that has ended."""
    systemctl('stop', SERVICE)
    wait_until(lambda: not has_owner(NAME), 'the bus to notice')


def wait_for_another(name, pid, timeout=20):
    """Until the unit has another process than that, and is active with it; gives that."""
    wait_until(lambda: main_pid(name) not in (0, pid) and unit(name, 'ActiveState') == 'active',
               f'{name} to run again', timeout)
    return main_pid(name)


def drop_in(name, text):
    """Changes the unit until the test ends."""
    path = Path(f'/etc/systemd/system/{name}.d/test.conf')
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)

    def remove():
        path.unlink()
        systemctl('daemon-reload')
    at_end(remove)
    systemctl('daemon-reload')


def reconnect():
    """After the bus was restarted. All that the verbs use is this one connection."""
    bus.__init__()


def journal(*arguments):
    """What the journal has, each entry with its fields."""
    must_run('journalctl', '--sync')
    return [json.loads(line) for line in must_run('journalctl', '--output', 'json', *arguments).splitlines()]


class _Journal:
    """For a test that fails, which shows what was logged meanwhile, as from a file."""

    def read_bytes(self):
        must_run('journalctl', '--sync')
        return must_run('journalctl', '--output', 'short-precise').encode()

    def stat(self):
        return types.SimpleNamespace(st_size=len(self.read_bytes()))


guestlocktest.LOG = _Journal()


# --- guests ---

class Stranger:
    """Another process, which knows nothing of guestlock and tries to lock a disk's byte 0 over and over."""

    def __init__(self, path):
        self.process = spawn_process(
            '/usr/bin/python3', str(Path(__file__).with_name('stranger')), str(path), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True)
        equal(self.process.stdout.readline(), 'tries\n')

    def end(self):
        """Has it give up; gives how often it has tried, and when (of time.monotonic()) it succeeded."""
        said, _ = self.process.communicate(timeout=60)
        tries, *successes = said.split()
        return int(tries), [float(when) for when in successes]


def has_open(pid, path):
    wanted = os.stat(path)
    try:
        entries = list(Path(f'/proc/{pid}/fd').iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return False
    for entry in entries:
        try:
            if os.path.samestat(entry.stat(), wanted):
                return True
        except (FileNotFoundError, ProcessLookupError):
            continue
    return False


class LivingGuest:
    """A process with an exclusive lease on a disk, which a stranger wants. What befalls the service and the keeper
    meanwhile, the guest and its lease are not to notice."""

    def __init__(self, name='guest', process=None, path=None):
        self.path = path or image(temp_dir())
        self.process = process or spawn_process()
        self.guest = start_guest([disk(self.path)], name, {'pid': self.process.pid, 'keep': True})
        equal({entry['kept-by'] for entry in self.guest.Resources}, {'keeper'})
        self.before = self._known()
        self.stranger = Stranger(self.path)

    def _known(self):
        properties = self.guest.get_all()
        properties.pop('Origin')
        return properties, [{key: value for key, value in entry.items() if key != 'kept-by'}
                            for entry in self.guest.Resources]

    def is_as_before(self):
        equal(self._known(), self.before)
        # It runs; QEMU, which still starts, may wait for a disk.
        equal(goes_on(self.process.pid), True)
        assert is_locked(self.path), f'{self.path} can be locked by anybody'

    def is_kept(self):
        """By the keeper there is now, whatever the service says of the one before."""
        wait_until(lambda: main_pid(KEEPER) and has_open(main_pid(KEEPER), self.path), 'its lock to be kept', 10)

    def was_alone(self):
        """The stranger gives up, and has never got the disk. Gives how often it has tried."""
        tries, successes = self.stranger.end()
        equal(successes, [])
        assert tries > 20, f'it was tried only {tries} times'
        return tries

    def end(self):
        """As before until its end, and then its disk is free."""
        self.is_as_before()
        tries = self.was_alone()
        killed = time.monotonic()
        end_process(self.process)
        wait_until(lambda: not is_locked(self.path), 'the disk to be free')
        took = time.monotonic() - killed
        wait_until(lambda: self.guest.State == 'released', 'the guest to be released')
        assert took < RELEASE_SEC, f'the disk was free only after {took:.1f} s'
        note(f'{self.guest.Name}: {tries} attempts to lock its disk meanwhile; '
             f'free {took * 1000:.0f} ms after it was killed')


def qemu_guest():
    """A real one, which opens its disk when it has the lease, as README says."""
    path = image(temp_dir())
    process = spawn_process(
        'sh', '-c', 'read -r granted && exec "$@"', 'sh', QEMU, '-M', 'pc', '-accel', 'tcg', '-m', '16', '-S',
        '-nodefaults', '-display', 'none', '-blockdev', f'driver=file,filename={path},node-name=disk',
        '-device', 'virtio-blk-pci,drive=disk', stdin=subprocess.PIPE)
    guest = LivingGuest('qemu', process, path)
    process.stdin.write(b'granted\n')
    process.stdin.close()
    wait_until(lambda: process.poll() is not None or is_locked(path, 100), 'QEMU to open its disk', 20)
    assert process.poll() is None, 'QEMU has ended'
    return guest
