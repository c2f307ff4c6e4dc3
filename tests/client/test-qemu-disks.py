# SPDX-License-Identifier: LGPL-2.1-or-later
"""What `guestlockctl run` finds in QEMU's command lines, against what a real QEMU makes of them: which files it opens,
and which of its bytes it locks there."""

import json
import os
import re
import select
import subprocess
from pathlib import Path

from guestlocktest import BUSY, at_end, end_process, equal, main, run, spawn_process, temp_dir, test
from storagetest import QEMU, must_run, test_program

# In -blockdev's own syntax.
RAW = 'driver=file,node-name=f,filename=a.raw'
QCOW2 = 'driver=file,node-name=f,filename=a.qcow2'
CDS = '-device ide-cd,drive=d'


def images(directory):
    """a to c of each format; top.qcow2 on mid.qcow2 on base.raw; and some with names that mean something elsewhere."""
    for name in 'abc':
        must_run('qemu-img', 'create', '-q', '-f', 'raw', f'{name}.raw', '1M', cwd=directory)
        must_run('qemu-img', 'create', '-q', '-f', 'qcow2', f'{name}.qcow2', '1M', cwd=directory)
    for name in ('base.raw', 'comma,name.raw', './colon:name.raw', 'sub/in.raw'):
        (directory / name).parent.mkdir(exist_ok=True)
        must_run('qemu-img', 'create', '-q', '-f', 'raw', name, '1M', cwd=directory)
    chain('mid.qcow2', 'base.raw', 'raw', directory)
    chain('top.qcow2', 'mid.qcow2', 'qcow2', directory)


def chain(name, below, form, directory, *options):
    must_run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', below, '-F', form, *options, name, cwd=directory)


def ready(process):
    """Everything is open when QEMU answers."""
    process.stdin.write(b'{"execute": "qmp_capabilities"}\n')
    process.stdin.flush()
    said = b''
    while b'"return"' not in said:
        if not select.select([process.stdout], [], [], 10 * BUSY)[0]:
            raise AssertionError(f'QEMU does not answer: {said}')
        more = os.read(process.stdout.fileno(), 4096)
        if not more:
            raise AssertionError(f'QEMU has ended: {process.stderr.read().decode()}')
        said += more


def what_qemu_uses(arguments, directory):
    """Path → how QEMU uses it, of what it has open in the directory."""
    process = spawn_process(*arguments, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)
    for pipe in (process.stdin, process.stdout, process.stderr):
        at_end(pipe.close)
    ready(process)
    found = {}
    for fd in Path(f'/proc/{process.pid}/fd').iterdir():
        try:
            path = os.readlink(fd)
        except FileNotFoundError:  # what it needed for a moment
            continue
        if path.startswith(f'{directory}/'):
            info = Path(f'/proc/{process.pid}/fdinfo/{fd.name}').read_text()
            found.setdefault(path, set()).update(
                byte for first, last in re.findall(r'^lock:.* (\d+) (\d+)$', info, re.M)
                for byte in range(int(first), int(last) + 1))
    end_process(process)
    return {path: 'readonly' if 101 not in locked else 'exclusive' if 201 in locked else 'shared'
            for path, locked in found.items()}


def what_we_find(arguments, directory, chains=True):
    result = run(test_program('qemu-disks', 'client'), *(['--chains'] if chains else []), *arguments, cwd=directory)
    assert result.returncode == 0, f'{arguments}: {result.stderr}'
    return json.loads(result.stdout)


def command_line(options):
    words = options.split() if isinstance(options, str) else list(options)
    return [QEMU, '-M', 'pc', '-accel', 'tcg', '-m', '16', '-S', '-nodefaults', '-display', 'none',
            '-qmp', 'stdio', *words]


