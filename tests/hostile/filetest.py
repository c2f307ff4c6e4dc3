# SPDX-License-Identifier: LGPL-2.1-or-later
"""Verbs for attacks through files and descriptors, beside those of guestlocktest: what is root's alone, a watch that
notices who opens it, what the service has open, and what a user can build to deceive it. Each ends with its test.
"""

import ctypes
import fcntl
import os
import pwd
import select
import stat
import struct
import subprocess
from pathlib import Path

from guestlocktest import (
    ROOT, Error, as_uid, at_end, bus, create_guest, disk, end_keeper, end_process, end_service, equal, image,
    keeper_pid, manager, run, service_pid, spawn_process, start_guest, temp_dir, wait_until)
from storagetest import must_run, test_program

_libc = ctypes.CDLL(None, use_errno=True)
_SYS_PIDFD_GETFD = 438
_IN_ACCESS, _IN_MODIFY, _IN_OPEN = 0x1, 0x2, 0x20
NEXT = 1 << 62
WRITABLE = ('exclusive', 'shared')
MODES = (*WRITABLE, 'readonly')


def secret(directory=None, name='secret.img', mode=0o600):
    """An image of root's that, unless `mode` says so, nobody else may open."""
    path = image(directory or temp_dir(), name)
    path.chmod(mode)
    return path


# --- who opens what ---

class Watch:
    """Notices each opening, reading and writing of these files by whatever name; looking at them and opening them
    with O_PATH are none."""

    def __init__(self, *paths):
        self.fd = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self.fd >= 0, 'no inotify'
        at_end(lambda: os.close(self.fd))
        self.paths = {}
        for path in paths:
            number = _libc.inotify_add_watch(self.fd, os.fsencode(path), _IN_OPEN | _IN_ACCESS | _IN_MODIFY)
            assert number >= 0, f'{path} cannot be watched: {os.strerror(ctypes.get_errno())}'
            self.paths[number] = str(path)
        # That it does notice.
        os.close(os.open(paths[0], os.O_RDONLY))
        equal(self.opened(), [str(paths[0])])

    def opened(self):
        """The files that were opened, read or written since this was asked last."""
        opened = []
        try:
            events = os.read(self.fd, 65536)
        except BlockingIOError:
            return opened
        while events:
            number, _mask, _cookie, length = struct.unpack_from('iIII', events)
            events = events[16 + length:]
            opened.append(self.paths[number])
        return opened

    def nothing(self):
        equal(self.opened(), [])


def _identity(file):
    return file.st_rdev if stat.S_ISBLK(file.st_mode) else (file.st_dev, file.st_ino)


def tidied_up():
    """The service, of what it has answered already: it answers first and closes then. Gives its pid."""
    bus.call(ROOT, 'org.freedesktop.DBus.Peer', 'Ping')
    return service_pid()


def service_access(path, pid=None):
    """How the service has this file open, one word for each descriptor: 'read', 'write' (or both), 'path'."""
    file, pid, found = os.stat(path), pid or tidied_up(), []
    for entry in Path(f'/proc/{pid}/fd').iterdir():
        try:
            has = entry.stat()
            info = Path(f'/proc/{pid}/fdinfo/{entry.name}').read_text()
        except FileNotFoundError:
            continue
        if _identity(has) == _identity(file):
            flags = int(info.partition('flags:')[2].split()[0], 8)
            found.append('path' if flags & os.O_PATH else {os.O_RDONLY: 'read'}.get(flags & os.O_ACCMODE, 'write'))
    return sorted(found)


def n_descriptors():
    return len(os.listdir(f'/proc/{tidied_up()}/fd'))


def wait_for_keeper(path):
    """Until guestlock-keeper has the lease on this file: where it is slow, the service grants it without."""
    def has_it():
        pid = keeper_pid()
        try:
            return pid and service_access(path, pid)
        except FileNotFoundError:
            return False
    wait_until(has_it, f'guestlock-keeper to have {path}', 30)


