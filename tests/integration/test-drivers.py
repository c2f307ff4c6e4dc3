# SPDX-License-Identifier: LGPL-2.1-or-later
"""Drivers that are loaded and unloaded, and the life of guests of the one that leases guests alone."""

import os
import shutil
import signal
from pathlib import Path

from guestlocktest import (
    LOG, NAME, RUNTIME_DIR, Signals, as_uid, at_end, configure, create_guest, disk, end_process, end_service, equal,
    fails, has_owner, image, is_locked, lock_on, main, manager, restart_service, run, service_pid, spawn_process,
    start_guest, start_service, temp_dir, test, uid_of, wait_until)
from polkittest import polkit_agent, polkit_rules

DRIVER_DIR = Path(os.environ['GUESTLOCK_DRIVER_DIR'])
PLUGIN = DRIVER_DIR / 'guest-only.so'
ALONE = {'driver': 'guest-only'}


def drivers():
    return dict(manager().ListDrivers())


def load():
    manager().LoadDriver('guest-only', {})


def is_mapped():
    """Whether the service has code of the plugin's in memory."""
    return str(PLUGIN) in Path(f'/proc/{service_pid()}/maps').read_text()


def without_plugin():
    """From now on there is no such driver, until the test ends or what this gives is called."""
    hidden = PLUGIN.with_suffix('.hidden')

    def come_back():
        if hidden.exists():
            hidden.rename(PLUGIN)

    PLUGIN.rename(hidden)
    at_end(come_back)
    return come_back


def logged_since(begin):
    return LOG.read_bytes()[begin:].decode(errors='replace')


# --- loading ---

@test
def load_and_unload():
    equal(list(drivers()), ['file'])
    begin = LOG.stat().st_size
    for _ in range(2):
        load()
        equal(drivers()['guest-only'], ['guest-only'])
        assert is_mapped()
    for _ in range(2):
        manager().UnloadDriver('guest-only', {})
        equal(list(drivers()), ['file'])
        assert not is_mapped()
    equal([line.split('The driver ')[1] for line in logged_since(begin).splitlines() if 'The driver' in line],
          ['"guest-only" has been loaded.', '"guest-only" has been unloaded.'])
    load()
    assert is_mapped()


@test
def what_cannot_be():
    for method in (manager().LoadDriver, manager().UnloadDriver):
        with fails('NoSuchDriver', contains='"nosuch"'):
            method('nosuch', {})
        for name in ('', '..', '../drivers/guest-only', str(PLUGIN), 'Guest', 'x' * 33):
            with fails('InvalidArgs'):
                method(name, {})
        with fails('InvalidArgs', contains='force'):
            method('guest-only', {'force': True})
    manager().LoadDriver('file', {})
    with fails('NotSupported', contains='built into'):
        manager().UnloadDriver('file', {})
    equal(list(drivers()), ['file'])


@test
def what_is_not_roots():
    def put_back():
        os.chown(PLUGIN, 0, 0)
        PLUGIN.chmod(0o644)
        DRIVER_DIR.chmod(0o755)
    at_end(put_back)
    for spoil, part in ((lambda: os.chown(PLUGIN, uid_of('alice'), 0), f'uid {uid_of("alice")}'),
                        (lambda: PLUGIN.chmod(0o666), 'written to by others'),
                        (lambda: DRIVER_DIR.chmod(0o777), 'written to by others'),
                        (lambda: DRIVER_DIR.parent.chmod(0o777), 'written to by others')):
        mode = DRIVER_DIR.parent.stat().st_mode
        spoil()
        try:
            with fails('DriverFailed', contains=part):
                load()
        finally:
            put_back()
            DRIVER_DIR.parent.chmod(mode)
    (DRIVER_DIR / 'link.so').symlink_to(PLUGIN)
    (DRIVER_DIR / 'text.so').write_text('no object file\n' * 100)
    at_end((DRIVER_DIR / 'link.so').unlink)
    at_end((DRIVER_DIR / 'text.so').unlink)
    with fails('DriverFailed', contains='symbolic link'):
        manager().LoadDriver('link', {})
    with fails('DriverFailed', contains='ELF'):
        manager().LoadDriver('text', {})
    equal(list(drivers()), ['file'])
    load()


# --- who may ---

