# SPDX-License-Identifier: LGPL-2.1-or-later
"""The real virtlockd, whose locks libvirt takes for a guest: it keeps us out of its images, and we it out of ours.

libvirtd and virtlockd run as another user, in session mode: they need nothing of the machine's own then. With a
lockspace directory, which has to be root's, they run as root, on directories of their own."""

import hashlib
import os
import shutil
import uuid
from pathlib import Path

from guestlocktest import (
    at_end, configure, create_guest, disk, equal, fails, image, is_locked, lock_on, main, restart_service, run, skip,
    spawn_process, start_guest, temp_dir, test, uid_of, wait_until)
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
        socket = self.sockets / ('libvirt-sock' if program == 'libvirtd' else f'{program}-sock')
        wait_until(lambda: socket.exists() or process.poll() is not None, program, 10)
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


def add_line(path, line):
    """To one of the files that are the test's own, until it ends."""
    before = path.read_text()
    path.write_text(f'{before}{line}\n')
    at_end(lambda: path.write_text(before))


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
    pending = waiting.later.Acquire({'wait-ms': 10000})
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