def outcome(call, *arguments):
    """'' or the last part of the error's name."""
    try:
        call(*arguments)
    except Error as error:
        return error.name.rpartition('.')[2]
    return ''


class Attacker:
    """A user, and guests of his through which he tries to get at what is not his."""

    def __init__(self, user='alice'):
        self.peer, self.directory = as_uid(user), temp_dir(user)
        self.own = image(self.directory, 'own.img', user)
        self.new = create_guest('new', peer=self.peer)
        self.held = start_guest([disk(self.own)], 'held', peer=self.peer)

    def ways(self, name, mode):
        """Every way to ask for a path: what each is called, and the call."""
        arguments = disk(name, mode)
        return {'register': lambda: self.new.RegisterResource(*arguments),
                'plug': lambda: self.held.AcquireResource(*arguments),
                'start': lambda: start_guest([arguments], peer=self.peer)}

    def gets(self, name, mode):
        """What each of them ends in, '' where it is granted."""
        return {outcome(call) for call in self.ways(name, mode).values()}

    def has_nothing_else(self):
        """None of his attempts has left anything."""
        equal([self.new.Resources, [resource['name'] for resource in self.held.Resources]], [[], [str(self.own)]])
        equal((manager().NGuests, manager().NLeases), (2, 1))


# --- what a user builds ---

_OFD_SETLK = 37


def lock_byte(fd, *bytes_, kind=fcntl.F_WRLCK):
    """Locks these bytes of what is open; the locks go with the description."""
    for byte in bytes_:
        fcntl.fcntl(fd, _OFD_SETLK, struct.pack('hhqqi4x', kind, os.SEEK_SET, byte, 1, 0))


_SWAPPER = '''
import ctypes, sys, threading
libc, n = ctypes.CDLL(None), 0
one, other = (name.encode() for name in sys.argv[1:3])
over, enough = threading.Event(), int(sys.argv[3])
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
print('ready', flush=True)
while not over.is_set():
    before = n
    for _ in range(16):
        n += libc.renameat2(-100, one, -100, other, 2) == 0
    if before < enough <= n:
        print('enough', flush=True)
print(n)
'''


