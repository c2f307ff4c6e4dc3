# SPDX-License-Identifier: LGPL-2.1-or-later
"""What befalls the service, the keeper, the bus and systemd itself while guests run: none of them loses its lease, and
at no moment does a stranger get its disk."""

import os
import signal
import time

from guestlocktest import (
    NAME, disk, end_process, equal, fails, has_owner, is_locked, main, manager, run, start_guest, test, wait_until)
from systemtest import (
    KEEPER, NO_KEEPER, SERVICE, LivingGuest, journal, kill_unit, main_pid, qemu_guest, reconnect, stop_service,
    systemctl, unit, wait_for_another)


def kill_service():
    pid = kill_unit(SERVICE)
    wait_for_another(SERVICE, pid)


def kill_keeper():
    """The service notices, and has systemd start another one, to which it will give everything."""
    pid = kill_unit(KEEPER)
    wait_for_another(KEEPER, pid)


def restart():
    pid = main_pid(SERVICE)
    systemctl('restart', SERVICE)
    assert main_pid(SERVICE) != pid
    equal(unit(SERVICE, 'ActiveState'), 'active')


def stop_and_call():
    stop_service()
    manager().get('NGuests')


def restart_keeper():
    """Refused, as is stopping it: what it keeps would be gone."""
    pid = main_pid(KEEPER)
    for verb in ('restart', 'stop', 'try-restart'):
        result = run('systemctl', verb, KEEPER)
        assert result.returncode != 0 and 'refused' in result.stderr, (verb, result)
    os.kill(pid, signal.SIGTERM)
    systemctl('stop', 'guestlock-keeper.socket')
    equal(main_pid(KEEPER), pid)


def reload_systemd():
    systemctl('daemon-reload')


def execute_systemd_anew():
    pids = main_pid(SERVICE), main_pid(KEEPER)
    systemctl('daemon-reexec')
    equal((main_pid(SERVICE), main_pid(KEEPER)), pids)


def restart_bus():
    """Nothing can be asked meanwhile. The service ends, and comes back of itself."""
    pid = main_pid(SERVICE)
    systemctl('restart', 'dbus')
    reconnect()
    wait_for_another(SERVICE, pid)


def stop_bus():
    """With its socket, and so with the service, which needs it. The first call afterwards starts the service."""
    try:
        systemctl('stop', 'dbus.socket', 'dbus.service')
        equal(main_pid(SERVICE), 0)
        time.sleep(0.2)
    finally:
        systemctl('start', 'dbus.socket')
        reconnect()
    assert not has_owner(NAME)
    manager().get('NGuests')


EVENTS = [kill_service, kill_keeper, restart, stop_and_call, restart_keeper, reload_systemd, execute_systemd_anew,
          restart_bus, stop_bus]


def survives(event, times=1):
    guest = LivingGuest()
    for _ in range(times):
        event()
        guest.is_as_before()
        guest.is_kept()
    guest.end()


@test
def service_is_killed():
    survives(kill_service, 3)


@test
def keeper_is_killed():
    survives(kill_keeper, 3)


@test
def keeper_is_killed_and_the_service_ended():
    """Before it ends, it gives the next keeper what the last one had. (None can be started while systemd stops the
    service, since the two are ordered: whoever ends both within milliseconds ends the locks.)"""
    def event():
        kill_keeper()
        how()
    for how in (restart, stop_and_call):
        survives(event, 3)


@test
def keeper_is_out_of_reach():
    """That is said, and as soon as it is there again it gets everything, with nothing restarted."""
    guest, known = LivingGuest(), {entry['__CURSOR'] for entry in journal(f'MESSAGE_ID={NO_KEEPER}')}
    systemctl('stop', 'guestlock-keeper.socket')
    kill_unit(KEEPER)
    wait_until(lambda: main_pid(KEEPER) == 0, 'it to be gone')
    wait_until(lambda: [entry for entry in journal(f'MESSAGE_ID={NO_KEEPER}') if entry['__CURSOR'] not in known],
               'that to be said')
    guest.is_as_before()
    systemctl('start', 'guestlock-keeper.socket')
    guest.is_kept()
    kill_service()
    guest.end()


@test
def service_is_restarted():
    survives(restart, 2)


@test
def service_is_stopped_and_called():
    survives(stop_and_call, 2)


@test
def keeper_is_restarted():
    survives(restart_keeper)


@test
def systemd_is_reloaded():
    survives(reload_systemd)


@test
def systemd_is_executed_anew():
    survives(execute_systemd_anew)


@test
def bus_is_restarted():
    survives(restart_bus)


@test
def bus_is_stopped():
    survives(stop_bus)


@test
def qemu_survives_all_of_it():
    """One after the other, and what comes next often before the last has settled; but that nobody is killed while the
    other has nothing yet."""
    guests = [qemu_guest(), LivingGuest('unlike')]
    for event in EVENTS:
        event()
        for guest in guests:
            guest.is_as_before()
        with fails('Conflict', contains=guests[0].guest.Uuid):
            start_guest([disk(guests[0].path)])
    for guest in guests:
        guest.end()


@test
def guest_ends_meanwhile():
    """Nobody gets its disk before the service has seen what it left."""
    guest = LivingGuest()
    stop_service()
    end_process(guest.process)
    time.sleep(0.3)
    guest.was_alone()
    assert is_locked(guest.path)
    wait_until(lambda: guest.guest.State == 'released', 'the guest to be released')
    assert not is_locked(guest.path)


main()
