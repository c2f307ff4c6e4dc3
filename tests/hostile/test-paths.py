# SPDX-License-Identifier: LGPL-2.1-or-later
"""alice gives names that lead to what is root's, by every way there is. Root's files are watched: the service never
opens one for her, whatever it answers."""

import os
import signal
import subprocess

from guestlocktest import (
    GLib, as_uid, create_guest, disk, end_keeper, end_service, equal, fails, image, lock_on, main, manager,
    restart_service, service_pid, spawn_process, start_guest, start_service, temp_dir, test, uid_of)
from polkittest import polkit_rules
from filetest import (
    MODES, WRITABLE, Attacker, Watch, in_user_namespace, opened, outcome, secret, service_access, wait_for_keeper)
from storagetest import loop_device, mount, must_run

GROUP = 61234


# --- names ---

@test
def names_of_roots_files():
    alice = Attacker()
    own, own_process = alice.directory, spawn_process(user='alice')
    path = secret()
    elsewhere, name = path.parent, path.name
    sticky = temp_dir()
    sticky.chmod(0o1777)
    for directory in (own, sticky):
        (directory / 'link').symlink_to(path)
        (directory / 'twice').symlink_to('link')
        (directory / 'way').symlink_to(elsewhere)
        (directory / 'up').symlink_to(f'../{elsewhere.name}')
        for link in ('link', 'twice', 'way', 'up'):
            os.chown(directory / link, uid_of('alice'), -1, follow_symlinks=False)
    os.link(path, own / 'hard')
    watch = Watch(path)
    for given in (path, f'/{path}', f'{elsewhere}/./{name}', f'{own}/../{elsewhere.name}/{name}', own / 'link',
                  own / 'twice', own / 'way' / name, own / 'up' / name, f'{own}/way/../{elsewhere.name}/{name}',
                  own / 'hard', sticky / 'link', sticky / 'twice', sticky / 'way' / name, sticky / 'up' / name):
        for mode in MODES:
            equal((given, alice.gets(given, mode)), (given, {'AccessDenied'}))
    # Through a magic link of /proc a name would become a descriptor: of the service's, or of root's.
    fd, pid = opened(path), service_pid()
    for given in (f'/proc/self/root{path}', f'/proc/thread-self/root{path}', f'/proc/{pid}/root{path}',
                  f'/proc/{own_process.pid}/root{path}', f'/proc/{own_process.pid}/cwd/{path}', f'/proc/self/cwd{path}',
                  '/proc/self/fd/3', '/dev/fd/3', '/dev/stdin', f'/proc/{pid}/fd/3', '/proc/self/exe'):
        for mode in MODES:
            equal((given, alice.gets(given, mode)), (given, {'InvalidArgs'}))
    for given in (f'/proc/{os.getpid()}/fd/{fd}', f'/proc/{os.getpid()}/task/{os.getpid()}/fd/{fd}'):
        equal(alice.gets(given, 'readonly'), {'AccessDenied'})
    # Not a directory, whoever asks.
    for given in (f'{path}/', f'{path}/.', f'{path}/..', f'{own}/link/', f'{own}/hard/'):
        equal(alice.gets(given, 'readonly'), {'StorageUnavailable'})
    equal(watch.opened(), [str(path)])
    alice.has_nothing_else()


@test
def lease_files():
    """A lease file is opened like a disk."""
    alice, path = Attacker(), secret()
    (alice.directory / 'link').symlink_to(path)
    watch = Watch(path)
    for mode in MODES:
        for given in (path, alice.directory / 'link', f'/proc/self/root{path}'):
            for guest, method in ((alice.new, 'RegisterResource'), (alice.held, 'AcquireResource')):
                options = {'path': str(given), 'offset': GLib.Variant('t', 4096)}
                error = outcome(getattr(guest, method), 'lease', 'key', mode, options)
                equal(error, 'InvalidArgs' if 'proc' in str(given) else 'AccessDenied')
    watch.nothing()
    alice.has_nothing_else()


