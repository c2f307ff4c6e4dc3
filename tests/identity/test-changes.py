# SPDX-License-Identifier: LGPL-2.1-or-later
"""What a name stands for is found out at registration and again at the grant, and once more after a restart: a number that
another disk has by then is Stale, or not the lease's any more, and never a lease on the wrong one."""

import os
import sys
import time

from guestlocktest import (
    SOURCE, Error, create_guest, disk, end_keeper, end_service, equal, fails, image, main, note, restart_service,
    spawn_process, start_guest, start_service, temp_dir, test)
from storagetest import holder, loop_device, mounted_ext4, must_run, resource
from aliastest import MIB, Loop, add_partition, partition, remove_partition, unmount, verdict

sys.path.append(str(SOURCE / 'tests/hostile'))
from filetest import Swapper  # noqa: E402

SIZE = 16 * MIB


def registered(path, mode='exclusive'):
    guest = create_guest()
    guest.RegisterResource(*disk(path, mode))
    return guest


def stale(guest, path):
    with fails('Stale', contains=str(path)):
        guest.Acquire({})
    equal(guest.State, 'new')


# --- before the grant ---

@test
def loop_device_of_another_file():
    directory = temp_dir()
    first, second = image(directory, 'a.img', size=SIZE), image(directory, 'b.img', size=SIZE)
    loop = Loop(first)
    for mode in ('exclusive', 'shared', 'readonly'):
        guest = registered(loop.path, mode)
        loop.detach()
        loop.attach(second)
        stale(guest, loop.path)
        equal([verdict(path, 'exclusive') for path in (first, second)], ['', ''])
        guest.Free({})
        loop.detach()
        loop.attach(first)


@test
def loop_device_of_another_part():
    path = image(temp_dir(), size=SIZE)
    loop = Loop(path)
    guest = registered(loop.path)
    loop.detach()
    loop.attach(path, '--offset', str(MIB))
    stale(guest, loop.path)
    # The same part of the same file is the same disk, whoever has detached it meanwhile.
    loop.detach()
    loop.attach(path)
    guest.Acquire({})


@test
def loop_device_of_nothing():
    loop = Loop(image(temp_dir(), size=SIZE))
    guest = registered(loop.path)
    loop.detach()
    with fails('Stale', contains=str(loop.path)):
        guest.Acquire({})


@test
def partition_that_was_moved():
    loop = Loop(image(temp_dir(), size=SIZE)).path
    part = partition(loop, 1, MIB, MIB)
    guest = registered(part)
    remove_partition(loop, 1)
    add_partition(loop, 1, 2 * MIB, MIB)
    stale(guest, part)


@test
def file_of_another_file_system_with_the_same_numbers():
    """Two file systems made alike have files of the same inode; each mount of a device has the device's number."""
    directory = temp_dir()
    loop = Loop(image(directory, 'a.img', size=SIZE))
    point = mounted_ext4(loop.path)
    file = image(point)
    guest, number = registered(file), os.stat(file)
    unmount(point)
    loop.detach()
    loop.attach(image(directory, 'b.img', size=SIZE))
    must_run('mkfs.ext4', '-q', '-O', '^has_journal', '-E', 'lazy_itable_init=0', loop.path)
    must_run('mount', loop.path, point)
    image(point)
    equal((os.stat(file).st_dev, os.stat(file).st_ino), (number.st_dev, number.st_ino))
    stale(guest, file)


@test
def loop_device_that_is_deleted_below():
    """The image's name is gone, the image is not: it is still the same disk. Another one of that name is another."""
    point = mounted_ext4(loop_device(image(temp_dir(), size=4 * SIZE)))
    path = image(point, size=SIZE)
    first, second = loop_device(path), loop_device(path)
    path.unlink()
    guest = start_guest([disk(first)])
    equal(verdict(second, 'readonly'), 'Conflict')
    equal(verdict(image(path.parent, path.name, size=SIZE), 'exclusive'), '')
    guest.Shutdown({})


# --- while it is held ---

@test
def loop_device_made_of_a_held_file():
    """Root can always do that; whoever asks for it finds the guest."""
    path = image(temp_dir(), size=SIZE)
    guest = start_guest([disk(path)])
    loop = loop_device(path)
    with fails('Conflict', contains=[str(loop), *holder(guest, path)]):
        start_guest([disk(loop, 'readonly')])