def agree(options, expected, idle=(), unguarded=(), remarks=()):
    """QEMU uses these files (name → mode), and we find the same. Where we are stricter: in IDLE are those that no
    device uses yet, which QEMU does not write to until one does; UNGUARDED are flash chips, whose writers QEMU does
    not keep apart."""
    directory = agree.directory
    arguments = command_line(options)
    found = what_we_find(arguments, directory)
    expected = {f'{directory}/{name}': mode for name, mode in expected.items()}
    equal({disk['path']: disk['mode'] for disk in found['disks']}, expected)
    equal(len(found['disks']), len(expected))
    used = what_qemu_uses(arguments, directory)
    equal(used, expected | {f'{directory}/{name}': 'readonly' for name in idle} |
          {f'{directory}/{name}': 'shared' for name in unguarded})
    equal(len(found['remarks']), len(remarks))
    for remark, word in zip(found['remarks'], remarks):
        assert word in remark, f'{remark} does not say {word}'


def begin():
    agree.directory = temp_dir()
    images(agree.directory)


@test
def short_options():
    begin()
    agree('a.raw', {'a.raw': 'exclusive'})
    agree('-hda a.raw -hdb b.qcow2 --cdrom c.raw',
          {'a.raw': 'exclusive', 'b.qcow2': 'exclusive', 'c.raw': 'readonly'})
    agree('-hdc a.raw -hdd b.raw', {'a.raw': 'exclusive', 'b.raw': 'exclusive'})
    agree('-device isa-fdc -fda a.raw -no-shutdown b.raw', {'a.raw': 'exclusive', 'b.raw': 'exclusive'})
    agree('-pflash a.raw', {'a.raw': 'exclusive'}, unguarded=['a.raw'])
    agree(f'-hda {agree.directory}//sub/./in.raw', {'sub/in.raw': 'exclusive'})
    agree(['-hda', 'comma,name.raw', '-hdb', './colon:name.raw'],
          {'comma,name.raw': 'exclusive', 'colon:name.raw': 'exclusive'})
    agree('-hda file:colon:name.raw', {'colon:name.raw': 'exclusive'})
    agree(['-hda', "json:{'driver': 'qcow2', 'file': {'driver': 'file', 'filename': 'a.qcow2'}}"],
          {'a.qcow2': 'exclusive'})


@test
def drives():
    begin()
    agree('-drive file=a.raw,format=raw', {'a.raw': 'exclusive'})
    agree('-drive file=comma,,name.raw,format=raw,if=virtio', {'comma,name.raw': 'exclusive'})
    agree('-drive file=a.raw,format=raw,if=virtio,readonly=on', {'a.raw': 'readonly'})
    agree('-drive file=a.raw,format=raw,if=virtio,read-only=on', {'a.raw': 'readonly'})
    agree('-drive file=a.raw,format=raw,if=virtio,readonly', {'a.raw': 'readonly'})
    agree('-drive file=a.raw,format=raw,if=virtio,readonly=on,readonly=off', {'a.raw': 'readonly'})
    agree('-drive file=a.raw,format=raw,if=virtio,readonly=off,readonly=on', {'a.raw': 'exclusive'})
    agree('-drive file=a.raw,format=raw,if=virtio,read-only=on,read-only=off', {'a.raw': 'exclusive'})
    agree('-drive file=a.raw,format=qcow2,if=virtio,file=b.raw,format=raw', {'b.raw': 'exclusive'})
    agree('-drive file=a.raw,format=raw,if=virtio,snapshot=on,snapshot=off', {'a.raw': 'exclusive'})
    agree('-drive file=a.raw,media=cdrom', {'a.raw': 'readonly'})
    agree('-drive media=cdrom,if=ide', {})
    agree('-drive if=pflash,format=raw,readonly=on,file=a.raw -drive if=pflash,format=raw,file=b.raw',
          {'a.raw': 'readonly', 'b.raw': 'exclusive'}, unguarded=['b.raw'])
    agree('-drive file.filename=a.qcow2,file.driver=file,driver=qcow2,if=virtio', {'a.qcow2': 'exclusive'})
    agree('-drive file.filename=colon:name.raw,format=raw,if=virtio', {'colon:name.raw': 'exclusive'})
    agree('-drive file=a.raw,format=file,if=virtio', {'a.raw': 'exclusive'})
    agree('-drive driver=raw,file.filename=a.raw,file.read-only=off,if=virtio,read-only=on', {'a.raw': 'readonly'})
    agree(['-drive', 'if=virtio,readonly=on,file=json:{"file":{"driver":"file",,"filename":"a.raw"},,"driver":"raw"}'],
          {'a.raw': 'readonly'})
    agree('-drive if=virtio,driver=null-co', {}, remarks=['null-co'])
    agree('-drive if=virtio,format=raw,file=null-co://', {}, remarks=['null-co://'])


