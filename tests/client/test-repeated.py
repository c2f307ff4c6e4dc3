# SPDX-License-Identifier: LGPL-2.1-or-later
"""libguestlock with a made-up service, which dies exactly when it should: what a repeated call's errors mean, a bus
that ends, the supervisor, and the options that are sent."""

import os
import subprocess
from pathlib import Path

from guestlocktest import (
    BUSY, INTERFACES, NAME, ROOT, Gio, GLib, Peer, at_end, equal, gi, main, temp_dir, test, wait_until)

gi.require_version('Guestlock', '1.0')
from gi.repository import Guestlock  # noqa: E402

UUID = '4dea22b3-1d52-d8f3-2516-782e98ab3fa0'
PATH = f'{ROOT}/guest/{UUID.replace("-", "_")}'
SUPERVISOR = Gio.DBusNodeInfo.new_for_xml('''<node><interface name="org.guestlock1.Guest">
  <method name="GetSupervisorPath"><arg type="s" direction="out"/></method>
  <method name="GetSupervisorArgs"><arg type="a{sv}" direction="in"/><arg type="as" direction="out"/></method>
  <method name="RegisterResource"><arg type="s" direction="in"/><arg type="s" direction="in"/>
    <arg type="s" direction="in"/><arg type="a{sv}" direction="in"/></method>
  <method name="Release"><arg type="a{sv}" direction="in"/><arg type="s" direction="out"/></method>
  <method name="Free"><arg type="a{sv}" direction="in"/></method>
  <property name="State" type="s" access="read"/></interface></node>''').interfaces[0]
OBJECTS = Gio.DBusNodeInfo.new_for_xml('''<node><interface name="org.freedesktop.DBus.ObjectManager">
  <method name="GetManagedObjects"><arg type="a{oa{sa{sv}}}" direction="out"/></method>
  </interface></node>''').interfaces[0]
LOST = object()
VALUES = {'s': 'new', 'u': 0, 't': 0, 'b': False}


class Service:
    """Answers each method as told, the answers to one in order: LOST (it dies, and the next one takes its place), the
    name of an error, or a GLib.Variant."""

    def __init__(self, answers, guest=INTERFACES['Guest']):
        self.answers, self.called = {name: list(given) for name, given in answers.items()}, []
        self.arguments = None  # of the last call
        self.lives = [Peer() for _ in range(1 + sum(given.count(LOST) for given in answers.values()))]
        for life in self.lives:
            for path, interface in ((ROOT, INTERFACES['Manager']), (ROOT, OBJECTS), (PATH, guest)):
                life.connection.register_object(path, interface, self._called, self._get, None)
            # The first one has the name, the others stand in line.
            life.ask_bus('RequestName', '(su)', NAME, 0)
        at_end(self.end)

    def end(self):
        while self.lives:
            self.lives.pop().close()

    def _get(self, _connection, _sender, _path, interface, name):
        info = INTERFACES[interface.rpartition('.')[2]].lookup_property(name)
        return GLib.Variant(info.signature, VALUES.get(info.signature, []))

    def _called(self, connection, _sender, _path, _interface, method, arguments, invocation):
        if method == 'GetManagedObjects':
            guest = {f'{NAME}.Guest': {'State': GLib.Variant('s', 'held')}}
            invocation.return_value(GLib.Variant('(a{oa{sa{sv}}})', ({PATH: guest},)))
            return
        self.called.append(method)
        self.arguments = arguments.unpack()
        answer = self.answers[method].pop(0)
        if answer is LOST:
            self.lives.remove(next(life for life in self.lives if life.connection is connection))
            connection.close_sync(None)
        elif isinstance(answer, str):
            invocation.return_dbus_error(f'{NAME}.Error.{answer}' if '.' not in answer else answer, f'It is {answer}.')
        else:
            invocation.return_value(answer)


def done(begin, finish, *arguments):
    """What a call in the background comes to."""
    results = []
    begin(*arguments, None, lambda _source, result: results.append(result))
    wait_until(lambda: results, 'the call to end')
    return finish(results[0])


def new_manager():
    return done(Guestlock.Manager.new_async, Guestlock.Manager.new_finish)


