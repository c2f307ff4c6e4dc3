# SPDX-License-Identifier: LGPL-2.1-or-later
"""Verbs for killing the service, or its keeper, at each step of what it does: see kill-points.c. A scenario is a
function of a Point, run once for every step, until it comes to its end without a kill:

    def start(point):
        path, process = image(point.directory), spawn_process()
        with point.armed():
            guest, generation = point.repeat(lambda: ...)
"""

import contextlib
import mmap
import os
import struct
import time
from collections import Counter

from guestlocktest import (
    NAME, RULES, RUNTIME_DIR, Error, at_end, bus, disk, end_keeper, has_owner, image, is_locked, note, skip,
    start_guest, temp_dir, wait_until)
from storagetest import test_program
from storm import Disk, is_dead
from tables import Tables, all_is_gone, wait_for_tables

SERVICE, KEEPER = 0, 1
AREA = struct.Struct('6I48s')
BUSY_AT, VICTIM_AT = 16, 20
NO_ANSWER = {'NoReply', 'ServiceUnknown', 'NameHasNoOwner', 'Spawn.ChildExited', 'Spawn.ChildSignaled', 'Spawn.Failed'}
kills = Counter()


class KillPoints:
    """What is preloaded into the service from its next start on, until the test ends."""

    def __init__(self):
        if os.environ.get('GUESTLOCKD_WRAPPER'):
            skip('the service runs under another program')
        control = temp_dir() / 'kill-points'
        control.write_bytes(bytes(2 * AREA.size))
        with open(control, 'r+b') as file:
            self.memory = mmap.mmap(file.fileno(), 2 * AREA.size)
        path = RULES.parent / 'services/org.guestlock1.service'
        before = path.read_text()
        preload = f'"/usr/bin/env" "LD_PRELOAD={test_program("libkill-points.so", "crash")}"'
        self._describe(path, before.replace('Exec=', f'Exec={preload} "GUESTLOCK_KILL_POINTS={control}" '))
        at_end(lambda: self._describe(path, before))

    @staticmethod
    def _describe(path, text):
        path.write_text(text)
        bus.ask_bus('ReloadConfig', '()')

    def arm(self, which, at, after):
        self.disarm()
        # Armed when all else is there.
        AREA.pack_into(self.memory, which * AREA.size, 0, 0, at, after, 0, 0, b'')
        struct.pack_into('I', self.memory, which * AREA.size, 1)

    def disarm(self):
        """Nobody is killed after this. What one of the threads is killed by in this very moment is waited for."""
        for which in (SERVICE, KEEPER):
            struct.pack_into('I', self.memory, which * AREA.size, 0)
            wait_until(lambda: self._number(which, VICTIM_AT) or not self._number(which, BUSY_AT),
                       'every thread to know whether it is to be killed', 30)

    def _number(self, which, at):
        return struct.unpack_from('I', self.memory, which * AREA.size + at)[0]

    def hit(self, which):
        """What the call was that killed it, or ''. When this says so it is dead."""
        victim = self._number(which, VICTIM_AT)
        if not victim:
            return ''
        wait_until(lambda: is_dead(victim), f'the end of process {victim}', 30)
        return AREA.unpack_from(self.memory, which * AREA.size)[-1].rstrip(b'\0').decode()


class Point:
    """One run of a scenario, with one kill in it."""

    def __init__(self, points, number, which=SERVICE, after=False, keeper_too=False):
        self.points, self.number, self.which, self.after, self.keeper_too = points, number, which, after, keeper_too
        self.directory, self.disks, self.promised, self.hit, self.waited = temp_dir(), [], {}, '', 0

    def image(self, name='disk.img', user=None):
        path = image(self.directory, name, user)
        self.add(path)
        return path

    def add(self, path):
        self.disks.append(Disk(len(self.disks), path))

    def promise(self, path, held=True):
        """The caller was told that it has this now (or has it no more)."""
        self.promised[path] = held

    @contextlib.contextmanager
    def armed(self):
        self.points.arm(self.which, self.number, self.after)
        yield
        self.points.disarm()
        self.look()

    def look(self):
        """After a kill: what was promised is locked while nobody is there, and then the tables agree."""
        if self.hit or not self.points.hit(self.which):
            return
        self.hit = self.points.hit(self.which)
        kills['keeper' if self.which == KEEPER else 'service'] += 1
        if self.keeper_too:
            end_keeper()
            kills['keeper after the service'] += 1
        elif not has_owner(NAME):
            for path, held in self.promised.items():
                assert not held or is_locked(path) or is_with_service_alone(path), \
                    f'{path}, which was granted, is not locked'
        self.agree()

    def agree(self):
        wait_for_tables(lambda: _while_it_comes_back(lambda: Tables(self.disks)), Tables.agree)

    def repeat(self, call, already=None):
        """Calls until there is an answer; ALREADY is what a call says that had taken effect."""
        repeated, begin = False, time.monotonic()
        while True:
            try:
                result = call()
                break
            except Error as error:
                name = error.name.removeprefix('org.freedesktop.DBus.Error.').removeprefix(NAME + '.Error.')
                if repeated and name == already:
                    result = None
                    break
                if name not in NO_ANSWER:
                    raise
                assert self.which == SERVICE, f'the service is gone: {error}'
                repeated = True
                self.look()
        self.waited = max(self.waited, time.monotonic() - begin)
        return result

    def newer(self, path, generation):
        """The disk is free, and whoever gets it next gets it with a larger generation."""
        guest = start_guest([disk(path)])
        assert guest.Generation > generation, f'{guest.Generation} after {generation}'
        guest.Shutdown({})


def is_with_service_alone(path):
    """Whether the service has said that nobody else keeps it: the keeper had not answered within its second."""
    groups = [group for file in (RUNTIME_DIR / 'guests').iterdir() for group in file.read_text().split('\n[')]
    return any(str(path) in group and 'kept-by=service' in group for group in groups)


def _while_it_comes_back(look):
    while True:
        try:
            return look()
        except Error as error:
            if error.name.removeprefix('org.freedesktop.DBus.Error.') not in NO_ANSWER:
                raise


def at_every_step(scenario, which=SERVICE, keeper_too=False):
    """Kills it before each step, and where much is asked for (GUESTLOCK_CRASH over 1) also after each."""
    points, seen, longest = KillPoints(), Counter(), 0
    for after in (False, True) if float(os.environ.get('GUESTLOCK_CRASH') or 1) > 1 else (False,):
        number, hit = 0, True
        while hit:
            number += 1
            point = Point(points, number, which, after, keeper_too)
            try:
                scenario(point)
                all_is_gone(point.disks)
            except Exception as error:
                when = 'after' if after else 'before'
                what = f'killed {when} step {number}, {point.hit or points.hit(which) or "which did not come"}'
                raise AssertionError(f'{what}: {error}') from error
            hit, longest = point.hit, max(longest, point.waited if point.hit else 0)
            seen[hit] += bool(hit)
    note(f'{scenario.__name__}: {sum(seen.values())} kills: ' +
         ', '.join(f'{what} {n}' for what, n in seen.items() if what) + f'; longest wait {longest * 1000:.0f} ms')
