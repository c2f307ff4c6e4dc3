# SPDX-License-Identifier: LGPL-2.1-or-later
"""Backing chains: a layer below an overlay is a readonly disk of the guest's own, named by whoever starts it, and a
block job of the real QEMU raises and lowers one layer. The service parses no image."""

import json
import socket
import time

from guestlocktest import (
    BUSY, Signals, at_end, create_guest, disk, equal, fails, image, main, manager, spawn_process, start_guest, temp_dir,
    test, wait_until)
from storagetest import QEMU, QEMU_BYTES, must_run, qemu_bytes, resource


class Qemu:
    """One that runs nothing, with the top of a chain as its disk, and its monitor."""

    def __init__(self, top):
        path = temp_dir() / 'monitor'
        self.process = spawn_process(
            QEMU, '-M', 'pc', '-accel', 'tcg', '-m', '16', '-S', '-nodefaults', '-display', 'none',
            '-qmp', f'unix:{path},server=on,wait=off',
            '-blockdev', f'driver=qcow2,node-name=disk,file.driver=file,file.filename={top}',
            '-device', 'virtio-blk-pci,drive=disk')
        monitor = socket.socket(socket.AF_UNIX)
        at_end(monitor.close)
        # The path is there before QEMU listens.
        wait_until(lambda: monitor.connect_ex(str(path)) == 0 or self.process.poll() is not None, 'QEMU', 10)
        assert self.process.poll() is None, 'QEMU has ended'
        monitor.settimeout(10 * BUSY)
        self.monitor = monitor.makefile('rw')
        self.monitor.readline()
        self.tell('qmp_capabilities')

    def tell(self, command, **arguments):
        self.monitor.write(json.dumps({'execute': command, 'arguments': arguments}) + '\n')
        self.monitor.flush()
        while True:
            answer = json.loads(self.monitor.readline())
            if 'event' not in answer:
                assert 'return' in answer, answer
                return answer['return']

    def job(self, command, **arguments):
        """A block job, to its end."""
        self.tell(command, **{'job-id': 'job', **arguments})
        wait_until(lambda: not self.tell('query-block-jobs'), command, 10)


def chain():
    """Three layers: base, middle, and the top with which a guest runs."""
    directory = temp_dir()
    layers = [directory / name for name in ('base.qcow2', 'middle.qcow2', 'top.qcow2')]
    must_run('qemu-img', 'create', '-q', '-f', 'qcow2', layers[0], '4M')
    for below, layer in zip(layers, layers[1:]):
        must_run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', below, '-F', 'qcow2', layer)
    for layer, pattern in zip(layers, (1, 2, 3)):
        must_run('qemu-io', '-f', 'qcow2', '-c', f'write -P {pattern} {pattern}M 64k', layer)
    return layers


def start(layers, name='web1'):
    """A guest on it as it should be started: leased, and then run."""
    base, middle, top = layers
    guest = start_guest([disk(top), disk(middle, 'readonly'), disk(base, 'readonly')], name=name,
                        options={'keep': True, 'on-lease-lost': 'notify'})
    qemu = Qemu(top)
    guest.Acquire({'pid': qemu.process.pid, 'register-only': True})
    for layer in (base, middle):
        equal(qemu_bytes(layer), QEMU_BYTES['reader'])
    return guest, qemu


def modes(guest, layers):
    return [resource(guest, layer)['mode'] for layer in layers]


@test
def nobody_writes_to_a_layer():
    layers = base, middle, top = chain()
    guest, qemu = start(layers)
    for layer in (base, middle, top):
        for mode in ('exclusive', 'shared'):
            with fails('Conflict', contains=[str(layer), f'guest "web1" ({guest.Uuid}, pid {qemu.process.pid}']):
                start_guest([disk(layer, mode)], name='writer')
    # On the same base: an overlay of one's own.
    other = base.parent / 'other.qcow2'
    must_run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', base, '-F', 'qcow2', other)
    second = start_guest([disk(other), disk(base, 'readonly')], name='web2')
    found = manager().WhoHolds('disk', str(base), {})
    equal({entry['guest-name']: entry['mode'] for entry in found}, {'web1': 'readonly', 'web2': 'readonly'})
    with fails('Conflict', contains=['guest "web1"', 'guest "web2"']):
        start_guest([disk(base)], name='writer')
    # One of them cannot write to it either, and is told at once, however long he would wait.
    begin = time.monotonic()
    with fails('Conflict', contains=['guest "web1"']):
        second.AcquireResource('disk', str(base), 'exclusive', {'wait-ms': 60000})
    assert time.monotonic() - begin < 30
    equal(modes(second, (other, base)), ['exclusive', 'readonly'])