@test
def polkit_decides():
    alice = as_uid('alice').manager()
    for method in (alice.LoadDriver, alice.UnloadDriver):
        for name in ('guest-only', 'nosuch'):
            with fails('InteractiveAuthorizationRequired', contains='load-driver'):
                method(name, {})
    polkit_rules('''polkit.addRule(function(action, subject) {
        if (action.id != "org.guestlock1.load-driver") return polkit.Result.NOT_HANDLED;
        return subject.user == "alice" && action.lookup("driver") == "guest-only" ? polkit.Result.YES
                                                                                 : polkit.Result.NO;
    });''')
    with fails('AccessDenied', contains='load-driver'):
        alice.LoadDriver('nosuch', {})
    with fails('AccessDenied', contains='load-driver'):
        as_uid('bob').manager().LoadDriver('guest-only', {})
    equal(list(drivers()), ['file'])
    alice.LoadDriver('guest-only', {})
    with fails('AccessDenied'):
        as_uid('bob').manager().UnloadDriver('guest-only', {})
    equal(list(drivers()), ['file', 'guest-only'])
    alice.UnloadDriver('guest-only', {})
    equal(list(drivers()), ['file'])


@test
def with_a_password():
    polkit_agent('grant')
    peer = as_uid('bob')
    peer.interactive = True
    peer.manager().LoadDriver('guest-only', {})
    assert 'guest-only' in drivers()


# --- the guest alone ---

@test
def life_of_a_guest():
    load()
    alice, path, process = as_uid('alice'), image(temp_dir(), user='alice'), spawn_process(user='alice')
    guest = create_guest('web1', ALONE, peer=alice)
    guest.RegisterResource(*disk(path))
    guest.RegisterResource(*disk(image(temp_dir(), user='alice'), 'shared'))
    signals = Signals()
    generation = guest.Acquire({'pid': process.pid})
    equal(signals.expect('LeasesAcquired', guest.path), (generation, []))
    equal((guest.State, guest.Driver, guest.Generation, guest.Pid), ('held', 'guest-only', generation, process.pid))
    for resource in guest.Resources:
        equal((resource['state'], resource['driver']), ('registered', 'guest-only'))
        assert 'nobody is kept' in resource['scope-reason'] and 'scope' not in resource, resource
    equal((manager().NLeases, is_locked(path), lock_on(path, 100)), (0, False, None))
    equal(guest.Acquire({}), generation)
    state = guest.Release({})
    equal(signals.expect('LeasesReleased', guest.path), ('released', []))
    assert guest.Acquire({'state': state}) > generation
    signals.expect('LeasesAcquired', guest.path)
    with fails('GuestRunning'):
        guest.Shutdown({})
    end_process(process)
    equal(signals.expect('LeasesReleased', guest.path), ('guest-exited', []))
    equal((guest.State, guest.Pid), ('released', 0))
    signals.nothing_else()
    guest.Free({})


@test
def one_guest_once():
    """That is what it leases."""
    load()
    process = spawn_process()
    guest = start_guest([], 'web1', ALONE | {'pid': process.pid})
    for owner in (ALONE, {}):
        with fails('AlreadyExists', contains='held'):
            start_guest([], 'web1', owner | {'pid': spawn_process().pid}, uuid=guest.Uuid)
    with fails('BadState'):
        guest.Acquire({'pid': spawn_process().pid})


@test
def two_guests_with_one_disk():
    load()
    path = image(temp_dir())
    one, two = (start_guest([disk(path)], name, ALONE | {'pid': spawn_process().pid}) for name in ('one', 'two'))
    equal((one.State, two.State), ('held', 'held'))
    # The driver that leases disks neither minds nor knows.
    start_guest([disk(path)], 'three')
    assert is_locked(path)


@test
def what_it_cannot():
    load()
    path = image(temp_dir())
    guest = create_guest(options=ALONE)
    for state in ('new', 'held', 'released'):
        equal(guest.State, state)
        with fails('NotSupported', contains='guest-only'):
            guest.AcquireResource(*disk(path))
        with fails('NotSupported', contains='guest-only'):
            guest.AcquireResource(*disk('/nonexistent'))
        with open(path, 'r+b') as file, fails('NotSupported', contains='guest-only'):
            guest.AcquireResourceFd('disk', '/vda', file.fileno(), 'exclusive', {})
        {'new': lambda: guest.Acquire({}), 'held': lambda: guest.Release({}), 'released': lambda: None}[state]()
    equal(guest.Resources, [])
    for scope in ('shared', 'fenced'):
        with fails('StorageUnavailable', contains=scope):
            start_guest([disk(path)], options=ALONE | {'require-scope': scope})
    start_guest([disk(path)], options=ALONE | {'require-scope': 'host'})


