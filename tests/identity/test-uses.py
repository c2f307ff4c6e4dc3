# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the host itself uses is no guest's: what is mounted, swapped to, or in use below something mounted. A file on a
mounted file system is."""

import os
import time

from guestlocktest import (
    NAME, Error, disk, equal, fails, image, main, manager, run, skip, spawn_process, start_guest, temp_dir, test)
from storagetest import loop_device, mount, mounted_ext4, must_run
from aliastest import MIB, Loop, held, partition, unmount, verdict

SIZE = 24 * MIB
MODES = ('exclusive', 'shared', 'readonly')


def refused(path, *words):
    held_before = manager().NLeases
    for mode in MODES:
        with fails('Conflict', contains=[str(path), *map(str, words)]):
            start_guest([disk(path, mode)])
    equal(manager().NLeases, held_before)


@test
def mounted_by_any_name():
    path = image(temp_dir(), size=SIZE)
    device, other = loop_device(path), loop_device(path)
    point = mounted_ext4(device)
    refused(device, f'it is mounted on "{point}"')
    refused(other, f'{device.name}, which shares storage with it, is mounted on "{point}"')
    refused(path, f'{device.name}, which shares storage with it, is mounted on "{point}"')
    equal([verdict(image(point), mode) for mode in MODES], ['', '', ''])
    unmount(point)
    equal([verdict(name, 'exclusive') for name in (device, other, path)], ['', '', ''])


@test
def mounted_below_what_is_asked_for():
    """A partition: the disk and the image are in use, the other partition is not."""
    path = image(temp_dir(), size=2 * SIZE)
    device = Loop(path).path
    first, second = partition(device, 1, MIB, SIZE - MIB), partition(device, 2, SIZE, SIZE)
    point = mounted_ext4(first)
    refused(first, f'it is mounted on "{point}"')
    for name in (device, path, loop_device(path, '--offset', str(2 * MIB))):
        refused(name, f'{first.name}, which shares storage with it, is mounted on "{point}"')
    equal([verdict(second, mode) for mode in MODES], ['', '', ''])
    equal(verdict(loop_device(path, '--offset', str(SIZE)), 'exclusive'), '')


@test
def image_on_an_image_that_is_mounted():
    """Three deep: each of the files may be a guest's only as long as nothing of it is mounted."""
    outer = image(temp_dir(), size=2 * SIZE)
    middle_point = mounted_ext4(loop_device(outer))
    middle = image(middle_point, size=SIZE)
    inner_point = mounted_ext4(loop_device(middle))
    inner = image(inner_point)
    refused(outer, middle_point)
    refused(middle, inner_point)
    equal(verdict(inner, 'exclusive'), '')
    unmount(inner_point)
    with held(middle):
        refused(outer, middle_point)


@test
def swapped_to():
    path = image(temp_dir(), size=SIZE)
    device, other = loop_device(path), loop_device(path)
    must_run('mkswap', device)
    if run('swapon', str(device)).returncode != 0:
        skip('no swap can be added here')
    try:
        refused(device, 'it is swapped to by the host')
        refused(other, f'{device.name}, which shares storage with it, is swapped to by the host')
    finally:
        must_run('swapoff', device)
    equal(verdict(device, 'exclusive'), '')


@test
def mounted_for_a_moment():
    """Whoever asks has a second's patience."""
    path = image(temp_dir(), size=SIZE)
    device, ended = loop_device(path), temp_dir() / 'ended'
    point = mounted_ext4(device)
    for _ in range(20):
        begin = time.clock_gettime(time.CLOCK_BOOTTIME)
        process = spawn_process(
            'sh', '-c', f'sleep 0.4; until umount {point}; do sleep 0.01; done; cat /proc/uptime >{ended}')
        try:
            start_guest([disk(path)]).Shutdown({})
            return
        except Error as error:
            equal(error.name, f'{NAME}.Error.Conflict')
            equal(process.wait(30), 0)
            # Unless that took this machine so long that the second was over by then.
            assert float(ended.read_text().split()[0]) > begin + 0.9, error
            must_run('mount', device, point)
    raise AssertionError('it was never unmounted within a second')


@test
def raised_under_a_mount():
    """A reader's device can be mounted; he does not become a writer then."""
    path = image(temp_dir(), size=SIZE)
    device = loop_device(path)
    point = mounted_ext4(device)
    unmount(point)
    guest = start_guest([disk(device, 'readonly')])
    must_run('mount', '-o', 'ro', device, point)
    for mode in ('shared', 'exclusive'):
        with fails('Conflict', contains=[f'mounted on "{point}"']):
            guest.AcquireResource(*disk(device, mode))


@test
def directory_of_the_host_that_is_bound():
    """The root file system's device is in use however little of it is mounted."""
    point, device = temp_dir(), loop_device(image(temp_dir(), size=SIZE))
    first = mounted_ext4(device)
    (first / 'directory').mkdir()
    mount('--bind', first / 'directory', point)
    must_run('umount', '--lazy', first)
    refused(device, f'it is mounted on "{point}"')
    file = image(point)
    with held(file):
        equal(verdict(os.path.join(point, 'disk.img'), 'readonly'), 'Conflict')


main()
