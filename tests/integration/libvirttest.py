# SPDX-License-Identifier: LGPL-2.1-or-later
"""A real libvirtd with its virtlockd, beside the verbs of guestlocktest. Both end with their test.

They run as another user, in session mode: they need nothing of the machine's own then. With a lockspace directory,
which has to be root's, they run as root, on directories of their own.
"""

import hashlib
import os
import shutil
import socket
import uuid
from pathlib import Path

from guestlocktest import at_end, configure, run, skip, spawn_process, temp_dir, uid_of, wait_until
from storagetest import QEMU, must_run

USER = 'alice'
DOMAIN = '''<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid><memory unit='MiB'>16</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='{path}'/>
      <target dev='vda' bus='virtio'/>{element}</disk>
    <controller type='usb' model='none'/><memballoon model='none'/></devices></domain>'''


class Libvirt:
    """A libvirtd of the user's with the lock manager "lockd", and its virtlockd."""

    user, uri = USER, 'qemu:///session'

    def __init__(self):
        for program in ('libvirtd', 'virtlockd', 'virsh', QEMU):
            if not shutil.which(program):
                skip(f'{program} is missing (tools/install-deps --all installs it)')
        self.home = temp_dir(user=self.user)
        self._prepare()
        self.virtlockd = self._daemon('virtlockd')
        self.libvirtd = self._daemon('libvirtd')

    def _prepare(self):
        self.environment = {**os.environ, 'HOME': str(self.home), 'XDG_RUNTIME_DIR': str(self.home / 'run'),
                            'XDG_CONFIG_HOME': str(self.home / 'config'), 'XDG_CACHE_HOME': str(self.home / 'cache')}
        for directory in ('run', 'config', 'config/libvirt', 'cache'):
            (self.home / directory).mkdir()
            os.chown(self.home / directory, uid_of(USER), -1)
        (self.home / 'config/libvirt/qemu.conf').write_text('lock_manager = "lockd"\n')
        self.sockets = self.home / 'run/libvirt'

    def _daemon(self, program):
        log = open(self.home / f'{program}.log', 'w')
        process = spawn_process(program, '--pid-file', str(self.home / f'{program}.pid'), user=self.user,
                                env=self.environment, cwd='/', stdout=log, stderr=log)
        log.close()
        path = self.sockets / ('libvirt-sock' if program == 'libvirtd' else f'{program}-sock')
        wait_until(lambda: listens(path) or process.poll() is not None, program, 10)
        assert process.poll() is None, (self.home / f'{program}.log').read_text()
        return process

    def virsh(self, *arguments):
        return run('virsh', '--connect', self.uri, '--quiet', *arguments, user=self.user, env=self.environment)

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


def listens(path):
    """Whether somebody takes connections there: the socket is there a moment before."""
    with socket.socket(socket.AF_UNIX) as end:
        try:
            end.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


def add_line(path, line):
    """To one of the files that are the test's own, until it ends. Whoever reads it meanwhile always sees the rest."""
    size = path.stat().st_size
    with open(path, 'a') as file:
        file.write(f'{line}\n')
    at_end(lambda: os.truncate(path, size))


class LibvirtWithLockspace(Libvirt):
    """Root's, whose virtlockd locks files in a lockspace directory and no images."""

    user, uri = None, 'qemu:///system'

    def _prepare(self):
        self.environment = dict(os.environ)
        self.sockets = Path('/run/libvirt')
        self.lockspace = self.home / 'lockspace'
        self.lockspace.mkdir(0o700)
        for place in ('/etc/libvirt', '/run/libvirt', '/var/lib/libvirt', '/var/log/libvirt', '/var/cache/libvirt'):
            own = self.home / place[1:].replace('/', '-')
            own.mkdir()
            Path(place).mkdir(exist_ok=True)
            must_run('mount', '--bind', own, place)
            at_end(lambda place=place: must_run('umount', place))
        # libvirtd looks for this user before it reads that it is to use another.
        for file, line in (('passwd', 'libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin'),
                           ('group', 'libvirt-qemu:x:64055:')):
            add_line(Path('/etc', file), line)
        etc = Path('/etc/libvirt')
        (etc / 'qemu.conf').write_text(
            'lock_manager = "lockd"\nuser = "root"\ngroup = "root"\ndynamic_ownership = 0\nremember_owner = 0\n'
            'security_driver = "none"\ncgroup_controllers = []\nnamespaces = []\nstdio_handler = "file"\n')
        (etc / 'qemu-lockd.conf').write_text(f'auto_disk_leases = 1\nfile_lockspace_dir = "{self.lockspace}"\n')
        (etc / 'libvirtd.conf').write_text('auth_unix_ro = "none"\nauth_unix_rw = "none"\n')


def lock_file(libvirt, path):
    return libvirt.lockspace / hashlib.sha256(str(path).encode()).hexdigest()


def with_lockspace():
    libvirt = LibvirtWithLockspace()
    configure(f'[guestlock]\nLockspaceDirectory={libvirt.lockspace}\n')
    return libvirt