@test
def files_that_the_kernel_makes_up():
    """/proc/self would be the service, and what asks for capabilities at the opening would find the service's."""
    alice, process = Attacker(), spawn_process(user='alice')
    for given in ('/proc/self/maps', '/proc/thread-self/maps', '/proc/self/fdinfo/0', '/proc/self/mem',
                  f'/proc/{service_pid()}/maps', '/proc/1/maps', f'/proc/{process.pid}/mem',
                  f'/proc/{process.pid}/oom_score_adj', '/proc/version', '/proc/pressure/cpu',
                  '/sys/kernel/uevent_seqnum'):
        if os.path.exists(given):
            for mode in MODES:
                equal((given, alice.gets(given, mode)), (given, {'InvalidArgs'}))
    # What she may open of them as a descriptor is no disk either.
    for given, flags in (('/proc/version', os.O_RDONLY), ('/sys/kernel/uevent_seqnum', os.O_RDONLY)):
        with fails('InvalidArgs', contains='/vda'):
            alice.new.RegisterResourceFd('disk', '/vda', opened(given, flags), 'readonly', {})
    alice.has_nothing_else()


# --- rights ---

@test
def files_that_may_be_read_only():
    alice, path = Attacker(), secret(mode=0o644)
    (alice.directory / 'link').symlink_to(path)
    watch = Watch(path)
    for given in (path, alice.directory / 'link'):
        for mode in WRITABLE:
            equal(alice.gets(given, mode), {'AccessDenied'})
    watch.nothing()
    alice.new.RegisterResource(*disk(path, 'readonly'))
    alice.new.Acquire({})
    equal(service_access(path), ['read'])
    # What is held readonly is not raised without the right to write, in whatever state the guest is.
    for mode in WRITABLE:
        for given in (path, alice.directory / 'link'):
            with fails('AccessDenied', contains=str(given)):
                alice.new.AcquireResource(*disk(given, mode))
    restart_service()
    with fails('AccessDenied'):
        alice.new.AcquireResource(*disk(path))
    equal(service_access(path), ['read'])
    state = alice.new.Release({})
    with fails('AccessDenied'):
        alice.new.AcquireResource(*disk(path))
    alice.new.Acquire({'state': state})
    equal((service_access(path), [resource['mode'] for resource in alice.new.Resources]), (['read'], ['readonly']))


@test
def files_that_may_be_written_only():
    """Every lease reads: a file that she may only write to is none for her."""
    alice, path = Attacker(), secret(mode=0o622)
    watch = Watch(path)
    for mode in MODES:
        equal(alice.gets(path, mode), {'AccessDenied'})
    watch.nothing()


@test
def directories_that_may_not_be_searched():
    alice, closed = Attacker(), temp_dir()
    path = secret(closed, mode=0o666)
    registered = image(alice.directory, 'registered.img', 'alice')
    alice.new.RegisterResource(*disk(registered))
    closed.chmod(0o644)
    (alice.directory / 'link').symlink_to(path)
    watch = Watch(path)
    for given in (path, alice.directory / 'link', f'{closed}/../{closed.name}/{path.name}', f'{closed}/absent',
                  f'{closed}/absent/{path.name}'):
        for mode in MODES:
            equal(alice.gets(given, mode), {'AccessDenied'})
    watch.nothing()
    # One that is closed after the registration, before the grant.
    os.chown(alice.directory, 0, 0)
    alice.directory.chmod(0o700)
    watch = Watch(registered)
    with fails('AccessDenied', contains=str(registered)):
        alice.new.Acquire({})
    watch.nothing()
    alice.directory.chmod(0o755)
    alice.new.Acquire({})


@test
def group_rights_that_are_lost():
    """The groups are those of the connection, and what they give is looked at when it is used."""
    member, stranger = as_uid('alice', groups=[uid_of('alice'), GROUP]), as_uid('alice')
    directory = temp_dir()
    path = secret(directory, mode=0o660)
    os.chown(path, 0, GROUP)
    for mode in MODES:
        equal(outcome(start_guest, [disk(path, mode)], 'guest', {}, None, stranger), 'AccessDenied')
    guest = create_guest(peer=member)
    guest.RegisterResource(*disk(path))
    watch = Watch(path)
    for mode in (0o640, 0o600):
        path.chmod(mode)
        with fails('AccessDenied', contains=str(path)):
            guest.Acquire({})
    path.chmod(0o660)
    os.chown(path, 0, GROUP + 1)
    with fails('AccessDenied', contains=str(path)):
        guest.Acquire({})
    # A group of the service's own is none of hers: it runs with root's.
    os.chown(path, 0, 0)
    with fails('AccessDenied', contains=str(path)):
        guest.Acquire({})
    watch.nothing()
    os.chown(path, 0, GROUP)
    guest.Acquire({})
    equal(service_access(path), ['write'])
    # What she may not open any more stays hers where it was kept; else it is not opened again, and the lease stays.
    path.chmod(0o600)
    wait_for_keeper(path)
    restart_service()
    equal((guest.State, service_access(path)), ('held', ['write']))
    end_service(signal.SIGKILL)
    end_keeper()
    start_service()
    equal((guest.State, service_access(path)), ('held', []))
    assert guest.Resources[0]['scope-reason'].startswith('its lock could not be taken again'), guest.Resources


