#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs a program under leases on disks: start-guest.py UUID NAME DISK... -- PROGRAM..."""

import subprocess
import sys

import gi
gi.require_version('Guestlock', '1.0')
from gi.repository import GLib, Guestlock  # noqa: E402

end = sys.argv.index('--')
(uuid, name), disks, program = sys.argv[1:3], sys.argv[3:end], sys.argv[end + 1:]
request = Guestlock.Request.new()
for disk in disks:
    request.add_disk(disk, Guestlock.Mode.EXCLUSIVE)
# A shell, which becomes the program when it may read a line.
child = subprocess.Popen(['sh', '-c', 'read -r granted && exec "$0" "$@"', *program], stdin=subprocess.PIPE)
request.set_pid(child.pid)
loop, status = GLib.MainLoop(), 0
GLib.child_watch_add(GLib.PRIORITY_DEFAULT, child.pid, lambda *_: loop.quit())
try:
    guest = Guestlock.Manager.new_sync(None).start_guest_sync(uuid, name, request, None)
    guest.connect('lease-lost', lambda guest, kind, name, reason, action, remaining, message:
                  print(f'Lost "{name}": {message}', file=sys.stderr))
    child.stdin.write(b'granted\n')
except GLib.Error as error:
    print(error.message, file=sys.stderr)
    status = 1
child.stdin.close()
loop.run()
sys.exit(status)
