# SPDX-License-Identifier: LGPL-2.1-or-later
"""Verbs for tests of identity, beside those of guestlocktest and storagetest: partitions, loop devices of a number of
one's own, overlays, and what two names have to do with each other."""

import contextlib
import ctypes
import errno
import fcntl
import os
import random
from pathlib import Path

from guestlocktest import Error, at_end, disk, end_keeper, end_service, run, skip, start_guest, temp_dir, wait_until
from storagetest import must_run, mount

MIB = 1 << 20

# --- partitions ---

_BLKPG, _BLKPG_ADD, _BLKPG_DEL = 0x1269, 1, 2
_LOOP_CTL_REMOVE = 0x4C81


class _Partition(ctypes.Structure):
    _fields_ = [('start', ctypes.c_longlong), ('length', ctypes.c_longlong), ('number', ctypes.c_int),
                ('device', ctypes.c_char * 64), ('volume', ctypes.c_char * 64)]


class _Argument(ctypes.Structure):
    _fields_ = [('op', ctypes.c_int), ('flags', ctypes.c_int), ('length', ctypes.c_int), ('data', ctypes.c_void_p)]


def _blkpg(device, op, partition):
    argument = _Argument(op, 0, ctypes.sizeof(partition), ctypes.addressof(partition))
    fd = os.open(device, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, _BLKPG, argument)
    finally:
        os.close(fd)


def add_partition(device, number, start, length):
    """As the kernel does when it finds one in a table; no table is written. It ends with remove_partition()."""
    try:
        _blkpg(device, _BLKPG_ADD, _Partition(start, length, number, b'', b''))
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOTTY):
            skip('no partitions of loop devices here')
        raise
    return Path(f'{device}p{number}')


def remove_partition(device, number):
    def removed():
        try:
            _blkpg(device, _BLKPG_DEL, _Partition(0, 0, number, b'', b''))
        except OSError as error:
            if error.errno == errno.EBUSY:
                return False
            if error.errno != errno.ENXIO:
                raise
        return True
    wait_until(removed, f'{device}p{number} not to be used')


def partition(device, number, start, length):
    path = add_partition(device, number, start, length)

    def end():
        end_service()
        end_keeper()
        remove_partition(device, number)
    at_end(end)
    wait_until(path.exists, f'{path} to be there')
    return path


# --- loop devices ---

class Loop:
    """One with a number that nobody else uses, so that it can be given another file."""

    def __init__(self, path, *options):
        self.number = random.randrange(1000, 1 << 19)
        self.path = Path(f'/dev/loop{self.number}')
        self.attach(path, *options)
        at_end(self._end)

    def attach(self, path, *options):
        must_run('losetup', *options, self.path, path)

    def detach(self):
        must_run('losetup', '--detach', self.path)
        # Somebody may still have it open for a moment.
        wait_until(lambda: not Path(f'/sys/block/{self.path.name}/loop/backing_file').exists(), 'loop to be free')

    def _end(self):
        end_service()
        end_keeper()
        run('losetup', '--detach', str(self.path))
        control = os.open('/dev/loop-control', os.O_RDWR)
        try:
            wait_until(lambda: self._removed(control), f'{self.path} to be removed')
        finally:
            os.close(control)

    def _removed(self, control):
        try:
            fcntl.ioctl(control, _LOOP_CTL_REMOVE, self.number)
        except OSError as error:
            if error.errno == errno.EBUSY:
                return False
            if error.errno != errno.ENODEV:
                raise
        return True


# --- mounts ---

def unmount(point):
    """The service, or a keeper that is slow, may have a file open there for a moment."""
    wait_until(lambda: run('umount', str(point)).returncode == 0, f'{point} to be unmounted')


# --- overlays ---

def overlay(lower):
    """Over the directory; what is above it, and where it is mounted."""
    directory = temp_dir()
    upper, work, point = (directory / name for name in ('upper', 'work', 'merged'))
    for path in (upper, work, point):
        path.mkdir()
    try:
        mount('-t', 'overlay', 'none', '-o', f'lowerdir={lower},upperdir={upper},workdir={work}', point)
    except AssertionError as error:
        skip(f'no overlayfs here: {error}')
    return upper, point


# --- verdicts ---

def verdict(path, mode):
    """What a guest gets that wants it, and gives it back at once: '' or the error's name."""
    try:
        guest = start_guest([disk(path, mode)], name='second')
    except Error as error:
        return error.name.rpartition('.')[2]
    guest.Shutdown({})
    return ''


@contextlib.contextmanager
def held(path, mode='exclusive'):
    guest = start_guest([disk(path, mode)], name='first')
    yield guest
    guest.Shutdown({})
