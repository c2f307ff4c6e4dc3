# SPDX-License-Identifier: LGPL-2.1-or-later
"""The service is killed or ended and comes back: guests that live keep what they had, those that died meanwhile are
released, and what somebody else took meanwhile is lost, which is announced and acted on."""

import os
import shutil
import signal
from pathlib import Path

from guestlocktest import (
    LOG, NAME, RUNTIME_DIR, STATE_DIR, GLib, Signals, as_uid, at_end, create_guest, disk, end_keeper, end_process,
    end_service, equal, fails, has_owner, image, is_locked, keeper_is_ready, lock, lock_on, main, manager,
    restart_service, run, service_pid, spawn_process, start_guest, start_service, temp_dir, test, wait_until)
from processtest import goes_on, state_of

UUID = '4dea22b3-1d52-d8f3-2516-782e98ab3fa0'


def everything_of(guest):
    """What may be known of a guest, but where it comes from."""
    properties = guest.get_all()
    del properties['Origin']
    return properties, guest.Resources


def taken_by_another(path):
    """Somebody who does not know of us has the disk from now on; gives what ends that."""
    fds = [lock(path)]

    def unlock():
        while fds:
            os.close(fds.pop())
    at_end(unlock)
    return unlock


def held_by(process, path, **options):
    return start_guest([disk(path)], options={'pid': process.pid, 'keep': True} | options)


def lose(*guests_and_paths):
    """These guests' disks are taken while neither the service nor guestlock-keeper is there. Gives the signals since it
    is back, and what gives the disks back."""
    end_service(signal.SIGKILL)
    end_keeper()
    ends = [taken_by_another(path) for path in guests_and_paths]
    signals = Signals()
    start_service()
    return signals, lambda: [end() for end in ends]


# --- what lives goes on ---

def comes_back(how):
    keeper_is_ready()
    directory, process = temp_dir(), spawn_process(user='alice')
    paths = [image(directory, name, 'alice') for name in ('x', 'w', 'r', 'later', 'leases')]
    alice = as_uid('alice')
    guest = start_guest(
        [disk(paths[0]), disk(paths[1], 'shared'), disk(paths[2], 'readonly'),
         ('lease', 'key', 'exclusive', {'path': str(paths[4]), 'offset': GLib.Variant('t', 4096)})],
        'web1', {'pid': process.pid, 'id': 7, 'on-lease-lost': 'notify', 'keep': True}, uuid=UUID, peer=alice)
    guest.RegisterResource(*disk(paths[3]))
    unbound = start_guest([disk(image(directory, 'unbound'))], 'unbound')
    before, others = everything_of(guest), everything_of(unbound)
    locks = [lock_on(path, byte) for path in paths for byte in (0, 4096)]

    end_service(how)
    # Nobody gets in between.
    equal([lock_on(path, byte) for path in paths for byte in (0, 4096)], locks)
    signals = Signals()
    start_service()
    signals.nothing_else()
    equal((everything_of(guest), everything_of(unbound)), (before, others))
    equal((guest.Origin, unbound.Origin), ('adopted', 'adopted'))
    equal([lock_on(path, byte) for path in paths for byte in (0, 4096)], locks)
    equal((manager().NGuests, manager().NLeases), (2, 5))
    equal(manager().GetGuestByPID(process.pid), guest.path)
    for path, mode in ((paths[0], 'readonly'), (paths[1], 'exclusive'), (paths[2], 'shared')):
        with fails('Conflict', contains=['"web1"', UUID, str(process.pid), str(path)]):
            start_guest([disk(path, mode)])

    # It goes on as if nothing had been.
    assert guest.Acquire({}) > before[0]['Generation']
    equal(guest.AcquireResource(*disk(paths[1], 'readonly')), guest.Generation)
    signals.so_far()
    end_process(process)
    reason, released = signals.expect('LeasesReleased', guest.path)
    equal((reason, len(released)), ('guest-exited', 5))
    equal((guest.State, [is_locked(path) for path in paths]), ('released', [False] * 5))
    unbound.Shutdown({})


@test
def killed():
    comes_back(signal.SIGKILL)


@test
def ended():
    comes_back(signal.SIGTERM)


