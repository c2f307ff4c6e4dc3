# SPDX-License-Identifier: LGPL-2.1-or-later
"""A user who names processes that are not hers as her guests', or that cease to be hers, so that the service, which
is root, would stop or kill them for her: nobody but she is ever hurt."""

import os
import signal
import subprocess
import time
from pathlib import Path

from guestlocktest import (
    NAME, Fd, Signals, as_uid, at_end, bus, create_guest, disk, end_keeper, end_process, end_service, equal, fails,
    image, lock, main, manager, note, service_pid, skip, spawn_process, start_guest, start_service, temp_dir, test,
    wait_until)
from processtest import goes_on, state_of

LAST_PID = Path('/proc/sys/kernel/ns_last_pid')
PYTHON = '/usr/bin/python3'


def pidfd_of(process):
    fd = os.pidfd_open(process.pid)
    at_end(lambda: os.close(fd))
    return fd


class Victim:
    """A process that nobody else may stop or kill."""

    def __init__(self, process=None, user=None):
        self.process = process or spawn_process(user=user)
        self.pid = self.process.pid

    def is_unharmed(self):
        assert self.process.poll() is None, f'process {self.pid} was killed'
        assert goes_on(self.pid), f'process {self.pid} is in state {state_of(self.pid)}'


def spawn_with_pid(pid):
    """A process of root's that gets this number, which is free. In the tick of 10 ms in which its predecessor began the
    kernel gives both the same start time; in earnest all other numbers have their turn before."""
    time.sleep(0.02)
    for _ in range(200):
        LAST_PID.write_text(str(pid - 1))
        process = spawn_process()
        if process.pid == pid:
            return process
        end_process(process)
        # Something else has begun in between, and may have it for a moment.
        time.sleep(0.01)
    skip(f'pid {pid} cannot be given to another process here')


def turn_root(process):
    """A process of turning()'s, which starts a program that is setuid root, which becomes root altogether."""
    process.stdin.write('go\n')
    process.stdin.flush()
    equal(process.stdout.readline(), 'root\n')
    return Victim(process)


