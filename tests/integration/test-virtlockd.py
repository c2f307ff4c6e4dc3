# SPDX-License-Identifier: LGPL-2.1-or-later
"""The real virtlockd, whose locks libvirt takes for a guest: it keeps us out of its images, and we it out of ours."""

from guestlocktest import (
    configure, create_guest, disk, equal, fails, image, is_locked, lock_on, main, restart_service, spawn_process,
    start_guest, temp_dir, test, wait_until)
from libvirttest import USER, Libvirt, lock_file, with_lockspace


@test
def lockspace_its_guest_was_first():
    libvirt, directory = with_lockspace(), temp_dir()
    path, link = image(directory), directory / 'link'
    link.symlink_to(path)
    # By the name that it was defined with; the image itself has no lock of virtlockd's.
    libvirt.define('web1', link)
    libvirt.start('web1')
    equal(lock_on(path, 0), None)
    equal(lock_on(lock_file(libvirt, link), 0), 'write')
    with fails('Conflict', contains=[str(link), 'virtlockd', f'pid {libvirt.virtlockd.pid}', str(libvirt.lockspace)]):
        start_guest([disk(link)])
    waiting = create_guest()
    waiting.RegisterResource(*disk(link))
    pending = waiting.later.Acquire({'wait-ms': 60000})
    wait_until(lambda: waiting.Waiting, 'the guest to wait')
    libvirt.destroy('web1')
    pending.result()
    # virtlockd has removed its file; what we have locked is what it will find.
    equal(lock_on(lock_file(libvirt, link), 0), 'write')
    assert 'is locked' in libvirt.virsh('start', 'web1').stderr


@test
def lockspace_our_guest_was_first():
    libvirt = with_lockspace()
    directory = temp_dir()
    path, link = image(directory), directory / 'link'
    link.symlink_to(path)
    libvirt.define('web1', path)
    for mode in ('exclusive', 'shared', 'readonly'):
        guest = start_guest([disk(link, mode)])
        for name in (path, link):
            equal(lock_on(lock_file(libvirt, name), 0), 'write' if mode == 'exclusive' else 'read')
        result = libvirt.virsh('start', 'web1')
        assert result.returncode != 0 and 'is locked' in result.stderr, result
        equal(guest.State, 'held')
        guest.Shutdown({})
    libvirt.start('web1')


@test
def lockspace_service_is_killed():
    libvirt = with_lockspace()
    path = image(temp_dir())
    guest = start_guest([disk(path)], options={'pid': spawn_process().pid})
    generation = guest.Generation
    restart_service()
    equal((guest.State, guest.Generation), ('held', generation))
    equal(lock_on(lock_file(libvirt, path), 0), 'write')
    guest.Shutdown({'kill': True})
    libvirt.define('web1', path)
    libvirt.start('web1')


@test
def lockspace_that_is_not_there():
    directory = temp_dir() / 'not-mounted'
    configure(f'[guestlock]\nLockspaceDirectory={directory}\n')
    path = image(temp_dir())
    with fails('StorageUnavailable', contains=str(directory)):
        start_guest([disk(path)])
    assert not directory.exists() and not is_locked(path)
    directory.mkdir(0o700)
    guest = start_guest([disk(path)])
    equal(guest.Resources[0]['scope'], 'host')


@test
def two_hosts_and_one_lockspace():
    """Another service, of another host, whose locks on the image do not reach us: only its lock file and record."""
    lockspace, path = temp_dir() / 'lockspace', image(temp_dir())
    lockspace.mkdir(0o700)
    configure(f'[guestlock]\nHostName=kvm1\nLockspaceDirectory={lockspace}\n')
    guest = start_guest([disk(path)], name='web1', options={'keep': True})
    generation = guest.Generation
    record = next(lockspace.glob('*.guestlock')).read_text()
    for text in (f'generation-exclusive={generation}', 'guest-name="web1"', 'host-name="kvm1"', f'path="{path}"'):
        assert text in record, record
    state = guest.Release({})
    # What another host was granted meanwhile shows in the record alone.
    other = generation + 10 * 365 * 86400 * 1000000
    next(lockspace.glob('*.guestlock')).write_text(record.replace(str(generation), str(other)))
    with fails('Stale', contains=str(path)):
        guest.Acquire({'state': state})
    assert guest.Acquire({}) > other


@test
def its_guest_was_first():
    libvirt, directory = Libvirt(), temp_dir(user=USER)
    path, link = image(directory, user=USER), directory / 'link'
    link.symlink_to(path)
    libvirt.define('web1', path)
    libvirt.start('web1')
    equal(lock_on(path, 0), 'write')
    for name, mode in ((path, 'exclusive'), (link, 'shared'), (path, 'readonly')):
        with fails('Conflict', contains=[str(name), 'virtlockd', f'pid {libvirt.virtlockd.pid}']):
            start_guest([disk(name, mode)])
    waiting = create_guest()
    waiting.RegisterResource(*disk(path))
    pending = waiting.later.Acquire({'wait-ms': 60000})
    wait_until(lambda: waiting.Waiting, 'the guest to wait')
    libvirt.destroy('web1')
    pending.result()
    equal(lock_on(path, 0), 'write')


@test
def our_guest_was_first():
    libvirt = Libvirt()
    path = image(temp_dir(user=USER), user=USER)
    libvirt.define('web1', path)
    for mode in ('exclusive', 'shared', 'readonly'):
        guest = start_guest([disk(path, mode)])
        result = libvirt.virsh('start', 'web1')
        assert result.returncode != 0 and 'is locked' in result.stderr, result
        equal(guest.State, 'held')
        guest.Shutdown({})
    libvirt.start('web1')


@test
def writers_that_know_of_each_other():
    libvirt = Libvirt()
    path = image(temp_dir(user=USER), user=USER)
    libvirt.define('web1', path, '<shareable/>')
    libvirt.start('web1')
    equal(lock_on(path, 0), 'read')
    guest = start_guest([disk(path, 'shared')], options={'keep': True})
    with fails('Conflict', contains=str(path)):
        guest.AcquireResource(*disk(path, 'exclusive'))
    equal(guest.Resources[0]['mode'], 'shared')
    guest.Release({})
    with fails('Conflict', contains=['virtlockd', f'pid {libvirt.virtlockd.pid}']):
        start_guest([disk(path, 'exclusive')])
    # The other way round.
    guest.Acquire({})
    libvirt.destroy('web1')
    libvirt.start('web1')
    equal(guest.State, 'held')


main()