@test
def devices():
    begin()
    drive = '-drive if=none,id=d,format=raw,file=a.raw'
    agree(drive, {'a.raw': 'exclusive'}, idle=['a.raw'])
    agree(f'{drive} -device virtio-blk-pci,drive=d', {'a.raw': 'exclusive'})
    agree(f'-device virtio-blk-pci,drive=d,share-rw=on {drive}', {'a.raw': 'shared'})
    agree([*drive.split(), '-device', '{"driver": "virtio-blk-pci", "drive": "d", "share-rw": true}'],
          {'a.raw': 'shared'})
    agree(f'{drive} {CDS}', {'a.raw': 'readonly'})
    agree(f'{drive} -device virtio-scsi -device scsi-cd,drive=d', {'a.raw': 'readonly'})
    agree(f'-drive if=none,id=d,format=qcow2,file=a.qcow2 {CDS}', {'a.qcow2': 'exclusive'})
    agree('-drive if=none,id=d,format=qcow2,file=a.qcow2 -device virtio-blk-pci,drive=d,share-rw=on',
          {'a.qcow2': 'exclusive'}, remarks=['share-rw'])
    agree(f'{drive},node-name=n -device virtio-scsi -device scsi-hd,drive=n', {'a.raw': 'exclusive'})
    agree(f'{drive},readonly=on -device virtio-blk-pci,drive=d,share-rw=on', {'a.raw': 'readonly'})
    agree('-drive if=none,format=raw,file=a.raw,file.locking=on,node-name=n '
          '-device virtio-blk-pci,drive=n,share-rw=on', {'a.raw': 'shared'})


@test
def blockdevs():
    begin()
    plug = '-device virtio-blk-pci,drive=d'
    agree(f'-blockdev {RAW} -blockdev raw,file=f,node-name=d {plug}', {'a.raw': 'exclusive'})
    agree(f'-blockdev {RAW} -blockdev raw,file=f,node-name=d', {'a.raw': 'exclusive'}, idle=['a.raw'])
    agree(f'-blockdev {QCOW2} -blockdev qcow2,file=f,node-name=d', {'a.qcow2': 'exclusive'})
    agree(f'-blockdev {QCOW2} -blockdev qcow2,file=f,node-name=d,read-only=on {plug}', {'a.qcow2': 'readonly'})
    agree(f'-blockdev {QCOW2},read-only=on -blockdev qcow2,file=f,node-name=d,read-only=on {plug}',
          {'a.qcow2': 'readonly'})
    agree(f'-blockdev {QCOW2},auto-read-only=on -blockdev qcow2,file=f,node-name=d {plug}', {'a.qcow2': 'exclusive'})
    agree(f'{plug} -blockdev qcow2,node-name=d,file.driver=file,file.filename=a.qcow2', {'a.qcow2': 'exclusive'})
    agree([*plug.split(), '-blockdev',
           '{"driver": "qcow2", "node-name": "d", "read-only": true,'
           ' "file": {"driver": "file", "filename": "a.qcow2"}}'],
          {'a.qcow2': 'readonly'})
    agree([*plug.split(), '-blockdev', RAW, '-blockdev', '{"driver": "raw", "node-name": "d", "file": "f"}'],
          {'a.raw': 'exclusive'})
    agree(f'-blockdev {RAW} {plug.replace("=d", "=f")}', {'a.raw': 'exclusive'})
    agree(f'-blockdev {RAW} -blockdev raw,file=f,node-name=d {plug},share-rw=on', {'a.raw': 'shared'})
    agree(f'-object throttle-group,id=t -blockdev {QCOW2} -blockdev qcow2,file=f,node-name=q '
          f'-blockdev throttle,throttle-group=t,file=q,node-name=d {plug}', {'a.qcow2': 'exclusive'})
    agree(f'-object throttle-group,id=t -blockdev {RAW} -blockdev raw,file=f,node-name=q '
          f'-blockdev throttle,throttle-group=t,file=q,node-name=d {plug},share-rw=on', {'a.raw': 'shared'})
    agree('-blockdev driver=quorum,node-name=d,vote-threshold=1,children.0.driver=raw,children.0.file.driver=file,'
          'children.0.file.filename=a.raw,children.1.driver=raw,children.1.file.driver=file,'
          f'children.1.file.filename=b.raw {plug}', {'a.raw': 'exclusive', 'b.raw': 'exclusive'})
    agree(['-blockdev', 'driver=qcow2,node-name=q,file.driver=file,file.filename=top.qcow2', '-blockdev',
           '{"driver": "quorum", "node-name": "d", "vote-threshold": 1, "children": ["q",'
           ' {"driver": "raw", "file": {"driver": "file", "filename": "b.raw"}}]}', *plug.split()],
          {'top.qcow2': 'exclusive', 'b.raw': 'exclusive', 'mid.qcow2': 'readonly', 'base.raw': 'readonly'})
    agree(f'-blockdev null-co,node-name=d {plug}', {}, remarks=['null-co'])
    agree('-M pc,pflash0=f -blockdev file,node-name=f,filename=a.raw', {'a.raw': 'exclusive'}, unguarded=['a.raw'])


