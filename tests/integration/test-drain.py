# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest that is killed with a write in flight: its process is gone at once, its write lands later, and only
then does somebody else get the disk."""

import os
import subprocess
import time

from guestlocktest import (
    Signals, at_end, create_guest, disk, end_process, equal, fails, image, main, spawn_process, start_guest, test,
    wait_until)
from storagetest import SlowFs, loop_device, mounted_ext4, must_run, resource, test_program

OFFSET = 1 << 20
TEXT = b'the last write of a dead guest'
QEMU_LOCKS = ('100', '101', '201')


class Dying:
    """A guest with its disk on slow storage, and a write of its process about to land there."""

    def __init__(self, make_disk, locks=(), storage='hold'):
        self.storage = SlowFs()
        self.image = image(self.storage.below, size=16 << 20)
        self.disk = make_disk(self.storage.point / self.image.name)
        assert TEXT not in self.image.read_bytes()
        self.storage.forget_log()
        self.storage.be(storage)
        at_end(lambda: self.storage.be('ok'))
        # The process opens the image under the lease, as QEMU does.
        self.guest = start_guest([disk(self.disk)], name='dying', options={'keep': True})
        self.process = spawn_process(test_program('direct-writer'), str(self.disk), str(OFFSET), TEXT.decode(), *locks,
                                     stdout=subprocess.PIPE, text=True)
        equal(self.process.stdout.readline(), 'submitted\n')
        self.guest.Acquire({'pid': self.process.pid, 'register-only': True})
        wait_until(lambda: self.storage.said(f'write /{self.image.name} begins'), 'the write to come to the storage')

    def has_written(self):
        return TEXT in self.image.read_bytes()

    def kill(self):
        assert not self.has_written()
        end_process(self.process)


def check_is_drained(dying):
    """Kills the guest, and sees that its disk comes after its write."""
    signals = Signals(path=dying.guest.path)
    second = create_guest('second')
    second.RegisterResource(*disk(dying.disk))
    dying.kill()
    pending = second.later.Acquire({'wait-ms': 120000})
    wait_until(lambda: resource(dying.guest, dying.disk)['state'] == 'draining', 'the disk to be draining')
    # It may be over in a moment, but it is not.
    with fails('Conflict', contains=['guest "dying"', 'its process has ended, but ']):
        start_guest([disk(dying.disk)], name='hasty')
    # Long after the service's usual patience with what is brief.
    time.sleep(1.2)
    assert not dying.has_written() and not pending.done
    equal(resource(dying.guest, dying.disk)['state'], 'draining')
    equal((dying.guest.State, dying.guest.Pid), ('held', 0))
    dying.storage.be('ok')
    lands = time.monotonic()
    pending.result()
    # At this very moment.
    assert dying.has_written(), f'granted {time.monotonic() - lands:.3f} s after the write was let go, before it landed'
    equal(signals.expect('LeasesReleased'), ('guest-exited', [('disk', str(dying.disk))]))
    equal(resource(dying.guest, dying.disk)['state'], 'registered')
    print(f'# granted {time.monotonic() - lands:.3f} s after the write was let go, with it on the storage')


def on_loop_and_ext4(path, *options):
    """An image on a file system on a loop device on the slow storage, with its blocks allocated: a write of the
    kernel's own that no process waits for."""
    disk_path = mounted_ext4(loop_device(path, *options)) / 'disk.img'
    disk_path.write_bytes(bytes(4 << 20))
    must_run('sync', '--file-system', disk_path)
    return disk_path


@test
def image_on_ext4_on_a_loop_device():
    check_is_drained(Dying(on_loop_and_ext4))


@test
def image_on_ext4_on_a_loop_device_with_locks_of_qemu():
    check_is_drained(Dying(on_loop_and_ext4, QEMU_LOCKS))


@test
def image_that_others_have_open():
    """That the kernel still has it open does not show then. (Without a cache, reads do not wait for the write.)"""
    dying = Dying(lambda path: on_loop_and_ext4(path, '--direct-io=on'))
    reader = spawn_process('sh', '-c', f'exec sleep infinity <{dying.disk}')
    wait_until(lambda: os.readlink(f'/proc/{reader.pid}/fd/0') == str(dying.disk), 'it to be open')
    check_is_drained(dying)


@test
def loop_device_itself():
    check_is_drained(Dying(loop_device))


@test
def loop_device_itself_with_locks_of_qemu():
    check_is_drained(Dying(loop_device, QEMU_LOCKS))


@test
def image_on_the_slow_mount():
    check_is_drained(Dying(lambda path: path))


@test
def write_that_fails_is_over_too():
    dying = Dying(loop_device, storage='hang')
    signals = Signals(path=dying.guest.path)
    dying.kill()
    # Long after the service's usual patience with what is brief.
    time.sleep(1.5)
    equal(resource(dying.guest, dying.disk)['state'], 'draining')
    assert not signals.seen
    dying.storage.be('eio')
    equal(signals.expect('LeasesReleased'), ('guest-exited', [('disk', str(dying.disk))]))
    assert not dying.has_written()
    start_guest([disk(dying.disk)])


main()
