# SPDX-License-Identifier: LGPL-2.1-or-later
"""Real QEMUs: those that nobody manages are in the way of leases, leases are not in theirs."""

import os
import signal
import time
import uuid

from guestlocktest import (
    Error, Signals, bus, disk, end_process, equal, fails, image, main, manager, spawn_process, start_guest, temp_dir,
    test, wait_until)
from storagetest import QEMU, QEMU_BYTES, must_run, qemu_bytes, start_qemu

# Who keeps out whom, where the guest that asks has no process.
CONFLICTS = {
    'writer': {'exclusive', 'shared', 'readonly'},
    'reader': {'exclusive', 'shared'},
    'shared': {'exclusive', 'readonly'},
}
WORDS = {
    'writer': 'a running QEMU has the image open for writing',
    'reader': 'a running QEMU has the image open and lets nobody write',
    'shared': 'a running QEMU has the image open for writing',
}


def start_later(path, mode, options=None):
    return manager().later.StartGuest(str(uuid.uuid4()), 'guest', [disk(path, mode)], options or {})


@test
def unmanaged_qemu_is_in_the_way():
    directory = temp_dir()
    images = {use: image(directory, use) for use in CONFLICTS}
    qemus = {use: start_qemu(path, use) for use, path in images.items()}
    for mode in ('exclusive', 'shared', 'readonly'):
        begin = time.monotonic()
        pending = {use: start_later(path, mode) for use, path in images.items()}
        for use, call in pending.items():
            if mode not in CONFLICTS[use]:
                path, _ = call.result()
                bus.guest(path).Shutdown({})
                continue
            with fails('Conflict', contains=[str(images[use]), f'pid {qemus[use].pid}', QEMU, WORDS[use]]):
                call.result()
            # It could have been a qemu-img.
            assert time.monotonic() - begin > 0.9
    equal(manager().NLeases, 0)


@test
def qemu_img_is_brief():
    directory = temp_dir()
    path = directory / 'disk.img'
    path.write_bytes(os.urandom(16 << 20))
    while not was_brief(path, directory / 'copy'):
        pass


def was_brief(path, copy):
    """A lease that is asked for while qemu-img copies the image comes when that is done, if that was within a second:
    of another one, on a machine that has other things to do, nothing can be said, and this is False."""
    # So slow that it takes about half a second.
    qemu_img = spawn_process('qemu-img', 'convert', '-r', '28M', '-f', 'raw', '-O', 'raw', str(path), str(copy))
    wait_until(lambda: 201 in qemu_bytes(path) or qemu_img.poll() is not None, 'qemu-img to open the image')
    begin = time.monotonic()
    pending = start_later(path, 'exclusive')
    time.sleep(0.2)
    met = not pending.done and 201 in qemu_bytes(path)
    wait_until(lambda: qemu_img.poll() is not None, 'the end of qemu-img')
    took = time.monotonic() - begin
    equal(qemu_img.returncode, 0)
    try:
        guest, _ = pending.result()
    except Error as error:
        assert error.name.endswith('.Conflict') and took > 1, f'{error}, after {took:.2f} s'
        return False
    bus.guest(guest).Shutdown({})
    return met


@test
def waiting_for_an_unmanaged_qemu():
    path = image(temp_dir())
    qemu = start_qemu(path)
    pending = start_later(path, 'exclusive', {'wait-ms': 60000})
    time.sleep(1.5)
    assert not pending.done
    end_process(qemu)
    pending.result()


@test
def own_qemu_is_not_in_the_way():
    directory = temp_dir()
    modes = {'writer': 'exclusive', 'reader': 'readonly', 'shared': 'shared'}
    for use, mode in modes.items():
        path = image(directory, use)
        qemu = start_qemu(path, use)
        guest = start_guest([disk(path, mode)], options={'pid': qemu.pid})
        equal((guest.State, guest.Pid), ('held', qemu.pid))
        with fails('Conflict', contains=[f'guest "{guest.Name}"', f'pid {qemu.pid}']):
            start_guest([disk(path, 'readonly' if mode == 'shared' else 'exclusive')])


@test
def a_lease_does_not_stop_qemu():
    directory = temp_dir()
    for use, mode in (('writer', 'exclusive'), ('reader', 'readonly'), ('shared', 'shared')):
        path = image(directory, use)
        guest = start_guest([disk(path, mode)], options={'keep': True})
        qemu = start_qemu(path, use)
        guest.Acquire({'pid': qemu.pid, 'register-only': True})
        equal((guest.State, guest.Pid), ('held', qemu.pid))
        equal(qemu_bytes(path), QEMU_BYTES[use])


@test
def killed_qemu_frees_its_disk():
    path = image(temp_dir())
    guest = start_guest([disk(path)], options={'keep': True})
    qemu = start_qemu(path)
    guest.Acquire({'pid': qemu.pid, 'register-only': True})
    with fails('Conflict', contains=f'pid {qemu.pid}'):
        start_guest([disk(path)], name='second')
    signals = Signals(path=guest.path)
    end_process(qemu, signal.SIGKILL)
    equal(signals.expect('LeasesReleased'), ('guest-exited', [('disk', str(path))]))
    equal(guest.State, 'released')
    second = start_guest([disk(path)], name='second')
    qemu = start_qemu(path)
    second.Acquire({'pid': qemu.pid, 'register-only': True})


@test
def backing_image():
    """The service parses no image: a backing layer is a disk of its own, readonly."""
    directory = temp_dir()
    base, overlay = image(directory, 'base'), directory / 'overlay.qcow2'
    must_run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', overlay)
    qemu = start_qemu(overlay, driver='qcow2')
    wait_until(lambda: qemu_bytes(base) == QEMU_BYTES['reader'], 'QEMU to open the backing image')
    guest = start_guest([disk(overlay), disk(base, 'readonly')], name='web1', options={'pid': qemu.pid})
    # Another guest on an overlay of its own.
    start_guest([disk(base, 'readonly')], name='web2').Shutdown({})
    with fails('Conflict', contains=[str(base), 'guest "web1"']):
        start_guest([disk(base)])
    guest.ReleaseResource('disk', str(base), {})
    # Nobody has leased it any more, but QEMU uses it.
    with fails('Conflict', contains=[str(base), f'pid {qemu.pid}', WORDS['reader']]):
        start_guest([disk(base)])


main()