def call(target, method, *arguments):
    return done(getattr(target, f'{method}_async'), getattr(target, f'{method}_finish'), *arguments)


def fails_with(code, function, *arguments):
    try:
        function(*arguments)
    except GLib.Error as error:
        assert error.matches(Guestlock.Error.quark(), code), f'{error.domain} {error.code}: {error.message}'
        assert 'GDBus.Error' not in error.message
        return error.message
    raise AssertionError('it succeeded')


def guest_of(manager):
    return call(manager, 'get_guest', UUID)


DISK = Guestlock.Resource.new_disk('/srv/a.img', Guestlock.Mode.EXCLUSIVE)
FOUND, NOTHING = GLib.Variant('(o)', (PATH,)), GLib.Variant('()', ())
# Each call, its method, and the error that means success after a NoReply, and only then.
REPEATED = (
    ('register_resource', 'RegisterResource', 'AlreadyRegistered', Guestlock.Error.ALREADY_REGISTERED, DISK),
    ('detach_resource', 'ReleaseResource', 'NoSuchResource', Guestlock.Error.NO_SUCH_RESOURCE,
     Guestlock.ResourceType.DISK, '/srv/a.img'),
    ('remove', 'Free', 'org.freedesktop.DBus.Error.UnknownObject', Guestlock.Error.UNKNOWN_OBJECT),
    ('shutdown', 'Shutdown', 'org.freedesktop.DBus.Error.UnknownObject', Guestlock.Error.UNKNOWN_OBJECT,
     Guestlock.ShutdownFlags.NONE),
    ('revoke', 'Revoke', 'NoSuchResource', Guestlock.Error.NO_SUCH_RESOURCE, Guestlock.ResourceType.DISK, '/srv/a.img',
     'why', Guestlock.RevokeFlags.KILL),
    ('revoke', 'Revoke', 'org.freedesktop.DBus.Error.UnknownObject', Guestlock.Error.UNKNOWN_OBJECT,
     Guestlock.ResourceType.DISK, '/srv/a.img', 'why', Guestlock.RevokeFlags.DRAINED))


@test
def what_was_done_before_the_reply_was_lost():
    for name, method, error, _code, *arguments in REPEATED:
        service = Service({'GetGuest': [FOUND], method: [LOST, error]})
        guest = guest_of(new_manager())
        equal((name, call(guest, name, *arguments)), (name, True))
        equal(service.called, ['GetGuest', method, method])
        service.end()


@test
def the_same_error_of_a_first_call():
    for name, method, error, code, *arguments in REPEATED:
        service = Service({'GetGuest': [FOUND], method: [error]})
        guest = guest_of(new_manager())
        equal(fails_with(code, call, guest, name, *arguments), f'It is {error}.')
        service.end()


@test
def other_errors_of_a_second_call():
    service = Service({'GetGuest': [FOUND], 'Free': [LOST, 'BadState'], 'RegisterResource': [LOST, 'Conflict']})
    guest = guest_of(new_manager())
    fails_with(Guestlock.Error.BAD_STATE, call, guest, 'remove')
    fails_with(Guestlock.Error.CONFLICT, call, guest, 'register_resource', DISK)
    service.end()


@test
def created_before_the_reply_was_lost():
    request = Guestlock.Request.new()
    service = Service({'CreateGuest': [LOST, 'AlreadyExists'], 'GetGuest': [FOUND]})
    equal(call(new_manager(), 'create_guest', UUID, 'web1', request).get_object_path(), PATH)
    service.end()
    # GetGuest would find the caller's own.
    others = [(UUID, 'web1', 'new', 0, uid, PATH if uid == 7 else f'{PATH}_u{uid}') for uid in (0, 7, 8)]
    service = Service({'CreateGuest': [LOST, 'AlreadyExists'],
                       'ListGuests': [GLib.Variant('(a(sssuuo))', (others,))]})
    request.set_owner_uid(7)
    equal(call(new_manager(), 'create_guest', UUID, 'web1', request).get_object_path(), PATH)
    service.end()
    service = Service({'CreateGuest': ['AlreadyExists']})
    fails_with(Guestlock.Error.ALREADY_EXISTS, call, new_manager(), 'create_guest', UUID, 'web1', None)


