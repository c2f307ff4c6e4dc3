#!/usr/bin/gjs
// SPDX-License-Identifier: LGPL-2.1-or-later
// Runs a program under leases on disks: start-guest.js UUID NAME DISK... -- PROGRAM...

imports.gi.versions.Guestlock = '1.0';
const {Gio, GLib, Guestlock} = imports.gi;

Gio._promisify(Gio.Subprocess.prototype, 'wait_async', 'wait_finish');
Gio._promisify(Guestlock.Manager, 'new_async', 'new_finish');
Gio._promisify(Guestlock.Manager.prototype, 'start_guest_async', 'start_guest_finish');

async function run(uuid, name, disks, program) {
    const request = new Guestlock.Request();
    disks.forEach(disk => request.add_disk(disk, Guestlock.Mode.EXCLUSIVE));
    // A shell, which becomes the program when it may read a line.
    const child = Gio.Subprocess.new(['sh', '-c', 'read -r granted && exec "$0" "$@"', ...program],
        Gio.SubprocessFlags.STDIN_PIPE);
    request.set_pid(Number(child.get_identifier()));
    try {
        const manager = await Guestlock.Manager.new_async(null);
        const guest = await manager.start_guest_async(uuid, name, request, null);
        guest.connect('lease-lost', (_guest, _type, name, _reason, _action, _remaining, message) =>
            printerr(`Lost "${name}": ${message}`));
        child.get_stdin_pipe().write_all('granted\n', null);
    } finally {
        child.get_stdin_pipe().close(null);
        await child.wait_async(null);
    }
}

const loop = new GLib.MainLoop(null, false);
const end = ARGV.indexOf('--');
let status = 0;
run(ARGV[0], ARGV[1], ARGV.slice(2, end), ARGV.slice(end + 1)).catch(error => {
    printerr(error.message);
    status = 1;
}).finally(() => loop.quit());
loop.run();
imports.system.exit(status);
