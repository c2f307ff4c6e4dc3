# SPDX-License-Identifier: LGPL-2.1-or-later
"""A connection to the bus without a library: it sends what no library would, as fast as a socket takes it, and
reads what it is sent only when told to.
"""

import array
import os
import pwd
import re
import select
import socket
import struct

import gi
gi.require_version('Gio', '2.0')
from gi.repository import Gio  # noqa: E402

NAME = 'org.guestlock1'
BUS_SOCKET = os.environ['DBUS_SYSTEM_BUS_ADDRESS'].partition(',')[0].removeprefix('unix:path=')
_SERIAL = struct.Struct('<I')
_SERIAL_AT = 8
_LENGTHS = struct.Struct('<4xI4xI')


def message(path, interface, member, body=None, destination=NAME, reply=True, n_fds=0):
    """A call as bytes; its serial is to be filled in."""
    call = Gio.DBusMessage.new_method_call(destination, path, interface, member)
    call.set_byte_order(Gio.DBusMessageByteOrder.LITTLE_ENDIAN)
    if body is not None:
        call.set_body(body)
    if not reply:
        call.set_flags(Gio.DBusMessageFlags.NO_REPLY_EXPECTED)
    if n_fds:
        # Those that go with it are given when it is sent; here only their number counts.
        fds = Gio.UnixFDList()
        for _ in range(n_fds):
            fds.append(0)
        call.set_unix_fd_list(fds)
    call.set_serial(1)
    return bytes(call.to_blob(Gio.DBusCapabilityFlags.UNIX_FD_PASSING))


def write_calls(calls):
    return b''.join(struct.pack('<I', len(call)) + call for call in calls)


def read_calls(data):
    calls = []
    while data:
        length, = struct.unpack_from('<I', data)
        calls.append(data[4:4 + length])
        data = data[4 + length:]
    return calls


class RawPeer:
    """A connection of `user`'s."""

    def __init__(self, user):
        entry = pwd.getpwnam(user)
        self.serial, self.uid, self.incomplete = 1, entry.pw_uid, b''
        self.socket = socket.socket(socket.AF_UNIX)
        # The bus takes the kernel's word for who connects.
        before = os.getgroups()
        os.setgroups([])
        os.setresgid(entry.pw_gid, entry.pw_gid, 0)
        os.setresuid(entry.pw_uid, entry.pw_uid, 0)
        try:
            self.socket.connect(BUS_SOCKET)
        finally:
            os.setresuid(0, 0, 0)
            os.setresgid(0, 0, 0)
            os.setgroups(before)
        self.socket.settimeout(100)
        uid = str(entry.pw_uid).encode().hex().encode()
        self.socket.sendall(b'\0AUTH EXTERNAL ' + uid + b'\r\nNEGOTIATE_UNIX_FD\r\nBEGIN\r\n')
        self.send(message('/org/freedesktop/DBus', 'org.freedesktop.DBus', 'Hello',
                          destination='org.freedesktop.DBus'))
        received = b''
        while b'NameAcquired' not in received:
            more = self.socket.recv(4096)
            if not more:
                raise ConnectionError('the bus did not let us in')
            received += more
        self.name = re.search(rb':\d+\.\d+', received)[0].decode()

    def numbered(self, call, count):
        calls = bytearray(call * count)
        for at in range(_SERIAL_AT, len(calls), len(call)):
            self.serial += 1
            _SERIAL.pack_into(calls, at, self.serial)
        return calls

    def send(self, call, count=1):
        self.socket.sendall(self.numbered(call, count))

    def call(self, call):
        """Sends it, and returns when one message more than before has come."""
        self.send(call)
        while not self.count_messages(self.receive()):
            pass

    def send_fds(self, call, fds):
        self.socket.sendmsg([self.numbered(call, 1)],
                            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', fds))])

    def receive(self, timeout=100):
        """What has come, b'' if we were thrown off."""
        self.socket.settimeout(timeout)
        try:
            return self.socket.recv(1 << 20)
        except ConnectionResetError:
            return b''

    def count_messages(self, received):
        """How many messages end in what was received since the last time."""
        data, at, count = self.incomplete + received, 0, 0
        while len(data) - at >= 16:
            body, fields = _LENGTHS.unpack_from(data, at)
            length = 16 + (fields + 7 & ~7) + body
            if len(data) - at < length:
                break
            at += length
            count += 1
        self.incomplete = data[at:]
        return count

    def is_thrown_off(self, timeout=100):
        """Whether the bus closes the connection within this time."""
        poll = select.poll()
        poll.register(self.socket, select.POLLRDHUP)
        return bool(poll.poll(timeout * 1000))

    def close(self):
        self.socket.close()