# --- who the caller is ---

CALL_AND_EXEC = '''
import os, sys
from guestlocktest import *
setuid, path, method = sys.argv[1:]
guest = create_guest()
if method == 'Acquire':
    guest.RegisterResource(*disk(path))
fd = bus.connection.get_stream().get_socket().get_fd()
print('ready', flush=True)
sys.stdin.readline()
getattr(guest.later, method)(*disk(path) if method == 'RegisterResource' else [{}])
bus.connection.flush_sync()
os.set_inheritable(fd, True)
os.execv(setuid, ['setuid', '-c', """
import os, socket
print(*os.getresuid(), flush=True)
bus, text = socket.socket(fileno=%d), b''
bus.settimeout(100)
while b'Error' not in text:
    text += bus.recv(65536)
print(text)
""" % fd])
'''


def answer_after_setuid(method, path, before_answer=None):
    """alice's process calls, and has become root's by the time that the service looks at the call."""
    setuid = temp_dir() / 'python'
    must_run('cp', os.path.realpath('/usr/bin/python3'), setuid)
    setuid.chmod(0o4755)
    process = spawn_process('/usr/bin/python3', '-c', CALL_AND_EXEC, str(setuid), str(path), method, user='alice',
                            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    equal(process.stdout.readline(), 'ready\n')
    pid = start_service()
    os.kill(pid, signal.SIGSTOP)
    try:
        process.stdin.write('go\n')
        process.stdin.flush()
        ids = process.stdout.readline()
        if before_answer:
            before_answer()
    finally:
        os.kill(pid, signal.SIGCONT)
    equal(ids, f'{uid_of("alice")} 0 0\n')
    return process.stdout.read()


@test
def setuid_program_between_call_and_check():
    path = secret()
    watch = Watch(path)
    answer = answer_after_setuid('RegisterResource', path)
    assert 'org.freedesktop.DBus.Error.AccessDenied' in answer and str(path) in answer, answer
    watch.nothing()
    equal(manager().NLeases, 0)


@test
def setuid_program_before_the_grant():
    """What was hers when she registered it and is root's now."""
    directory = temp_dir('alice')
    path = image(directory, user='alice')

    def take_away():
        os.chown(path, 0, 0)
        path.chmod(0o600)
    answer = answer_after_setuid('Acquire', path, take_away)
    assert 'org.freedesktop.DBus.Error.AccessDenied' in answer and str(path) in answer, answer
    equal((manager().NLeases, service_access(path)), (0, []))


# --- namespaces of her own ---

@test
def mounts_that_only_she_sees():
    """A name is the service's, not hers; and a descriptor from there has no name here that a rule could go by."""
    directory = temp_dir('alice')
    (directory / 'srv').mkdir()
    os.chown(directory / 'srv', uid_of('alice'), -1)
    path = secret(directory / 'srv', 'disk.img')
    process = in_user_namespace(f'mount -t tmpfs none {directory}/srv; truncate -s 1M {directory}/srv/disk.img')
    hers = f'/proc/{process.pid}/root{path}'
    alice, watch = Attacker(), Watch(path)
    for mode in MODES:
        equal(alice.gets(path, mode), {'AccessDenied'})
        equal(alice.gets(hers, mode), {'InvalidArgs'})
    polkit_rules(f'''polkit.addRule(function(action, subject) {{
        var path = action.lookup("resource");
        if (subject.user == "alice" && path !== undefined && path.indexOf("{directory}/") != 0)
            return polkit.Result.NO;
    }});''')
    # A connection is not asked again for what it was granted.
    guest = create_guest(peer=as_uid('alice'))
    fd = opened(hers)
    with fails('AccessDenied', contains='org.guestlock1.acquire'):
        guest.RegisterResourceFd('disk', str(path), fd, 'exclusive', {})
    watch.nothing()
    polkit_rules('')
    # Where she may, it is her own file that is leased.
    guest.RegisterResourceFd('disk', str(path), fd, 'exclusive', {})
    guest.Acquire({})
    equal((service_access(path), service_access(hers), lock_on(hers, 0)), ([], ['path', 'write'], 'write'))
    watch.nothing()


@test
def overlay_over_roots_files():
    """There alice is root, and root's files are no more hers than before; a lease on one is a lease on the overlay."""
    below, directory = temp_dir(), temp_dir('alice')
    path = secret(below, 'disk.img', mode=0o644)
    process = in_user_namespace(f'''cd {directory}; mkdir upper work merged
        mount -t overlay none -o lowerdir={below},upperdir=upper,workdir=work,userxattr merged
        ! echo hers 2>/dev/null >>merged/disk.img''')
    merged = f'/proc/{process.pid}/root{directory}/merged/disk.img'
    guest, fd = create_guest(peer=as_uid('alice')), opened(merged, os.O_RDONLY)
    with fails('InvalidArgs'):
        guest.RegisterResource(*disk(merged, 'readonly'))
    for mode in WRITABLE:
        with fails('AccessDenied'):
            guest.RegisterResourceFd('disk', '/vda', fd, mode, {})
    guest.RegisterResourceFd('disk', '/vda', fd, 'readonly', {})
    guest.Acquire({})
    equal((guest.Resources[0]['scope'], service_access(merged)), ('mount', ['path', 'read']))
    # Nobody is kept from the real one.
    start_guest([disk(path)])


# --- devices ---

@test
def devices_that_she_may_not_open():
    alice, directory = Attacker(), temp_dir()
    device = loop_device(image(temp_dir(on_disk=True)))
    # To open a watchdog starts it.
    for name, number in (('watchdog', (10, 130)), ('mem', (1, 1)), ('kmsg', (1, 11)), ('full', (1, 7))):
        os.mknod(directory / name, 0o020666, os.makedev(*number))
        (directory / name).chmod(0o666)
    os.mknod(directory / 'disk', 0o060660, device.stat().st_rdev)
    (alice.directory / 'link').symlink_to(directory / 'disk')
    watch = Watch(directory / 'full', *(directory / name for name in ('watchdog', 'mem', 'kmsg', 'disk')))
    for mode in MODES:
        for name in ('watchdog', 'mem', 'kmsg', 'full'):
            equal(alice.gets(directory / name, mode), {'InvalidArgs'})
        for given in (device, directory / 'disk', alice.directory / 'link'):
            equal(alice.gets(given, mode), {'AccessDenied'})
    watch.nothing()
    # One that she may only read: a claim would need no more, and is not for readers.
    (directory / 'disk').chmod(0o664)
    for mode in WRITABLE:
        equal(alice.gets(directory / 'disk', mode), {'AccessDenied'})
    equal(outcome(alice.new.RegisterResource, *disk(directory / 'disk', 'readonly')), '')
    alice.new.Acquire({})
    equal(service_access(device), ['read'])
    os.close(os.open(device, os.O_RDONLY | os.O_EXCL))


@test
def device_nodes_where_there_should_be_none():
    """On a mount that is nodev nobody can open one, whatever its mode."""
    alice, point = Attacker(), mount('-t', 'tmpfs', '-o', 'nodev,mode=755', 'none', temp_dir())
    device = loop_device(image(temp_dir(on_disk=True)))
    os.mknod(point / 'disk', 0o060666, device.stat().st_rdev)
    (point / 'disk').chmod(0o666)
    for mode in MODES:
        equal(alice.gets(point / 'disk', mode), {'AccessDenied'})
    alice.has_nothing_else()
    # The same node elsewhere is as good as its mode, until the mount is changed under it.
    must_run('mount', '-o', 'remount,dev', point)
    alice.new.RegisterResource(*disk(point / 'disk'))
    must_run('mount', '-o', 'remount,nodev', point)
    with fails('AccessDenied', contains='disk'):
        alice.new.Acquire({})
    equal(service_access(device), [])


main()