@test
def state_proves_it_by_every_name():
    """A part that another guest had meanwhile says nothing of its neighbour; the same bytes by another name do."""
    path = image(temp_dir(), size=SIZE)
    loop = Loop(path).path
    first, second, third = (partition(loop, number, number * 4 * MIB, 4 * MIB) for number in (1, 2, 3))
    guest = start_guest([disk(first), disk(second)], options={'keep': True})
    for other in (third, loop_device(path, '--sizelimit', str(4 * MIB))):
        state = guest.Release({})
        equal(verdict(other, 'exclusive'), '')
        guest.Acquire({'state': state})
    for other in (first, loop, path, loop_device(path, '--offset', str(7 * MIB), '--sizelimit', str(2 * MIB))):
        state = guest.Release({})
        equal(verdict(other, 'exclusive'), '')
        with fails('Stale', contains='somebody else may have written'):
            guest.Acquire({'state': state})
        guest.Acquire({})


# --- while names change ---

@test
def swapped_ten_thousand_times():
    """A link leads to a loop device over one image and to another image, by turns. Whoever has a lease by it has one of the
    two, and has it by every name."""
    directory = temp_dir()
    first, second = image(directory, 'a.img', size=SIZE), image(directory, 'b.img', size=SIZE)
    link, other = directory / 'link', directory / 'other'
    link.symlink_to(loop_device(first))
    other.symlink_to(second)
    swapper, answers, held = Swapper(link, other, 10000, user=None), {}, {str(first): 0, str(second): 0}
    begin = time.monotonic()
    while time.monotonic() < begin + 2 or not swapper.has_swapped() or min(held.values()) < 20:
        assert time.monotonic() < begin + 120, held
        try:
            guest = start_guest([disk(link)])
        except Error as error:
            name = error.name.rpartition('.')[2]
            assert name in ('Stale', 'StorageUnavailable'), error
            answers[name] = answers.get(name, 0) + 1
            continue
        kept = [path for path in (first, second) if verdict(path, 'readonly') == 'Conflict']
        equal(len(kept), 1)
        held[str(kept[0])] += 1
        guest.Shutdown({})
    swaps = swapper.end()
    note(f'{swaps} swaps; had the one {held[str(first)]} times, the other {held[str(second)]} times; {answers}')


# --- after a restart ---

def held_by_process(path, mode='exclusive'):
    return start_guest([disk(path, mode)], name='web1', options={'pid': spawn_process().pid, 'keep': True})


@test
def stack_survives_a_restart():
    path = image(temp_dir(), size=SIZE)
    loop = Loop(path).path
    part = partition(loop, 1, MIB, MIB)
    point = mounted_ext4(partition(loop, 2, 2 * MIB, 8 * MIB))
    file = image(point)
    first, second = held_by_process(part), held_by_process(file, 'readonly')
    for _ in range(2):
        restart_service()
        for guest, name in ((first, part), (second, file)):
            equal((guest.State, resource(guest, name)['path-moved']), ('held', False))
        for name in (path, loop, part):
            with fails('Conflict', contains=holder(first, part) if name != file else []):
                start_guest([disk(name)])
        equal([verdict(file, mode) for mode in ('exclusive', 'readonly')], ['Conflict', ''])
        equal(verdict(loop_device(path, '--offset', str(12 * MIB)), 'exclusive'), '')


@test
def number_that_another_disk_has_after_a_restart():
    directory = temp_dir()
    first, second = image(directory, 'a.img', size=SIZE), image(directory, 'b.img', size=SIZE)
    loop = Loop(first)
    guest = held_by_process(loop.path, 'readonly')
    # Nobody has it open any more.
    end_service()
    end_keeper()
    loop.detach()
    loop.attach(second)
    start_service()
    # What the guest had is still kept for it, and the other disk is nobody's.
    equal(verdict(first, 'exclusive'), 'Conflict')
    equal(verdict(first, 'readonly'), '')
    equal(verdict(second, 'exclusive'), '')
    equal(verdict(loop.path, 'exclusive'), '')
    assert resource(guest, loop.path)['path-moved']


@test
def stack_that_cannot_be_found_after_a_restart():
    """What it sat on is remembered, and kept."""
    image_path = image(temp_dir(), size=SIZE)
    device = Loop(image_path)
    part = partition(device.path, 1, MIB, 8 * MIB)
    guest = held_by_process(part, 'readonly')
    end_service()
    end_keeper()
    remove_partition(device.path, 1)
    start_service()
    equal(verdict(image_path, 'exclusive'), 'Conflict')
    equal(verdict(loop_device(image_path, '--offset', str(10 * MIB)), 'exclusive'), '')
    equal(guest.State, 'held')


@test
def file_whose_mount_is_gone_after_a_restart():
    """It cannot be found, and what it lay on is kept for it all the same."""
    image_path = image(temp_dir(), size=SIZE)
    point = mounted_ext4(loop_device(image_path))
    file = image(point)
    guest = held_by_process(file)
    end_service()
    end_keeper()
    unmount(point)
    start_service()
    for name in (image_path, loop_device(image_path)):
        with fails('Conflict', contains=holder(guest, file)):
            start_guest([disk(name, 'readonly')])


main()