@test
def again_and_again():
    keeper_is_ready()
    path, process = image(temp_dir()), spawn_process()
    guest = held_by(process, path)
    before = everything_of(guest)
    for _ in range(5):
        restart_service()
        equal(everything_of(guest), before)
        equal(lock_on(path, 0), 'write')


@test
def called_while_it_ends():
    """Who is started as soon as the name is free must not meet the one before with its locks."""
    keeper_is_ready()
    directory, process = temp_dir(), spawn_process()
    guest = start_guest([disk(image(directory, f'{number}.img')) for number in range(64)],
                        options={'pid': process.pid, 'keep': True})
    before = everything_of(guest)
    for _ in range(10):
        os.kill(service_pid(), signal.SIGTERM)
        wait_until(lambda: not has_owner(NAME), 'the name to be free')
        equal((everything_of(guest), goes_on(process.pid)), (before, True))


@test
def activated_by_a_call():
    guest = held_by(spawn_process(), image(temp_dir()))
    end_service(signal.SIGKILL)
    # The very first call meets the guest as it was.
    equal(guest.Acquire({}), guest.Generation)
    equal(guest.Origin, 'adopted')


@test
def a_wait_ends_with_the_service():
    path = image(temp_dir())
    holder = start_guest([disk(path)], options={'keep': True})
    guest = create_guest()
    guest.RegisterResource(*disk(path))
    pending = guest.later.Acquire({'wait-ms': 60000})
    wait_until(lambda: guest.Waiting, 'the acquire to wait')
    restart_service()
    with fails('NoReply'):
        pending.result()
    equal((guest.State, guest.Waiting), ('new', False))
    # Repeated, it waits again.
    pending = guest.later.Acquire({'wait-ms': 60000})
    wait_until(lambda: guest.Waiting, 'the acquire to wait')
    holder.Release({})
    equal(pending.result(), guest.Generation)


@test
def supervisor_and_child():
    path, supervisor, child = image(temp_dir()), spawn_process(), spawn_process()
    guest = start_guest([disk(path)], options={'pid': supervisor.pid, 'supervisor': True, 'keep': True})
    guest.SetChild({'pid': child.pid, 'orphan': 'keep'})
    restart_service()
    equal((guest.SupervisorPid, guest.Pid), (supervisor.pid, child.pid))
    end_service(signal.SIGKILL)
    end_process(supervisor)
    signals = Signals()
    start_service()
    equal((guest.SupervisorPid, guest.Pid, guest.State, lock_on(path, 0)), (0, child.pid, 'held', 'write'))
    signals.nothing_else()
    end_process(child)
    equal(signals.expect('LeasesReleased', guest.path)[0], 'guest-exited')


@test
def in_other_states():
    """What is only registered or released, and holds nothing."""
    directory, process = temp_dir(), spawn_process()
    new = create_guest('new')
    new.RegisterResource(*disk(image(directory, 'one')))
    new.Acquire({'register-only': True, 'pid': process.pid})
    released = start_guest([disk(image(directory, 'two'))], options={'keep': True})
    state = released.Release({})
    before = everything_of(new), everything_of(released)
    restart_service()
    equal((everything_of(new), everything_of(released)), before)
    equal((new.State, new.Pid, released.State, manager().NLeases), ('new', process.pid, 'released', 0))
    equal(released.Inquire({}), state)
    # Nobody had it since, which is known also after a restart.
    released.Acquire({'state': state})
    new.Acquire({})
    state = released.Release({})
    start_guest([disk(directory / 'two')]).Shutdown({})
    restart_service()
    with fails('Stale'):
        released.Acquire({'state': state})


@test
def freed_ones_do_not_return():
    create_guest().Free({})
    start_guest([disk(image(temp_dir()))]).Shutdown({})
    restart_service()
    equal(manager().ListGuests({}), [])


@test
def passed_as_a_descriptor():
    secret = image(temp_dir())
    secret.chmod(0o600)
    guest = create_guest(peer=as_uid('alice'))
    with open(secret, 'r+b') as file:
        guest.RegisterResourceFd('disk', '/vda', file.fileno(), 'exclusive', {})
    guest.Acquire({})
    restart_service()
    equal((guest.State, lock_on(secret, 0)), ('held', 'write'))