def turning(directory):
    program = directory / 'setuid'
    if not program.exists():
        program.write_bytes(Path(PYTHON).read_bytes())
        program.chmod(0o4755)
    script = 'import os, time; os.setresuid(0, 0, 0); print("root", flush=True); time.sleep(1000)'
    process = spawn_process(PYTHON, '-c', f'input(); import os; os.execv({str(program)!r}, ["x", "-c", {script!r}])',
                            user='alice', stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process


def lose(*paths):
    """These disks are taken by somebody else while the service and guestlock-keeper are away."""
    end_service(signal.SIGKILL)
    end_keeper()
    for path in paths:
        fd = lock(path)
        at_end(lambda fd=fd: os.close(fd))
    signals = Signals()
    start_service()
    return signals


def alices(path, process, alice=None, **options):
    return start_guest([disk(path)], options={'pid': process.pid, 'keep': True} | options,
                       peer=alice or as_uid('alice'))


# --- processes of others ---

@test
def daemons_and_other_users():
    alice = as_uid('alice')
    own = create_guest(peer=alice)
    supervised = create_guest(peer=alice)
    supervised.Acquire({'register-only': True, 'supervisor': True, 'pid': spawn_process(user='alice').pid})
    daemons = [bus.ask_bus('GetConnectionUnixProcessID', '(s)', name)
               for name in ('org.freedesktop.DBus', 'org.freedesktop.PolicyKit1', bus.name)]
    victims = [Victim(), Victim(user='bob'), Victim(user='daemon')]
    for pid in daemons + [victim.pid for victim in victims]:
        pidfd = os.pidfd_open(pid)
        at_end(lambda pidfd=pidfd: os.close(pidfd))
        for process in ({'pid': pid}, {'pidfd': Fd(pidfd)}):
            for call in (lambda: own.Acquire(process), lambda: own.Acquire(process | {'register-only': True}),
                         lambda: own.Acquire(process | {'supervisor': True}), lambda: own.SetChild(process),
                         lambda: supervised.SetChild(process),
                         lambda: start_guest([], options=process | {'supervisor': True}, peer=alice)):
                with fails('InteractiveAuthorizationRequired', contains=f'{NAME}.manage'):
                    call()
    for pid in (1, service_pid()):
        for process in ({'pid': pid}, {'pid': pid, 'supervisor': True}):
            with fails('InvalidArgs', contains=str(pid)):
                own.Acquire(process)
    # Her guest has none of them, so there is nobody to kill.
    equal((own.Pid, own.SupervisorPid, supervised.Pid), (0, 0, 0))
    own.Shutdown({'kill': True})
    supervised.Shutdown({'kill': True})
    for victim in victims:
        victim.is_unharmed()
    equal([goes_on(pid) for pid in daemons], [True] * 3)


def is_of_the_kernel(pid):
    try:
        return int(Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[6]) & 0x200000
    except (FileNotFoundError, ProcessLookupError):
        return False


@test
def threads_of_the_kernel():
    found = [pid for pid in filter(str.isdigit, os.listdir('/proc')) if is_of_the_kernel(pid)]
    if not found:
        skip('no kernel threads in this pid namespace')
    with fails('InvalidArgs', contains='kernel'):
        create_guest().Acquire({'pid': int(found[0])})


# --- numbers that are used again ---

@test
def reused_number():
    path = image(temp_dir(), user='alice')
    process = spawn_process(user='alice')
    guest, signals, dead = alices(path, process), Signals(), pidfd_of(process)
    end_process(process)
    equal(signals.expect('LeasesReleased', guest.path)[0], 'guest-exited')
    victim = Victim(spawn_with_pid(process.pid))
    with fails('NoSuchGuest'):
        manager().GetGuestByPID(victim.pid)
    guest.Shutdown({'kill': True})
    # Neither its number nor what was a pidfd of the one before it.
    with fails('InteractiveAuthorizationRequired'):
        guest.Acquire({'pid': victim.pid})
    for call in (guest.Acquire, guest.SetChild):
        with fails('InvalidArgs', contains='ended'):
            call({'pidfd': Fd(dead)})
    victim.is_unharmed()


@test
def reused_while_the_service_was_away():
    directory = temp_dir()
    for action in ('pause', 'kill'):
        path, process = image(directory, action, 'alice'), spawn_process(user='alice')
        guest = alices(path, process, **{'on-lease-lost': action})
        end_service(signal.SIGKILL)
        end_process(process)
        victim = Victim(spawn_with_pid(process.pid))
        lose(path)
        wait_until(lambda: guest.State == 'released', 'the guest to be released')
        equal(guest.Pid, 0)
        guest.Shutdown({'kill': True})
        victim.is_unharmed()


# --- a process that ceases to be hers ---

@test
def turned_root_before_it_is_named():
    guest, process = create_guest(peer=as_uid('alice')), turning(temp_dir())
    pidfd = pidfd_of(process)
    victim = turn_root(process)
    for options in ({'pid': victim.pid}, {'pidfd': Fd(pidfd)}):
        with fails('InteractiveAuthorizationRequired', contains=f'{NAME}.manage'):
            guest.Acquire(options)
        with fails('InteractiveAuthorizationRequired', contains=f'{NAME}.manage'):
            guest.SetChild(options)
    victim.is_unharmed()


@test
def turned_root_and_shut_down():
    directory = temp_dir()
    path, process = image(directory, user='alice'), turning(directory)
    guest = alices(path, process)
    victim = turn_root(process)
    with fails('AccessDenied', contains=f'process {victim.pid}'):
        guest.Shutdown({'kill': True})
    equal(guest.State, 'held')
    victim.is_unharmed()


@test
def turned_root_and_lost():
    directory = temp_dir()
    victims, paths, guests = [], [], []
    for action in ('pause', 'kill'):
        process = turning(directory)
        paths.append(image(directory, action, 'alice'))
        guests.append(alices(paths[-1], process, **{'on-lease-lost': action}))
        victims.append(turn_root(process))
    signals = lose(*paths)
    for _ in guests:
        signals.expect('LeaseLost')
    time.sleep(0.3)
    for victim in victims:
        victim.is_unharmed()
    # It may still write, so the disk stays blocked.
    equal([(guest.State, guest.Pid) for guest in guests], [('lost', victim.pid) for victim in victims])
    for victim in victims:
        end_process(victim.process)


# --- namespaces, and the process that signals for her ---

@test
def root_in_a_namespace_of_her_own():
    """Root in there is she herself out here, to the service and to the kernel."""
    path = image(temp_dir(), user='alice')
    process = spawn_process('unshare', '--user', '--map-root-user', '--pid', '--fork', '--kill-child', 'sh', '-c',
                            'id -u; exec sleep infinity', user='alice', stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True)
    equal(process.stdout.readline(), '0\n')
    inside = int(Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text())
    guest = alices(path, process)
    with fails('AlreadyExists'):
        guest.SetChild({'pid': inside})
    other = create_guest(peer=as_uid('alice'))
    other.Acquire({'register-only': True, 'pid': inside})
    other.Shutdown({'kill': True})
    process.wait(40)


# Each byte that comes begins or ends a round.
ATTACKER = f'''
import os, select, signal
refused, stopped = set(), set()
def attack():
    with open("{LAST_PID}") as last:
        pid = int(last.read())
    for pid in (pid, pid + 1, pid + 2):
        try:
            os.kill(pid, signal.SIGSTOP)
            stopped.add(pid)
        except ProcessLookupError:
            pass
        except PermissionError:
            refused.add(pid)
while os.read(0, 1):
    print("ready", flush=True)
    while not select.select([0], [], [], 0)[0]:
        for _ in range(500):
            attack()
    os.read(0, 1)
    print(len(refused), len(stopped), flush=True)
'''


@test
def the_helper_cannot_be_stopped():
    """The process that sends the signals has her effective uid for a few system calls. It is nobody's who could stop
    it, or the service would wait for it, or trace it: there are many, and she tries each number that comes."""
    attacker = spawn_process(PYTHON, '-c', ATTACKER, user='alice', stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             text=True)

    def tell_attacker():
        attacker.stdin.write('x')
        attacker.stdin.flush()
        return attacker.stdout.readline()
    alice, directory = as_uid('alice'), temp_dir()
    met = rounds = 0
    # She has to meet some while they run, and for that to run herself at that moment.
    while met < 5 and rounds < 20:
        processes = [spawn_process(user='alice') for _ in range(40)]
        # One more, so that what she stops is not one of these.
        spawn_process()
        equal(tell_attacker(), 'ready\n')
        guests = [alices(image(directory, f'{rounds}-{index}', 'alice'), process, alice, id=index)
                  for index, process in enumerate(processes)]
        for guest, process in zip(guests, processes):
            guest.Shutdown({'kill': True})
            equal(process.wait(40), -9)
            guest.Free({})
        refused, stopped = map(int, tell_attacker().split())
        rounds += 1
        note(f'of the processes and threads that came, {refused} could not be stopped, and {stopped} could')
        equal(stopped, 0)
        # Without what runs from beginning to end.
        met = refused - rounds
    assert met >= 5, met


main()