@test
def filters():
    begin()
    plug = '-device virtio-blk-pci,drive=d'
    throttle = '-object throttle-group,id=t -drive if=none,id=d,driver=throttle,throttle-group=t'
    file = 'file.driver=file,file.filename'
    agree(f'{throttle},file.driver=qcow2,file.file.filename=a.qcow2 {plug}', {'a.qcow2': 'exclusive'})
    # Right below it is a file; nobody looks what is in that.
    agree(f'{throttle},file.filename=top.qcow2 {plug}', {'top.qcow2': 'exclusive'})
    agree(f'{throttle},file=top.qcow2 {plug}', {'top.qcow2': 'exclusive'})
    agree('-drive file=top.qcow2,if=virtio,file.driver=raw',
          {'top.qcow2': 'exclusive', 'mid.qcow2': 'readonly', 'base.raw': 'readonly'})
    agree(f'-blockdev qcow2,node-name=q,{file}=a.qcow2 -blockdev copy-on-read,file=q,node-name=d {plug}',
          {'a.qcow2': 'exclusive'})
    agree(f'-blockdev preallocate,node-name=d,{file}=a.raw {plug}', {'a.raw': 'exclusive'})
    agree(f'-blockdev raw,node-name=d,offset=512,{file}=a.raw {plug},share-rw=on', {'a.raw': 'shared'})
    agree(f'-blockdev driver=blkdebug,node-name=d,image.driver=file,image.filename=a.raw {plug}',
          {'a.raw': 'exclusive'})
    agree('-blockdev driver=blkverify,node-name=d,test.driver=file,test.filename=a.raw,raw.driver=file,'
          f'raw.filename=b.raw {plug}', {'a.raw': 'exclusive', 'b.raw': 'exclusive'})
    agree(['-blockdev', 'file,node-name=f,filename=a.raw', '-drive',
           'if=none,id=d,file=json:{"driver":"raw",,"file":"f"}', *plug.split()], {'a.raw': 'exclusive'})


