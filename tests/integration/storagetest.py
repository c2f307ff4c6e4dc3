# SPDX-License-Identifier: LGPL-2.1-or-later
"""Verbs for tests on real storage, beside those of guestlocktest: storage that misbehaves, loop devices, mounts,
and QEMU without anybody's lease. Each ends with its test.
"""

import os
import subprocess
from pathlib import Path

from guestlocktest import (
    at_end, end_keeper, end_service, lock_on, run, skip, spawn_process, temp_dir, wait_until)

QEMU = 'qemu-system-x86_64'
# The bytes that QEMU has locked, by how it uses the image.
QEMU_BYTES = {'writer': {100, 101, 201}, 'reader': {100, 201}, 'shared': {100, 101}}


def must_run(*command, **options):
    """Runs a program that has to succeed, and gives what it said."""
    result = run(*map(str, command), **options)
    assert result.returncode == 0, f'{command} ended with {result.returncode}: {result.stdout}{result.stderr}'
    return result.stdout


def test_program(name, suite='integration'):
    path = Path(os.environ['GUESTLOCK_BUILD']) / 'tests' / suite / name
    if not path.exists():
        skip(f'{path} was not built, because its library is missing (tools/install-deps --all installs it)')
    return str(path)


# --- who is in the way ---

def holder(guest, path):
    """The part of a conflict's message that names a guest of ours."""
    return [f'guest "{guest.Name}" ({guest.Uuid}', f'holds it as "{path}"']


def resource(guest, name):
    """What the guest's property Resources has of this one."""
    found = [entry for entry in guest.Resources if entry['name'] == str(name)]
    assert len(found) == 1, f'{name} is not, or not once, in {guest.Resources}'
    return found[0]


# --- storage ---

class SlowFs:
    """A mount of slow-fs, see there. Images are made in `below`, and used in `point`."""

    def __init__(self):
        program = test_program('slow-fs')
        directory = temp_dir()
        self.below, self.point = directory / 'below', directory / 'point'
        self.control, self.log = directory / 'control', directory / 'log'
        self.below.mkdir()
        self.point.mkdir()
        self.be('ok')
        with open(self.log, 'a') as log:
            self.process = spawn_process(program, str(self.below), str(self.control), str(self.point), stdout=log,
                                         stderr=subprocess.STDOUT)
        at_end(self._end)
        wait_until(lambda: self.process.poll() is not None or self.said('ready'), 'slow-fs to mount')
        assert self.process.poll() is None, f'slow-fs: {self.log.read_text()}'

    def be(self, mode):
        """'ok', 'slow MILLISECONDS', 'hold' (writes alone), 'hang' or 'eio', from the next request on."""
        # Renamed, so that it is never read half written.
        new = self.control.with_suffix('.new')
        new.write_text(mode)
        new.rename(self.control)

    def said(self, line):
        return line in self.log.read_text().splitlines()

    def forget_log(self):
        os.truncate(self.log, 0)

    def _end(self):
        """With everybody gone who has something open here, or might hang in it."""
        self.be('ok')
        end_service()
        end_keeper()
        run('umount', '--lazy', str(self.point))


def loop_device(path, *options):
    """A loop device over the file."""
    device = must_run('losetup', '--find', '--show', *options, path).strip()
    fd = os.open(device, os.O_RDONLY)
    at_end(lambda: os.close(fd))
    # It goes with the last one who has it open, however this test ends.
    must_run('losetup', '--detach', device)
    return Path(device)


def mount(*arguments):
    """Mounts as mount(8) does; what is last is the mount point."""
    must_run('mount', *arguments)
    point = Path(arguments[-1])
    at_end(lambda: _unmount(point))
    return point


def _unmount(point):
    end_service()
    end_keeper()
    # A write in flight of a process that is gone keeps it busy. The test itself may have unmounted it.
    wait_until(lambda: f' {point} ' not in Path('/proc/self/mountinfo').read_text() or
               run('umount', str(point)).returncode == 0, f'{point} to be unmounted')


def mounted_ext4(device):
    """The device with a small file system on it, mounted."""
    point = temp_dir()
    must_run('mkfs.ext4', '-q', '-O', '^has_journal', '-E', 'lazy_itable_init=0', device)
    return mount(device, point)


# --- QEMU ---

def start_qemu(path, use='writer', driver='raw'):
    """A QEMU that nobody manages and that never boots, with the image open: a 'writer', a 'reader', or 'shared'."""
    process = spawn_process(
        QEMU, '-M', 'pc', '-accel', 'tcg', '-m', '16', '-S', '-nodefaults', '-display', 'none',
        '-blockdev', f'driver=file,filename={path},node-name=file' + (',read-only=on' if use == 'reader' else ''),
        '-blockdev', f'driver={driver},file=file,node-name=disk' + (',read-only=on' if use == 'reader' else ''),
        '-device', 'virtio-blk-pci,drive=disk' + (',share-rw=on' if use == 'shared' else ''))
    wait_until(lambda: process.poll() is not None or qemu_bytes(path) == QEMU_BYTES[use],
               f'QEMU to open {path} as {use}', 10)
    assert process.poll() is None, 'QEMU has ended'
    return process


def qemu_bytes(path):
    """Those of QEMU's bytes that are locked."""
    return {byte for byte in (100, 101, 201) if lock_on(path, byte)}
