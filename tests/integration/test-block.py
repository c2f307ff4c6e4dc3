# SPDX-License-Identifier: LGPL-2.1-or-later
"""Block devices: locks do not reach across their nodes, so exclusive leases claim them as well."""

import os
import stat
import time
import uuid

from guestlocktest import (
    Error, at_end, bus, create_guest, disk, end_process, equal, fails, image, main, manager, spawn_process,
    start_guest, temp_dir, test, wait_until)
from storagetest import holder, loop_device, mounted_ext4, resource

MODES = ('exclusive', 'shared', 'readonly')


def new_device(*options):
    return loop_device(image(temp_dir(), size=16 << 20), *options)


def is_claimed(device):
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
    except OSError as error:
        equal(error.strerror, 'Device or resource busy')
        return True
    return False


def second_node(device):
    """Another device node of the same device, somewhere else."""
    node = temp_dir() / 'node'
    os.mknod(node, stat.S_IFBLK | 0o600, device.stat().st_rdev)
    return node


@test
def exclusive_is_claimed_until_it_is_released():
    device = new_device()
    guest = start_guest([disk(device)], options={'keep': True})
    assert is_claimed(device)
    equal(resource(guest, device)['scope'], 'host')
    guest.Release({})
    assert not is_claimed(device)
    guest.Acquire({})
    assert is_claimed(device)
    guest.ReleaseResource('disk', str(device), {})
    assert not is_claimed(device)


@test
def exclusive_is_claimed_until_the_guest_exits():
    device, process = new_device(), spawn_process()
    guest = start_guest([disk(device)], options={'pid': process.pid, 'keep': True})
    assert is_claimed(device)
    end_process(process)
    wait_until(lambda: guest.State == 'released', 'the guest to be released')
    assert not is_claimed(device)


@test
def shared_and_readonly_are_not_claimed():
    device = new_device()
    for mode in ('shared', 'readonly'):
        first, second = start_guest([disk(device, mode)]), start_guest([disk(device, mode)])
        assert not is_claimed(device)
        first.Shutdown({})
        second.Shutdown({})


@test
def claim_follows_the_mode():
    device = new_device()
    guest = start_guest([disk(device, 'readonly')])
    for mode, claimed in (('exclusive', True), ('shared', False), ('exclusive', True), ('readonly', False)):
        guest.AcquireResource(*disk(device, mode))
        equal(is_claimed(device), claimed)


@test
def nothing_stays_claimed_of_a_refused_set():
    free, taken = new_device(), new_device()
    start_guest([disk(taken)], name='first')
    with fails('Conflict', contains=str(taken)):
        start_guest([disk(free), disk(taken)])
    assert not is_claimed(free)
    start_guest([disk(free)])


@test
def other_names_of_the_device():
    device, directory = new_device(), temp_dir()
    (directory / 'link').symlink_to(device)
    names = [directory / 'link', second_node(device)]
    for mode in MODES:
        first = start_guest([disk(device, mode)], name='first')
        for name in names:
            with fails('Conflict', contains=[str(name), *holder(first, device)]):
                start_guest([disk(name, 'readonly' if mode == 'shared' else 'exclusive')])
        first.Shutdown({})
    guest = create_guest()
    guest.RegisterResource(*disk(names[0]))
    with fails('AlreadyRegistered', contains=str(names[1])):
        guest.RegisterResource(*disk(names[1]))


@test
def device_with_a_file_system_that_is_mounted():
    device = new_device()
    point = mounted_ext4(device)
    begin = time.monotonic()
    for name in (device, second_node(device)):
        with fails('Conflict', contains=[str(name), 'mounted', str(point)]):
            start_guest([disk(name)])
    # It might have been a moment's mount.
    assert time.monotonic() - begin > 2 * 0.9
    equal(manager().NLeases, 0)


@test
def device_that_somebody_claims_for_a_moment():
    """As udev, LVM and multipathd do."""
    device = new_device()
    while not was_claimed_briefly(device):
        pass


def was_claimed_briefly(device):
    """A lease that is asked for meanwhile comes if the claim was given up within a second: of another one, on a machine
    that has other things to do, nothing can be said, and this is False."""
    fd = os.open(device, os.O_RDONLY | os.O_EXCL)
    begin = time.monotonic()
    pending = manager().later.StartGuest(str(uuid.uuid4()), 'guest', [disk(device)], {})
    time.sleep(0.4)
    early = pending.done
    os.close(fd)
    took = time.monotonic() - begin
    try:
        path, _ = pending.result()
    except Error as error:
        assert error.name.endswith('.Conflict') and took > 1, f'{error}, after {took:.2f} s'
        return False
    assert not early, 'it was granted while somebody had it claimed'
    guest = bus.guest(path)
    equal(guest.State, 'held')
    guest.Shutdown({})
    return True


@test
def device_that_somebody_keeps_claimed():
    device = new_device()
    fd = os.open(device, os.O_RDONLY | os.O_EXCL)
    at_end(lambda: os.close(fd))
    with fails('Conflict', contains=[str(device), 'claimed']):
        start_guest([disk(device)])
    for mode in ('shared', 'readonly'):
        start_guest([disk(device, mode)]).Shutdown({})


@test
def waiting_for_a_claimed_device():
    device = new_device()
    fd = os.open(device, os.O_RDONLY | os.O_EXCL)
    guest = create_guest()
    guest.RegisterResource(*disk(device))
    pending = guest.later.Acquire({'wait-ms': 60000})
    wait_until(lambda: guest.Waiting, 'the guest to wait')
    os.close(fd)
    pending.result()
    assert is_claimed(device)


main()