@test
def what_it_made_is_undone():
    request = Guestlock.Request.new()
    request.add_disk('/srv/a.img', Guestlock.Mode.EXCLUSIVE)
    request.set_paused(True)
    service = Service({'CreateGuest': [FOUND], 'RegisterResource': ['StorageUnavailable'], 'Free': [NOTHING],
                       'Release': [GLib.Variant('(s)', ('',))]})
    fails_with(Guestlock.Error.STORAGE_UNAVAILABLE, call, new_manager(), 'start_guest', UUID, 'web1', request)
    equal(service.called, ['CreateGuest', 'RegisterResource', 'Release', 'Free'])


@test
def service_that_always_dies():
    service = Service({'GetGuest': [FOUND], 'Inquire': [LOST, LOST, LOST]})
    guest = guest_of(new_manager())
    assert 'cannot be reached' in fails_with(Guestlock.Error.UNAVAILABLE, call, guest, 'inquire')
    equal(service.called, ['GetGuest', 'Inquire', 'Inquire', 'Inquire'])


def run_bus(directory):
    """A bus with nothing on it, not the test's."""
    process = subprocess.Popen(['dbus-daemon', '--session', '--nofork', '--nopidfile', '--print-address',
                                f'--address=unix:path={directory}/bus'], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)
    at_end(lambda: (process.kill(), process.wait(10 * BUSY), process.stdout.close()))
    assert process.stdout.readline()
    return process


@test
def bus_that_ends():
    directory, usual = temp_dir(), os.environ['DBUS_SYSTEM_BUS_ADDRESS']
    bus = run_bus(directory)

    def address(value):
        os.environ['DBUS_SYSTEM_BUS_ADDRESS'] = value
        GLib.setenv('DBUS_SYSTEM_BUS_ADDRESS', value, True)
    at_end(lambda: address(usual))
    address(f'unix:path={directory}/bus')
    fails_with(Guestlock.Error.UNAVAILABLE, new_manager)
    service = Service({'GetGuest': [FOUND]})
    manager = new_manager()
    guest = guest_of(manager)
    equal((manager.get_running(), guest.get_state()), (True, Guestlock.State.NEW))
    bus.kill()
    wait_until(lambda: not manager.get_running(), 'the manager to see that the bus has ended')
    equal(guest.get_state(), Guestlock.State.UNKNOWN)
    bus.wait(10 * BUSY)
    fails_with(Guestlock.Error.UNAVAILABLE, call, guest, 'inquire')
    (directory / 'bus').unlink()
    run_bus(directory)
    service.lives.clear()
    service = Service({'Inquire': [GLib.Variant('(s)', ('state',))]})
    equal(call(guest, 'inquire'), 'state')
    wait_until(manager.get_running, 'the manager to have the guests again')
    equal(guest.get_state(), Guestlock.State.HELD)


@test
def under_a_supervisor():
    directory = temp_dir()
    supervisor = directory / 'supervisor'
    supervisor.write_text('#!/bin/sh\necho "$@" >$0.said\nuntil [ -e $0.go ]; do sleep 0.01; done\nexit 7\n')
    supervisor.chmod(0o755)
    service = Service({'CreateGuest': [FOUND] * 3, 'RegisterResource': [NOTHING] * 3,
                       'GetSupervisorPath': [GLib.Variant('(s)', (str(supervisor),)),
                                             GLib.Variant('(s)', (str(directory / 'absent'),)),
                                             'org.freedesktop.DBus.Error.UnknownMethod'],
                       'GetSupervisorArgs': [GLib.Variant('(as)', (['--guest', UUID, '--'],))] * 2,
                       'Release': [GLib.Variant('(s)', ('',))] * 2, 'Free': [NOTHING] * 2}, SUPERVISOR)
    manager, request = new_manager(), Guestlock.Request.new()
    request.add_resource(DISK)
    run = ('run_guest', UUID, 'web1', request, ['qemu', '-hda', 'a b'])
    guest, process = call(manager, *run)
    equal((guest.get_object_path(), int(process.get_identifier()) > 0), (PATH, True))
    Path(f'{supervisor}.go').touch()
    process.wait(None)
    equal((process.get_if_exited(), process.get_exit_status()), (True, 7))
    equal(Path(f'{supervisor}.said').read_text(), f'--guest {UUID} -- qemu -hda a b\n')
    # One that is not there, and a service without any: nothing stays behind.
    try:
        call(manager, *run)
        raise AssertionError('it succeeded')
    except GLib.Error as error:
        assert 'absent' in error.message, error.message
    equal(service.called[-2:], ['Release', 'Free'])
    fails_with(Guestlock.Error.NOT_SUPPORTED, call, manager, *run)
    equal(service.called[-2:], ['Release', 'Free'])