# --- unloading in use ---

@test
def unload_in_use():
    load()
    path = image(temp_dir())
    process = spawn_process()
    guest = start_guest([disk(path)], 'web1', ALONE | {'pid': process.pid, 'keep': True})
    idle = create_guest('idle', ALONE)
    for _ in range(2):
        with fails('DriverInUse', contains=['"web1"', guest.Uuid]):
            manager().UnloadDriver('guest-only', {})
    assert is_mapped()
    end_process(process)
    wait_until(lambda: guest.State == 'released', 'the guest to be released')
    manager().UnloadDriver('guest-only', {})
    assert not is_mapped()

    for one in (guest, idle):
        with fails('NoSuchDriver', contains=['guest-only', 'LoadDriver']):
            one.Acquire({})
        with fails('NoSuchDriver'):
            one.AcquireResource(*disk(path))
    with fails('NoSuchDriver'):
        idle.RegisterResource(*disk(path))
    with fails('NoSuchDriver', contains='guest-only'):
        start_guest([disk(path)], options=ALONE)
    guest.ReleaseResource('disk', str(path), {})
    equal((guest.Inquire({}) != '', guest.Driver, guest.State), (True, 'guest-only', 'released'))
    load()
    idle.RegisterResource(*disk(path))
    idle.Acquire({})
    guest.Acquire({})
    equal((idle.State, guest.State), ('held', 'held'))


# --- the service starts ---

@test
def restart_with_a_living_guest():
    load()
    path, process, ends = image(temp_dir()), spawn_process(), spawn_process()
    guest = start_guest([disk(path)], 'web1', ALONE | {'pid': process.pid, 'keep': True})
    dead = start_guest([disk(path)], 'web2', ALONE | {'pid': ends.pid, 'keep': True})
    before, resources = guest.get_all(), guest.Resources
    end_service(signal.SIGKILL)
    end_process(ends)
    signals = Signals()
    start_service()
    equal(list(drivers()), ['file', 'guest-only'])
    after = guest.get_all()
    equal(after.pop('Origin'), 'adopted')
    del before['Origin']
    equal((after, guest.Resources), (before, resources))
    wait_until(lambda: dead.State == 'released', 'the dead one to be released')
    equal([entry[1:] for entry in signals.until_now() if entry[0] == dead.path and entry[1] == 'LeasesReleased'],
          [('LeasesReleased', ('guest-exited', []))])
    with fails('DriverInUse', contains='"web1"'):
        manager().UnloadDriver('guest-only', {})
    end_process(process)
    wait_until(lambda: guest.State == 'released', 'the guest to be released')


@test
def not_loaded_for_nobody():
    load()
    start_guest([], options=ALONE).Shutdown({})
    restart_service()
    equal(list(drivers()), ['file'])
    create_guest(options={'driver': 'file'})
    load()
    create_guest(options=ALONE)
    restart_service()
    equal(list(drivers()), ['file', 'guest-only'])


@test
def restart_without_the_driver():
    """The guest goes on, and nobody takes it for gone."""
    load()
    path, process = image(temp_dir()), spawn_process()
    guest = start_guest([disk(path)], 'web1', ALONE | {'pid': process.pid, 'keep': True})
    idle = create_guest('idle', ALONE)
    before = guest.Resources
    end_service(signal.SIGKILL)
    come_back, begin = without_plugin(), LOG.stat().st_size
    start_service()
    equal((list(drivers()), guest.State, guest.Pid, guest.Resources), (['file'], 'held', process.pid, before))
    lines = logged_since(begin).splitlines()
    equal([len([line for line in lines if f'"{name}"' in line and 'guest-only' in line]) for name in ('web1', 'idle')],
          [1, 1])
    equal({file.name for file in (RUNTIME_DIR / 'guests').iterdir()}, {guest.Uuid, idle.Uuid})
    with fails('AlreadyExists', contains='held'):
        start_guest([disk(path)], 'web1', uuid=guest.Uuid)
    for one in (guest, idle):
        with fails('NoSuchDriver', contains='guest-only'):
            one.Acquire({})
    with fails('NoSuchDriver'):
        load()
    come_back()
    load()
    idle.Acquire({})
    equal(guest.Acquire({}), guest.Generation)
    end_process(process)
    wait_until(lambda: guest.State == 'released', 'the guest to be released')