@test
def renamed_meanwhile():
    """To rename an image is no loss, and the new name is no way around the lease."""
    directory, process = temp_dir(), spawn_process()
    path = image(directory)
    guest, signals = held_by(process, path), Signals()
    end_service(signal.SIGKILL)
    path.rename(directory / 'moved')
    image(directory)
    start_service()
    equal((guest.State, guest.Resources[0]['path-moved']), ('held', True))
    with fails('Conflict', contains=str(process.pid)):
        start_guest([disk(directory / 'moved')])
    start_guest([disk(path)])
    signals.so_far()
    end_process(process)
    equal(signals.expect('LeasesReleased', guest.path)[0], 'guest-exited')


@test
def out_of_reach_meanwhile():
    """Only a positive answer is a loss."""
    directory, process = temp_dir(user='alice'), spawn_process(user='alice')
    path = image(directory, user='alice')
    guest = start_guest([disk(path)], options={'pid': process.pid, 'keep': True}, peer=as_uid('alice'))
    end_service(signal.SIGKILL)
    directory.chmod(0)
    os.chown(directory, 0, 0)
    start_service()
    equal((guest.State, goes_on(process.pid)), ('held', True))
    directory.chmod(0o755)
    with fails('Conflict', contains=str(process.pid)):
        start_guest([disk(path)])


@test
def mode_without_a_lock():
    """What could not be locked again has nothing that could be raised or lowered."""
    directory, process = temp_dir(user='alice'), spawn_process(user='alice')
    path = image(directory, user='alice')
    guest = start_guest([disk(path)], options={'pid': process.pid, 'keep': True}, peer=as_uid('alice'))
    end_service(signal.SIGKILL)
    end_keeper()
    directory.chmod(0)
    os.chown(directory, 0, 0)
    pid = start_service()
    equal((guest.State, lock_on(path, 0)), ('held', None))
    directory.chmod(0o755)
    for _ in range(2):
        with fails('StorageUnavailable', contains=[str(path), 'could not be taken again']):
            guest.AcquireResource(*disk(path, 'readonly'))
    equal((guest.AcquireResource(*disk(path)), guest.State), (guest.Generation, 'held'))
    equal(service_pid(), pid)
    restart_service()
    equal((guest.State, lock_on(path, 0)), ('held', 'write'))
    guest.AcquireResource(*disk(path, 'readonly'))
    equal(lock_on(path, 0), 'read')


# --- what died meanwhile ---

@test
def guest_died_meanwhile():
    directory = temp_dir()
    processes = [spawn_process() for _ in range(3)]
    paths = [image(directory, f'{number}.img') for number in range(3)]
    kept, lives = (held_by(process, path) for process, path in zip(processes[:2], paths))
    transient = start_guest([disk(paths[2])], options={'pid': processes[2].pid})
    end_service(signal.SIGKILL)
    end_process(processes[0])
    end_process(processes[2])
    signals = Signals()
    start_service()
    wait_until(lambda: manager().NLeases == 1, 'the dead ones to be released')
    equal((kept.State, kept.Pid, kept.Origin), ('released', 0, 'adopted'))
    equal((lives.State, lives.Pid), ('held', processes[1].pid))
    with fails('UnknownObject'):
        assert transient.State
    equal([is_locked(path) for path in paths], [False, True, False])
    seen = signals.so_far()
    equal(sorted((path, arguments[0]) for path, member, arguments in seen if member == 'LeasesReleased'),
          sorted([(kept.path, 'guest-exited'), (transient.path, 'guest-exited')]))


# --- what was taken meanwhile ---