@test
def backing_nodes():
    begin()
    plug = '-device virtio-blk-pci,drive=d'
    file = 'file.driver=file,file.filename'
    agree(f'-blockdev {QCOW2} -blockdev file,filename=b.raw,node-name=bf -blockdev raw,file=bf,node-name=b '
          f'-blockdev qcow2,file=f,node-name=d,backing=b {plug}', {'a.qcow2': 'exclusive', 'b.raw': 'readonly'})
    # A backing node that is not said to be read-only: QEMU locks what it could write tables to.
    agree(f'-blockdev qcow2,{file}=b.qcow2,node-name=b -blockdev qcow2,{file}=a.qcow2,node-name=d,backing=b {plug}',
          {'a.qcow2': 'exclusive', 'b.qcow2': 'exclusive'})
    agree(f'-blockdev qcow2,{file}=b.qcow2,node-name=b,read-only=on '
          f'-blockdev qcow2,{file}=a.qcow2,node-name=d,backing=b {plug}',
          {'a.qcow2': 'exclusive', 'b.qcow2': 'readonly'})
    agree(f'-blockdev qcow2,{file}=top.qcow2,node-name=d {plug}',
          {'top.qcow2': 'exclusive', 'mid.qcow2': 'readonly', 'base.raw': 'readonly'})
    agree(['-blockdev', '{"driver": "qcow2", "node-name": "d", "backing": null,'
           ' "file": {"driver": "file", "filename": "top.qcow2"}}', *plug.split()], {'top.qcow2': 'exclusive'})
    agree(f'-blockdev qcow2,{file}=top.qcow2,node-name=d,backing.driver=qcow2,backing.file.driver=file,'
          f'backing.file.filename=b.qcow2 {plug}', {'top.qcow2': 'exclusive', 'b.qcow2': 'readonly'})
    agree('-drive file=top.qcow2,if=virtio,backing.file.filename=c.qcow2',
          {'top.qcow2': 'exclusive', 'c.qcow2': 'readonly'})
    # A layer that a node describes has layers of its own.
    agree(f'-blockdev qcow2,{file}=a.qcow2,node-name=d,backing.driver=qcow2,backing.file.driver=file,'
          f'backing.file.filename=mid.qcow2 {plug}',
          {'a.qcow2': 'exclusive', 'mid.qcow2': 'readonly', 'base.raw': 'readonly'})


@test
def snapshots():
    begin()
    agree('-snapshot -hda a.qcow2 -drive file=b.raw,format=raw,snapshot=off',
          {'a.qcow2': 'readonly', 'b.raw': 'exclusive'})
    agree('-drive file=top.qcow2,snapshot=on',
          {'top.qcow2': 'readonly', 'mid.qcow2': 'readonly', 'base.raw': 'readonly'})
    agree('-snapshot -drive file=a.qcow2,if=virtio,backing.file.filename=c.qcow2',
          {'a.qcow2': 'readonly', 'c.qcow2': 'readonly'})
    agree('-snapshot -blockdev qcow2,file.driver=file,file.filename=a.qcow2,node-name=d -device virtio-blk-pci,drive=d',
          {'a.qcow2': 'exclusive'})


@test
def chains():
    begin()
    directory = agree.directory
    layers = {'mid.qcow2': 'readonly', 'base.raw': 'readonly'}
    agree('-hda top.qcow2', {'top.qcow2': 'exclusive'} | layers)
    agree('-drive file=top.qcow2,format=qcow2,if=virtio,readonly=on', {'top.qcow2': 'readonly'} | layers)
    # As raw it has no header, whatever is in it.
    agree('-drive file=top.qcow2,format=raw,if=virtio', {'top.qcow2': 'exclusive'})
    # Two guests' disks on one base: it is there once.
    agree('-hda top.qcow2 -hdb mid.qcow2 -snapshot', {'top.qcow2': 'readonly'} | layers)
    must_run('qemu-img', 'create', '-q', '-f', 'qcow2', '-b', '../base.raw', '-F', 'raw', 'up.qcow2',
             cwd=directory / 'sub')
    agree('-hda sub/up.qcow2', {'sub/up.qcow2': 'exclusive', 'base.raw': 'readonly'})
    chain('odd.qcow2', f'{directory}/colon:name.raw', 'raw', directory)
    agree('-hda odd.qcow2', {'odd.qcow2': 'exclusive', 'colon:name.raw': 'readonly'})
    chain('json.qcow2', 'json:{"driver": "raw", "file": {"driver": "file", "filename": "comma,name.raw"}}', 'raw',
          directory)
    agree('-hda json.qcow2', {'json.qcow2': 'exclusive', 'comma,name.raw': 'readonly'})
    must_run('qemu-img', 'create', '-q', '-f', 'qcow2', '-u', '-b', 'null-co://', '-F', 'raw', 'null.qcow2', '1M',
             cwd=directory)
    agree('-hda null.qcow2', {'null.qcow2': 'exclusive'}, remarks=['null-co://'])


