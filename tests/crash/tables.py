# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the service says it has granted, against what the kernel has locked, the keeper keeps and the state directory
holds. All of it is looked at until it agrees, since what was given back a moment ago may still be on its way; only what
never agrees is a fault."""

import contextlib
import os
import signal
from collections import defaultdict
from pathlib import Path

from guestlocktest import RUNTIME_DIR, Error, bus, keeper_pid, manager, wait_until
from processtest import goes_on
from storm import GUEST, HOST, OWNER, READER, WRITER, Held, find_processes

LOCKS = {
    'exclusive': [(True, OWNER), (False, HOST)],
    'shared': [(False, OWNER), (False, WRITER), (False, HOST)],
    'readonly': [(False, OWNER), (False, READER), (False, HOST)],
}
PATIENT = 60


def guests():
    """(path, state, pid, Resources) of each that there is."""
    for _, _, state, pid, _, path in manager().ListGuests({}):
        try:
            yield path, state, pid, bus.guest(path).Resources
        except Error as error:
            if not error.name.endswith('.UnknownObject'):
                raise


def end_the_lost():
    for path, state, _, _ in guests():
        if state == 'lost':
            try:
                bus.guest(path).Shutdown({'kill': True})
            except Error as error:
                # It has gone by itself, or its storage is slow to let it.
                if error.name.rpartition('.')[2] not in ('UnknownObject', 'StorageUnavailable'):
                    raise


def free_the_rest():
    for path, state, pid, _ in guests():
        guest = bus.guest(path)
        for method, options in (('Shutdown', {'kill': True}), ('Free', {})):
            try:
                guest.method(method, bus.call)(options)
            except Error as error:
                if error.name.rpartition('.')[2] not in ('UnknownObject', 'StorageUnavailable', 'GuestRunning', 'BadState'):
                    raise


class Tables:
    """Both, as (disk index → what there is)."""

    def __init__(self, disks):
        of_name = {name: disk.index for disk in disks for name in disk.names}
        self.said, self.kept_by, self.passing = defaultdict(list), defaultdict(set), []
        self.paths, self.lost = set(), set()
        for path, state, pid, resources in guests():
            self.paths.add(path.rpartition('/')[2])
            for entry in resources:
                index = of_name[entry['name']]
                if entry['state'] == 'held':
                    self.said[index] += LOCKS[entry['mode']]
                    self.kept_by[index].add(entry['kept-by'])
                elif entry['state'] == 'lost':
                    self.lost.add(index)
                elif entry['state'] != 'registered':
                    self.passing.append((path, entry['name'], entry['state']))
        self.said = {index: sorted(locks) for index, locks in self.said.items()}
        # Of what is lost there may be something left, or not.
        locked = {disk.index: disk.locks() for disk in disks if disk.index not in self.lost}
        self.locked = {index: locks for index, locks in locked.items() if locks}

    def agree(self):
        return not self.passing and self.said == self.locked

    def __str__(self):
        return f'the service says {self.said}, the kernel {self.locked}; on their way: {self.passing}'


def kept(disks):
    """Of which disks the keeper has descriptors."""
    pid, found = keeper_pid(), set()
    of_file = {(status.st_dev, status.st_ino): disk.index for disk in disks for status in map(os.stat, disk.names)}
    try:
        entries = [*Path(f'/proc/{pid}/fd').iterdir()] if pid else []
    except OSError:
        # It has ended meanwhile.
        entries = []
    for entry in entries:
        try:
            found.add(of_file.get((entry.stat().st_dev, entry.stat().st_ino)))
        except OSError:
            continue
    return found - {None}


def state_files():
    directory = RUNTIME_DIR / 'guests'
    return {path.name for path in directory.iterdir()} if directory.exists() else set()


@contextlib.contextmanager
def guests_standing_still():
    stopped = []
    try:
        for pid in find_processes(GUEST):
            with contextlib.suppress(ProcessLookupError):
                stopped.append(Held(pid, GUEST))
                stopped[-1].send(signal.SIGSTOP)
        wait_until(lambda: not any(map(goes_on, find_processes(GUEST))), 'guests to stand still', 30)
        yield
    finally:
        for held in stopped:
            with contextlib.suppress(ProcessLookupError):
                held.send(signal.SIGCONT)
            held.close()


def compare(disks):
    """Gives how many guests and locks there are."""
    wait_for_tables(lambda: Tables(disks), Tables.agree)
    wait_for_tables(lambda: (Tables(disks), kept(disks)), lambda both: _keeper_agrees(*both))
    wait_for_tables(lambda: (Tables(disks), state_files()), lambda both: len(both[0].paths) == len(both[1]))
    tables = Tables(disks)
    return len(tables.paths), sum(len(locks) for locks in tables.locked.values())


def _keeper_agrees(tables, disks_kept):
    needed = {index for index, kept_by in tables.kept_by.items() if 'holder' not in kept_by}
    return needed <= disks_kept <= set(tables.said)


def wait_for_tables(look, is_right):
    """Says what was there in the end, if it never is right."""
    seen = []

    def is_right_now():
        seen[:] = [look()]
        return is_right(seen[0])
    try:
        wait_until(is_right_now, 'the tables to agree', PATIENT)
    except AssertionError:
        what = seen[0] if isinstance(seen[0], tuple) else (seen[0],)
        raise AssertionError('they do not agree: ' + '; '.join(map(str, what))) from None


def all_is_gone(disks):
    def nothing():
        free_the_rest()
        return not [*guests()] and not any(disk.locks() for disk in disks) and not kept(disks) and not state_files()
    wait_until(nothing, 'every table to be empty', PATIENT)