@test
def taken_meanwhile():
    directory, process = temp_dir(), spawn_process(user='alice')
    path, other = (image(directory, name, 'alice') for name in ('taken', 'kept'))
    guest = start_guest([disk(path), disk(other)], options={'pid': process.pid, 'keep': True}, peer=as_uid('alice'))
    signals, unlock = lose(path)
    kind, name, reason, details = signals.expect('LeaseLost', guest.path)
    equal((kind, name, reason, details['action']), ('disk', str(path), 'taken', 'pause'))
    assert str(os.getpid()) in details['message'] and str(path) in details['message'], details
    signals.nothing_else()
    wait_until(lambda: state_of(process.pid) == 'T', 'the process to be stopped')
    equal((guest.State, guest.Pid), ('lost', process.pid))
    equal([resource['state'] for resource in guest.Resources], ['lost', 'held'])
    equal(lock_on(other, 0), 'write')
    assert '(taken)' in LOG.read_text()

    # It stays blocked for guests of ours, whoever else has it or not, and also after another restart.
    for _ in range(2):
        with fails('Conflict', contains=str(process.pid)):
            start_guest([disk(path)])
        unlock()
        with fails('Conflict', contains=[str(process.pid), 'lost']):
            start_guest([disk(path)])
        restart_service()
        equal((guest.State, state_of(process.pid)), ('lost', 'T'))
    end_process(process)
    equal(signals.expect('LeasesReleased', guest.path)[0], 'guest-exited')
    wait_until(lambda: guest.State == 'released', 'the guest to be released')
    start_guest([disk(path)])


@test
def actions_on_a_loss():
    directory = temp_dir()
    guests = {}
    for action in ('pause', 'kill', 'notify'):
        process, path = spawn_process(), image(directory, action)
        guests[action] = held_by(process, path, **{'on-lease-lost': action}), process, path
    signals, _ = lose(*(path for _, _, path in guests.values()))
    wait_until(lambda: len(signals.seen) >= 4, 'three losses and a release')
    seen = signals.so_far()
    equal({path: arguments[3]['action'] for path, member, arguments in seen if member == 'LeaseLost'},
          {guest.path: action for action, (guest, _, _) in guests.items()})
    wait_until(lambda: state_of(guests['pause'][1].pid) == 'T', 'the process to be stopped')
    equal(guests['kill'][1].wait(30), -9)
    assert goes_on(guests['notify'][1].pid)
    # Killed, it is out of the way as far as we are concerned.
    equal([(path, arguments[0]) for path, member, arguments in seen if member == 'LeasesReleased'],
          [(guests['kill'][0].path, 'guest-exited')])
    equal([guests[action][0].State for action in guests], ['lost', 'released', 'lost'])


@test
def regained():
    """A guest that was stopped goes on once it has its disk back and nobody wrote to it."""
    path, process = image(temp_dir()), spawn_process()
    guest = held_by(process, path)
    signals, unlock = lose(path)
    signals.expect('LeaseLost', guest.path)
    wait_until(lambda: state_of(process.pid) == 'T', 'the process to be stopped')
    with fails('LeaseLost', contains=str(os.getpid())):
        guest.Acquire({})
    equal((guest.State, state_of(process.pid)), ('lost', 'T'))
    unlock()
    generation = guest.Acquire({})
    equal((guest.State, guest.Generation, lock_on(path, 0)), ('held', generation, 'write'))
    wait_until(lambda: state_of(process.pid) == 'S', 'the process to go on')


@test
def not_regained():
    path, process = image(temp_dir()), spawn_process()
    guest = held_by(process, path)
    signals, unlock = lose(path)
    signals.expect('LeaseLost', guest.path)
    path.write_text('changed')
    unlock()
    with fails('LeaseLost', contains=str(path)):
        guest.Acquire({})
    wait_until(lambda: state_of(process.pid) == 'T', 'the process to be stopped')
    equal(guest.State, 'lost')
    # That the image was changed is seen only once it is locked.
    wait_until(lambda: not is_locked(path), 'the lock to be given back')
    # What is left can be given back, and the disk stays blocked until the process is gone.
    guest.Release({})
    equal(guest.State, 'released')
    with fails('Conflict', contains=str(process.pid)):
        start_guest([disk(path)])
    end_process(process)
    wait_until(lambda: guest.Pid == 0, 'the end of the process')
    start_guest([disk(path)])


