# SPDX-License-Identifier: LGPL-2.1-or-later
"""The real virtlockd, whose locks libvirt takes for a guest: it keeps us out of its images, and we it out of ours.

libvirtd and virtlockd run as another user, in session mode: they need nothing of the machine's own then."""

import os
import shutil
import uuid

from guestlocktest import (
    at_end, create_guest, disk, equal, fails, image, lock_on, main, run, skip, spawn_process, start_guest, temp_dir,
    test, uid_of, wait_until)
from storagetest import QEMU

USER = 'alice'
DOMAIN = '''<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>16</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{path}'/>
      <target dev='vda' bus='virtio'/>{element}</disk>
    <controller type='usb' model='none'/><memballoon model='none'/></devices></domain>'''


class Libvirt:
    """A libvirtd of the user's with the lock manager "lockd", and its virtlockd."""

    def __init__(self):
        for program in ('libvirtd', 'virtlockd', 'virsh', QEMU):
            if not shutil.which(program):
                skip(f'{program} is missing (tools/install-deps --all installs it)')
        self.home = temp_dir(user=USER)
        self.environment = {**os.environ, 'HOME': str(self.home), 'XDG_RUNTIME_DIR': str(self.home / 'run'),
                            'XDG_CONFIG_HOME': str(self.home / 'config'), 'XDG_CACHE_HOME': str(self.home / 'cache')}
        for directory in ('run', 'config', 'config/libvirt', 'cache'):
            (self.home / directory).mkdir()
            os.chown(self.home / directory, uid_of(USER), -1)
        (self.home / 'config/libvirt/qemu.conf').write_text('lock_manager = "lockd"\n')
        self.virtlockd = self._daemon('virtlockd')
        self.libvirtd = self._daemon('libvirtd')

    def _daemon(self, program):
        log = open(self.home / f'{program}.log', 'w')
        process = spawn_process(program, user=USER, env=self.environment, cwd='/', stdout=log, stderr=log)
        log.close()
        socket = self.home / 'run/libvirt' / ('libvirt-sock' if program == 'libvirtd' else f'{program}-sock')
        wait_until(lambda: socket.exists() or process.poll() is not None, program, 10)
        assert process.poll() is None, (self.home / f'{program}.log').read_text()
        return process

    def virsh(self, *arguments):
        return run('virsh', '--connect', 'qemu:///session', '--quiet', *arguments, user=USER, env=self.environment)

    def define(self, name, path, element=''):
        xml = self.home / 'domain.xml'
        xml.write_text(DOMAIN.format(name=name, uuid=uuid.uuid4(), path=path, element=element))
        self.check(self.virsh('define', str(xml)))

    def start(self, name):
        at_end(lambda: self.virsh('destroy', name))
        self.check(self.virsh('start', name))

    def destroy(self, name):
        self.check(self.virsh('destroy', name))

    @staticmethod
    def check(result):
        assert result.returncode == 0, result.stderr


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
    pending = waiting.later.Acquire({'wait-ms': 10000})
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