@test
def commit_into_the_base():
    """Of the middle layer: the base is raised for as long as the job writes to it, and nothing else."""
    layers = base, middle, top = chain()
    guest, qemu = start(layers)
    signals = Signals(path=guest.path)
    generation = guest.AcquireResource(*disk(base))
    equal(modes(guest, layers), ['exclusive', 'readonly', 'exclusive'])
    equal(signals.expect('LeasesAcquired'), (generation, [('disk', str(base), 'exclusive')]))
    equal(manager().TestAcquire('', [disk(base, 'readonly')], {})[0]['mode'], 'exclusive')
    with fails('Conflict', contains=['guest "web1"', 'exclusive']):
        start_guest([disk(base, 'readonly')], name='reader')
    qemu.job('block-commit', device='disk', **{'top': str(middle), 'base': str(base)})
    guest.AcquireResource(*disk(base, 'readonly'))
    # What has been committed is no layer any more.
    guest.ReleaseResource('disk', str(middle), {})
    equal(modes(guest, (base, top)), ['readonly', 'exclusive'])
    equal(qemu_bytes(base), QEMU_BYTES['reader'])
    equal(qemu_bytes(middle), set())
    start_guest([disk(middle)], name='writer').Shutdown({})
    start_guest([disk(base, 'readonly')], name='reader').Shutdown({})
    assert 'middle' not in must_run('qemu-img', 'info', '-U', '--backing-chain', top)
    must_run('qemu-io', '-U', '-r', '-f', 'qcow2', '-c', 'read -P 2 2M 64k', base)
    # And again: each raise is a grant of its own.
    assert guest.AcquireResource(*disk(base)) > generation


@test
def stream_from_the_base():
    """The other way: layers are copied into the top, and given back when nobody reads them any more."""
    layers = base, middle, top = chain()
    guest, qemu = start(layers)
    qemu.job('block-stream', device='disk')
    for layer in (base, middle):
        equal(qemu_bytes(layer), set())
        guest.ReleaseResource('disk', str(layer), {})
        start_guest([disk(layer)], name='writer').Shutdown({})
    equal([one['name'] for one in guest.Resources], [str(top)])
    qemu.tell('quit')
    equal(qemu.process.wait(10 * BUSY), 0)
    wait_until(lambda: guest.State == 'released', 'the guest to be released')
    must_run('qemu-io', '-r', '-f', 'qcow2', '-c', 'read -P 1 1M 64k', '-c', 'read -P 2 2M 64k', top)


@test
def a_layer_that_somebody_else_reads_is_not_raised():
    """By a lease, and by a QEMU without one, where no process is known that it could be."""
    layers = base, middle, top = chain()
    guest, _ = start(layers)
    other = start_guest([disk(base, 'readonly')], name='web2')
    for mode in ('exclusive', 'shared'):
        with fails('Conflict', contains='guest "web2"'):
            guest.AcquireResource(*disk(base, mode))
        equal(manager().TestAcquire(guest.Uuid, [disk(base, mode)], {})[0]['guest-name'], 'web2')
    equal(modes(guest, layers), ['readonly', 'readonly', 'exclusive'])
    other.Shutdown({})
    guest.AcquireResource(*disk(base, 'shared'))
    guest.AcquireResource(*disk(base, 'exclusive'))
    guest.AcquireResource(*disk(base, 'readonly'))
    equal(modes(guest, layers), ['readonly', 'readonly', 'exclusive'])
    nobodys = create_guest('unbound')
    nobodys.RegisterResource(*disk(base, 'readonly'))
    nobodys.Acquire({})
    guest.Shutdown({'kill': True})
    # It gives up one image after the other.
    wait_until(lambda: not any(map(qemu_bytes, layers)), 'the end of QEMU')
    third = Qemu(top)
    with fails('Conflict', contains=[f'pid {third.process.pid}', 'a running QEMU']):
        nobodys.AcquireResource(*disk(base))
    equal(resource(nobodys, base)['mode'], 'readonly')


@test
def an_image_that_is_no_chain_at_all():
    """Whatever the image says that it is backed by is nothing to the service."""
    directory = temp_dir()
    base, overlay = image(directory, 'base'), directory / 'overlay.qcow2'
    must_run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', base, '-F', 'raw', overlay)
    guest = start_guest([disk(overlay)])
    equal(len(guest.Resources), 1)
    equal(manager().WhoHolds('disk', str(base), {}), [])
    start_guest([disk(base)]).Shutdown({})


main()