@test
def data_files():
    begin()
    must_run('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', 'data_file=data.raw', 'ext.qcow2', '1M',
             cwd=agree.directory)
    # Unlike a backing file's, this name is not relative to the image.
    (agree.directory / 'ext.qcow2').rename(agree.directory / 'sub/ext.qcow2')
    agree('-hda sub/ext.qcow2', {'sub/ext.qcow2': 'exclusive', 'data.raw': 'exclusive'})
    (agree.directory / 'sub/ext.qcow2').rename(agree.directory / 'ext.qcow2')
    agree('-hda ext.qcow2', {'ext.qcow2': 'exclusive', 'data.raw': 'exclusive'})
    agree('-drive file=ext.qcow2,if=virtio,readonly=on', {'ext.qcow2': 'readonly', 'data.raw': 'readonly'})
    chain('over.qcow2', 'ext.qcow2', 'qcow2', agree.directory)
    agree('-hda over.qcow2', {'over.qcow2': 'exclusive', 'ext.qcow2': 'readonly', 'data.raw': 'readonly'})
    agree('-blockdev file,filename=data.raw,node-name=x -blockdev qcow2,file.driver=file,file.filename=ext.qcow2,'
          'data-file=x,node-name=d -device virtio-blk-pci,drive=d', {'ext.qcow2': 'exclusive', 'data.raw': 'exclusive'})
    must_run('qemu-img', 'create', '-q', '-f', 'vmdk', '-o', 'subformat=twoGbMaxExtentFlat', 'x.vmdk', '1M',
             cwd=agree.directory)
    agree('-hda x.vmdk', {'x.vmdk': 'exclusive', 'x-f001.vmdk': 'exclusive'})


@test
def a_running_guest_does_not_hinder():
    """qemu-img reads an image that another QEMU has locked."""
    begin()
    process = spawn_process(*command_line('-hda top.qcow2'), cwd=agree.directory, stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for pipe in (process.stdin, process.stdout, process.stderr):
        at_end(pipe.close)
    ready(process)
    equal(len(what_we_find(command_line('-hda top.qcow2'), agree.directory)['disks']), 3)


@test
def trouble_with_qemu_img():
    begin()
    program = test_program('qemu-disks', 'client')
    gone = run(program, '--chains', QEMU, '-hda', 'nowhere.qcow2', cwd=agree.directory)
    assert gone.returncode == 1 and 'nowhere.qcow2' in gone.stderr and '--no-backing-chain' in gone.stderr, gone
    missing = run(program, '--chains', QEMU, '-hda', 'a.qcow2', cwd=agree.directory, env={'PATH': '/nonexistent'})
    assert missing.returncode == 1 and 'qemu-utils' in missing.stderr, missing
    (agree.directory / 'qemu-img').write_text('#!/bin/sh\necho "[{}]"\n')
    (agree.directory / 'qemu-img').chmod(0o755)
    odd = run(program, '--chains', QEMU, '-hda', 'a.qcow2', cwd=agree.directory, env={'PATH': str(agree.directory)})
    assert odd.returncode == 1 and 'not understood' in odd.stderr, odd


@test
def options_with_and_without_arguments():
    """Each option that this QEMU tells of takes an argument if we think so."""
    told = set(re.findall(r'^ *--?([A-Za-z][A-Za-z0-9_-]*)', must_run(QEMU, '-help'), re.M))
    told |= {'M', 'hdb', 'hdd', 'hdachs', 'h', 'd', 'g', 'L', 'full-screen', 'xen-domid-restrict'}
    directory = temp_dir()
    differing = []
    for option in sorted(told):
        said = run(QEMU, f'-{option}', '-no-option', '-none-either').stderr
        if 'option' not in said or f' -{option}:' in said:
            continue
        takes_one = ': -none-either: invalid option' in said
        disks = what_we_find([QEMU, f'-{option}', 'image'], directory, chains=False)
        is_image = option in ('hda', 'hdb', 'hdc', 'hdd', 'fda', 'fdb', 'cdrom', 'sd', 'pflash', 'mtdblock')
        names = [Path(disk['path']).name for disk in disks['disks'] if disk['source'] == '-hda']
        known = not any('not known' in remark for remark in disks['remarks'])
        if not known or (not is_image and takes_one == (names == ['image'])):
            differing.append(option)
    equal(differing, [])
    assert len(told) > 100, told


main()