@test
def leases_of_a_driver_that_is_gone():
    """What a guest holds of it stays blocked for others, although no lock of the kernel is left."""
    path, process = image(temp_dir()), spawn_process()
    guest = start_guest([disk(path)], 'web1', {'pid': process.pid, 'keep': True})
    file = RUNTIME_DIR / 'guests' / guest.Uuid
    end_service(signal.SIGKILL)
    text = file.read_text()
    assert '\ndriver=file\n' in text
    file.write_text(text.replace('\ndriver=file\n', '\ndriver=sanlock\n'))
    begin = LOG.stat().st_size
    start_service()
    equal((guest.State, guest.Driver, is_locked(path)), ('held', 'sanlock', False))
    resource, = guest.Resources
    equal((resource['state'], resource['scope']), ('held', 'host'))
    assert 'sanlock' in resource['scope-reason'] and 'not loaded' in resource['scope-reason'], resource
    assert 'sanlock.so' in logged_since(begin)
    with fails('Conflict', contains=['"web1"', str(process.pid)]):
        start_guest([disk(path)], 'web2')
    with fails('NoSuchDriver'):
        guest.AcquireResource(*disk(path, 'readonly'))
    signals = Signals()
    end_process(process)
    equal(signals.expect('LeasesReleased', guest.path), ('guest-exited', [('disk', str(path))]))
    start_guest([disk(path)], 'web2')


@test
def default_driver():
    configure('[guestlock]\nDefaultDriver=guest-only\n')
    equal((manager().DefaultDriver, sorted(drivers())), ('guest-only', ['file', 'guest-only']))
    path = image(temp_dir())
    guest = start_guest([disk(path)])
    equal((guest.Driver, is_locked(path)), ('guest-only', False))
    guest.Shutdown({})
    manager().UnloadDriver('guest-only', {})
    with fails('NoSuchDriver', contains='guest-only'):
        create_guest()
    create_guest(options={'driver': 'file'})


@test
def unknown_default_driver():
    """Like every other setting that cannot be followed."""
    command = Path(f'/proc/{start_service()}/cmdline').read_bytes().decode().split('\0')[:-1]
    end_service()
    configure('[guestlock]\nDefaultDriver=nosuch\n')
    done = run(*command)
    equal(done.returncode, 78)
    assert 'DefaultDriver' in done.stderr and 'nosuch.so' in done.stderr, done.stderr
    assert not has_owner(NAME)
    checked = run(*command, '--check')
    problems = [line for line in checked.stdout.splitlines() if line.startswith('problem: ') and 'nosuch' in line]
    equal((checked.returncode, len(problems)), (1, 1))
    # Without the option it is the directory that was compiled in, whatever the environment says.
    command = [word for word in command if not word.startswith('--driver-dir=')]
    line, = [line for line in run(*command, '--check').stdout.splitlines() if '"nosuch"' in line]
    assert line.startswith('problem: ') and '/guestlock/drivers' in line and str(DRIVER_DIR) not in line, line
    command.append(f'--driver-dir={DRIVER_DIR}')

    configure('[guestlock]\nDefaultDriver=guest-only\n')
    assert 'ok: the driver "guest-only" can be loaded' in run(*command, '--check').stdout
    PLUGIN.chmod(0o666)
    at_end(lambda: PLUGIN.chmod(0o644))
    assert [line for line in run(*command, '--check').stdout.splitlines()
            if line.startswith('problem: ') and 'guest-only' in line and 'others' in line]


@test
def upgraded_plugin():
    """A new file of the same name is what is loaded next."""
    load()
    manager().UnloadDriver('guest-only', {})
    new = PLUGIN.with_suffix('.new')
    shutil.copy(PLUGIN, new)
    new.rename(PLUGIN)
    inode = PLUGIN.stat().st_ino
    load()
    maps = Path(f'/proc/{service_pid()}/maps').read_text().splitlines()
    equal({int(line.split()[4]) for line in maps if str(PLUGIN) in line}, {inode})


main()
