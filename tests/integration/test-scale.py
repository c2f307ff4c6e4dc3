# SPDX-License-Identifier: LGPL-2.1-or-later
"""A thousand guests with four disks each: what that costs is printed, and nothing of them may stay."""

import contextlib
import os
import time
import uuid
from pathlib import Path

from guestlocktest import (
    ROOT, Signals, bus, disk, end_process, equal, fails, image, is_locked, main, manager, service_pid, spawn_process,
    start_guest, start_service, temp_dir, test, wait_until)
from storagetest import holder

N_GUESTS, N_DISKS = 1000, 4
# The bus allows a connection 128 calls that are not answered.
AT_ONCE = 100


class Timed:
    """Prints how long what is inside took, for each of `number`."""

    def __init__(self, what, number=1):
        self.what, self.number = what, number

    def __enter__(self):
        self.begin = time.monotonic()

    def __exit__(self, *_):
        took = (time.monotonic() - self.begin) * 1000
        print(f'# {self.what}: {took:.1f} ms' + (f', {took / self.number:.3f} ms each' if self.number > 1 else ''))


def in_parallel(calls):
    """Makes each call (a function that gives a Pending), not too many at a time; gives the results."""
    results, pending = [], []
    for call in calls:
        pending.append(call())
        if len(pending) == AT_ONCE:
            results.append(pending.pop(0).result())
    return results + [one.result() for one in pending]


def memory_kib(pid):
    """PSS and RSS of a process."""
    lines = dict(line.split(':') for line in Path(f'/proc/{pid}/smaps_rollup').read_text().splitlines()[1:])
    return [int(lines[key].split()[0]) for key in ('Pss', 'Rss')]


def descriptors(pid):
    """What each of them leads to. (One that is closed meanwhile leads nowhere.)"""
    found = []
    for entry in Path(f'/proc/{pid}/fd').iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(entry))
    return found


def none_in_passing(pid, directory):
    """Some may be closed a little later: by a thread, and that of who starts the keeper when he has ended."""
    return not any(to == 'anon_inode:[pidfd]' or to.startswith(f'{directory}/') for to in descriptors(pid))


class Crowd:
    def __init__(self, options):
        self.directory = temp_dir()
        self.disks = {f'guest{i}': [image(self.directory, f'guest{i}-{j}.img') for j in range(N_DISKS)]
                      for i in range(N_GUESTS)}
        start_service()
        # Once, so that threads and their descriptors are there.
        start_guest([disk(image(self.directory, 'first.img'))]).Shutdown({})
        self.service = service_pid()
        wait_until(lambda: none_in_passing(self.service, self.directory), 'the first guest to be gone from it')
        self.descriptors, self.memory = len(descriptors(self.service)), memory_kib(self.service)
        with Timed('StartGuest', N_GUESTS):
            started = in_parallel(
                lambda name=name, paths=paths: manager().later.StartGuest(
                    str(uuid.uuid4()), name, [disk(path) for path in paths], {'keep': True, **options})
                for name, paths in self.disks.items())
        self.guests = {name: bus.guest(path) for name, (path, _) in zip(self.disks, started)}
        equal(len({generation for _, generation in started}), N_GUESTS)
        equal((manager().NGuests, manager().NLeases), (N_GUESTS, N_GUESTS * N_DISKS))
        equal(self.n_locked(), N_GUESTS * N_DISKS)
        now = memory_kib(self.service)
        print('# memory: PSS {} KiB, RSS {} KiB; per guest PSS {:.2f} KiB, RSS {:.2f} KiB; {} descriptors'.format(
            *now, *((after - before) / N_GUESTS for after, before in zip(now, self.memory)),
            len(descriptors(self.service))))

    def n_locked(self):
        return sum(is_locked(path) for paths in self.disks.values() for path in paths)

    def check_nothing_stays(self, signals, reason):
        released = [arguments for _, member, arguments in signals.so_far() if member == 'LeasesReleased']
        equal([why for why, _ in released], [reason] * N_GUESTS)
        equal({name for _, leases in released for _, name in leases},
              {str(path) for paths in self.disks.values() for path in paths})
        equal((manager().NGuests, manager().NLeases), (N_GUESTS, 0))
        equal(self.n_locked(), 0)
        # A look through /proc for who has something open, as one is taken where draining is slow, may be under way.
        wait_until(lambda: len(descriptors(self.service)) == self.descriptors, f'there to be {self.descriptors} '
                   'descriptors again')
        in_parallel(lambda guest=guest: guest.later.Free({}) for guest in self.guests.values())
        equal(manager().ListGuests({}), [])
        equal(service_pid(), self.service)


def check_lists(crowd):
    with Timed('ListGuests'):
        listed = manager().ListGuests({})
    equal({(name, state, path) for _, name, state, _, _, path in listed},
          {(name, 'held', guest.path) for name, guest in crowd.guests.items()})
    with Timed('GetManagedObjects'):
        objects = bus.call(ROOT, 'org.freedesktop.DBus.ObjectManager', 'GetManagedObjects')
    equal({path: interfaces['org.guestlock1.Guest']['Name'] for path, interfaces in objects.items()},
          {guest.path: name for name, guest in crowd.guests.items()})


def check_conflicts(crowd):
    link, free = crowd.directory / 'link', image(crowd.directory, 'free.img')
    for name, guest in list(crowd.guests.items())[::100]:
        path = crowd.disks[name][-1]
        link.symlink_to(path)
        with fails('Conflict', contains=[str(link), *holder(guest, path)]):
            start_guest([disk(free), disk(link)])
        link.unlink()
    assert not is_locked(free)


@test
def shut_down_one_by_one():
    crowd = Crowd({})
    check_lists(crowd)
    check_conflicts(crowd)
    signals = Signals()
    with Timed('Shutdown', N_GUESTS):
        in_parallel(lambda guest=guest: guest.later.Shutdown({}) for guest in crowd.guests.values())
    crowd.check_nothing_stays(signals, 'shutdown')


@test
def exit_all_at_once():
    process = spawn_process()
    crowd = Crowd({'pid': process.pid})
    signals = Signals()
    with Timed('exit', N_GUESTS):
        end_process(process)
        wait_until(lambda: manager().NLeases == 0, 'all leases to be released', 20)
    crowd.check_nothing_stays(signals, 'guest-exited')


main()