@test
def options_that_flags_stand_for():
    kill, drained = Guestlock.RevokeFlags.KILL, Guestlock.RevokeFlags.DRAINED
    end, leave = Guestlock.ShutdownFlags.KILL, Guestlock.ShutdownFlags.LEAVE_SUPERVISOR
    revoke = ((Guestlock.RevokeFlags.NONE, {}), (kill, {'kill': True}), (drained, {'drained': True}),
              (kill | drained, {'kill': True, 'drained': True}))
    shutdown = ((Guestlock.ShutdownFlags.NONE, {}), (end, {'kill': True}), (leave, {'supervisor': 'leave'}),
                (end | leave, {'kill': True, 'supervisor': 'leave'}))
    service = Service({'GetGuest': [FOUND], 'Revoke': [NOTHING] * 4, 'Shutdown': [NOTHING] * 4})
    guest = guest_of(new_manager())
    for flags, options in revoke:
        call(guest, 'revoke', Guestlock.ResourceType.DISK, '/srv/a.img', 'why', flags)
        equal(service.arguments, ('disk', '/srv/a.img', 'why', options))
    for flags, options in shutdown:
        call(guest, 'shutdown', flags)
        equal(service.arguments, (options,))


@test
def options_of_a_trial():
    nobody = GLib.Variant('(aa{sv})', ([],))
    service = Service({'TestAcquire': [nobody] * 2})
    manager, request = new_manager(), Guestlock.Request.new()
    request.add_resource(DISK)
    request.add_resource(Guestlock.Resource.new_lease('key', 'space', '/srv/leases', 7, Guestlock.Mode.SHARED))
    for option in ('pid', 'wait', 'id', 'owner_uid'):
        getattr(request, f'set_{option}')(7)
    for option in ('supervisor', 'paused', 'keep'):
        getattr(request, f'set_{option}')(True)
    request.set_lease_state('state')
    request.set_driver('file')
    request.set_on_lease_lost(Guestlock.Action.KILL)
    request.set_require_scope(Guestlock.Scope.SHARED)
    equal(call(manager, 'test_acquire', UUID, request), [])
    equal(service.arguments, (UUID, [('disk', '/srv/a.img', 'exclusive', {}), (
        'lease', 'key', 'shared', {'path': '/srv/leases', 'lockspace': 'space', 'offset': 7})],
        {'pid': 7, 'driver': 'file', 'require-scope': 'shared', 'owner-uid': 7}))
    equal(call(manager, 'test_acquire', None, None), [])
    equal(service.arguments, ('', [], {}))


@test
def answers_of_a_later_service():
    """Keys, words and types that the library does not know are no obstacle to the rest."""
    told = {'guest-uuid': GLib.Variant('s', UUID), 'mode': GLib.Variant('s', 'sideways'), 'pid': GLib.Variant('s', '7'),
            'colour': GLib.Variant('s', 'red'), 'scope': GLib.Variant('s', 'galaxy'), 'via': GLib.Variant('s', '\a')}
    service = Service({'WhoHolds': [GLib.Variant('(aa{sv})', ([told, {}],))]})
    first, second = call(new_manager(), 'who_holds', Guestlock.ResourceType.DISK, '/srv/a.img')
    equal(service.arguments, ('disk', '/srv/a.img', {}))
    equal((first.get_guest_uuid(), first.get_mode(), first.get_pid(), first.get_scope(), first.get_via()),
          (UUID, Guestlock.Mode.UNKNOWN, 0, Guestlock.Scope.UNKNOWN, '\a'))
    equal((second.get_guest_uuid(), second.get_owner_uid(), second.get_resource()), (None, GLib.MAXUINT, None))


main()