class Swapper:
    """A user's process that lets two names change places, over and over; has_swapped() when that was `enough` times."""

    def __init__(self, one, other, enough, user='alice'):
        self.process = spawn_process('/usr/bin/python3', '-c', _SWAPPER, str(one), str(other), str(enough), user=user,
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        equal(self.process.stdout.readline(), 'ready\n')

    def has_swapped(self):
        return bool(select.select([self.process.stdout], [], [], 0)[0])

    def end(self):
        """Gives how often they did."""
        self.process.stdin.close()
        swaps = int(self.process.stdout.read().split()[-1])
        self.process.wait(40)
        return swaps


class HostileFs:
    """A file system of alice's own, see hostile-fs.c. With allow_other it answers the service as well, which a
    machine does not let her have unless its administrator says so in /etc/fuse.conf."""

    def __init__(self, allow_other=False, user='alice'):
        program, directory = test_program('hostile-fs', 'hostile'), temp_dir(user)
        self.point, self.control, log = directory / 'mnt', directory / 'control', directory / 'log'
        self.point.mkdir()
        os.chown(self.point, directory.stat().st_uid, -1)
        self.be()
        let_users_mount()
        if allow_other:
            _let_users_allow_others()
        with open(log, 'w') as output:
            self.process = spawn_process(program, str(self.control), str(self.point),
                                         *['allow_other'] * allow_other, user=user, stdout=output,
                                         stderr=subprocess.STDOUT)
        at_end(self._end)
        wait_until(lambda: self.process.poll() is not None or 'ready' in log.read_text(), 'hostile-fs to mount')
        assert self.process.poll() is None, f'hostile-fs: {log.read_text()}'

    def be(self, **what):
        """type, target, inode, size, device, look, open, hang: see hostile-fs.c."""
        new = self.control.with_suffix('.new')
        new.write_text(' '.join(f'{key}={value}' for key, value in ({'inode': 4711, 'size': 1 << 20} | what).items()))
        new.chmod(0o644)
        new.rename(self.control)

    def _end(self):
        self.be()
        end_service()
        end_keeper()
        run('umount', '--lazy', str(self.point))


def _cover(path, other):
    """In the mount namespace that the test has to itself."""
    must_run('mount', '--bind', other, path)
    at_end(lambda: run('umount', path))


def let_users_mount():
    """As udev does everywhere, and a container need not."""
    node = temp_dir() / 'fuse'
    os.mknod(node, 0o020666, os.stat('/dev/fuse').st_rdev)
    node.chmod(0o666)
    _cover('/dev/fuse', node)


def _let_users_allow_others():
    file = temp_dir() / 'fuse.conf'
    file.write_text('user_allow_other\n')
    _cover('/etc/fuse.conf', file)


_READER = '''
import ctypes, fcntl, os, signal, struct, sys
path, flags, covered = sys.argv[1], int(sys.argv[2]), sys.argv[3]
fd = os.open(path, flags)
for byte in map(int, sys.argv[4].split()):
    fcntl.fcntl(fd, 37, struct.pack('hhqqi4x', fcntl.F_RDLCK, 0, byte, 1, 0))
if covered:
    libc = ctypes.CDLL(None)
    libc.mmap.restype, libc.mmap.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 4
    words = int(open('/proc/self/stat').read().rpartition(')')[2].split()[45])
    page = (words + 8191) & ~4095
    assert libc.mmap(page, 8192, 1, 0x12, os.open(covered, os.O_RDONLY), 0) == page
print(fd, flush=True)
signal.pause()
'''


def has_open(path, flags=os.O_RDONLY, locks=(), words_on='', user='alice'):
    """A user's process that has the file open, these bytes of it locked for reading, and its own command line, if
    wanted, on a file that answers when it likes. Gives the process and the descriptor's number there."""
    process = spawn_process('/usr/bin/python3', '-c', _READER, str(path), str(flags), str(words_on),
                            ' '.join(map(str, locks)), 'x' * 40000, user=user, stdout=subprocess.PIPE, text=True)
    answer = process.stdout.readline()
    assert answer, f'{user} cannot open or lock {path}'
    return process, int(answer)


def in_user_namespace(script, then='echo ready; exec sleep infinity', user='alice'):
    """A user's process that is root in user and mount namespaces of its own and has run `script` there;
    `then` says "ready" and stays."""
    process = spawn_process('unshare', '--user', '--map-root-user', '--mount', 'sh', '-ec',
                            f'{script}\n{then}', user=user, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)
    answer = process.stdout.readline()
    if answer != 'ready\n':
        end_process(process)
        raise AssertionError(f'no user namespace: {process.stderr.read()}')
    return process


def passed_by(process, number):
    """A descriptor of this process's, as if it had sent it: where only he can open it."""
    pidfd = os.pidfd_open(process.pid)
    try:
        fd = _libc.syscall(_SYS_PIDFD_GETFD, pidfd, number, 0)
    finally:
        os.close(pidfd)
    assert fd >= 0, os.strerror(ctypes.get_errno())
    at_end(lambda: os.close(fd))
    return fd


def opened(path, flags=os.O_RDWR):
    """A descriptor for as long as the test runs."""
    fd = os.open(path, flags | os.O_CLOEXEC)
    at_end(lambda: os.close(fd))
    return fd


def opened_as(user, path, flags=os.O_RDWR):
    """The same, opened as this user: only what he may."""
    entry = pwd.getpwnam(user)
    before = os.getgroups()
    os.setgroups([])
    os.setegid(entry.pw_gid)
    os.seteuid(entry.pw_uid)
    try:
        return opened(path, flags)
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)