@test
def calls_in_state_lost():
    directory, process = temp_dir(), spawn_process()
    path, kept = image(directory, 'taken'), image(directory, 'kept')
    guest = held_by(process, path)
    guest.AcquireResource(*disk(kept))
    lose(path)
    equal(guest.State, 'lost')
    for call in (lambda: guest.RegisterResource(*disk(image(directory, 'another'))),
                 lambda: guest.AcquireResource(*disk(image(directory, 'another'))),
                 lambda: guest.AcquireResource(*disk(path, 'readonly')),
                 lambda: guest.SetParameter('on-lease-lost', 'notify'), lambda: guest.SetChild({'pid': process.pid}),
                 lambda: guest.Acquire({'register-only': True, 'pid': process.pid}), lambda: guest.Free({})):
        with fails('BadState', contains='lost'):
            call()
    with fails('GuestRunning'):
        guest.Shutdown({})
    guest.SetParameter('name', 'unlucky')
    guest.SetParameter('id', 8)
    assert guest.Uuid in guest.Inquire({})
    # Without what is lost it is whole again.
    guest.ReleaseResource('disk', str(path), {})
    equal((guest.State, len(guest.Resources), lock_on(kept, 0)), ('held', 1, 'write'))
    with fails('Conflict', contains=str(process.pid)):
        start_guest([disk(path)])
    guest.Shutdown({'kill': True})
    start_guest([disk(kept)])


# --- state files ---

@test
def damaged_state():
    keeper_is_ready()
    directory = temp_dir()
    guests = [start_guest([disk(image(directory, f'{number}.img'))], options={'keep': True}) for number in range(6)]
    uuids = [guest.Uuid for guest in guests]
    files = [RUNTIME_DIR / 'guests' / uuid for uuid in uuids]
    end_service(signal.SIGKILL)
    text = files[0].read_text()
    damages = {files[0]: text[:len(text) // 2], files[1]: '', files[2]: '\0' * 100,
               files[3]: files[3].read_text().replace('version=1', 'version=2'),
               files[4]: files[4].read_text().replace('boot-id=', 'boot-id=0')}
    for file, damage in damages.items():
        assert file.read_text() != damage
        file.write_text(damage)
    (RUNTIME_DIR / 'guests/no uuid').write_text(files[5].read_text())
    os.symlink('/etc/passwd', RUNTIME_DIR / f'guests/{UUID}')
    begin = LOG.stat().st_size
    start_service()
    equal([path for *_, path in manager().ListGuests({})], [guests[5].path])
    equal((guests[5].State, lock_on(directory / '5.img', 0)), ('held', 'write'))
    aside = {file.name for file in damages} | {'no uuid', UUID}
    equal({file.name for file in (RUNTIME_DIR / 'set-aside').iterdir()}, aside)
    equal({file.name for file in (RUNTIME_DIR / 'guests').iterdir()}, {files[5].name})
    log = LOG.read_bytes()[begin:].decode()
    for name in aside:
        assert [line for line in log.splitlines() if name in line and 'set aside' in line], f'{name} is not in: {log}'
    # Their names are not in the way of new ones; their disks are, as they may still run on them.
    with fails('Conflict', contains='guestlock-keeper'):
        start_guest([disk(directory / '0.img')], uuid=uuids[0])
    end_keeper()
    equal(start_guest([disk(directory / '0.img')], uuid=uuids[0]).path, guests[0].path)


@test
def no_state_at_all():
    guest = start_guest([disk(image(temp_dir()))])
    end_service(signal.SIGKILL)
    shutil.rmtree(RUNTIME_DIR)
    start_service()
    with fails('UnknownObject'):
        assert guest.State
    equal(manager().NGuests, 0)


@test
def state_is_private():
    start_guest([disk(image(temp_dir()))])
    for directory in (RUNTIME_DIR, STATE_DIR):
        equal(directory.stat().st_mode & 0o077, 0)


# --- a second service ---

@test
def second_service_touches_nothing():
    keeper_is_ready()
    path, process = image(temp_dir()), spawn_process()
    guest = held_by(process, path)
    before, signals, pid = everything_of(guest), Signals(), service_pid()
    command = Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')[:-1]
    second = run(*command)
    equal(second.returncode, 1)
    assert 'org.guestlock1' in second.stderr, second.stderr
    signals.nothing_else()
    equal((everything_of(guest), service_pid(), goes_on(process.pid), lock_on(path, 0)), (before, pid, True, 'write'))
    restart_service()
    equal(everything_of(guest), before)


main()
