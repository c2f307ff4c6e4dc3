# SPDX-License-Identifier: LGPL-2.1-or-later
"""What bash and zsh make of a command line of guestlockctl when somebody presses Tab: both are run in a terminal, and
asked for the line that is there then."""

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import termios
import time
from functools import partial
from pathlib import Path

from guestlocktest import (
    BUSY, SOURCE, at_end, configure, end_service, equal, image, main, run, skip, spawn_process, start_guest,
    start_service, temp_dir, test)

BUILD = Path(os.environ['GUESTLOCK_BUILD'])
CTL = BUILD / 'cli/guestlockctl'
COMPLETION = SOURCE / 'cli/completion'
TIMEOUT = shutil.which('timeout')
BASH_COMPLETION = Path('/usr/share/bash-completion/bash_completion')
# Tab; all that could be; and the key that hands the line over, and empties it.
TAB, ALL, DONE = '\t', '\x18a', '\x18d'
ODD = '''o'clock "x" $HOME'''
BASH = f'''
PS1='$ ' HISTFILE=
. {BASH_COMPLETION}
. {COMPLETION}/bash/guestlockctl
bind 'set enable-bracketed-paste off' 'set bell-style none' 'set completion-query-items 0'
bind '"\\C-xa": insert-completions'
hand_over() {{ printf '%s\\0' "$READLINE_LINE" >>said; READLINE_LINE=; }}
bind -x '"\\C-xd": hand_over'
printf 'ready\\0' >>said
'''
ZSH = f'''
PS1='$ ' LISTMAX=1000
fpath=({COMPLETION}/zsh $fpath)
autoload -U compinit && compinit -u -D
unsetopt beep
zstyle ':completion:all-matches:*' old-matches only
zstyle ':completion:all-matches::::' completer _all_matches
zle -C all-matches complete-word _generic
bindkey -s '^Xa' '^Xl^Xm'
bindkey '^Xl' list-choices '^Xm' all-matches
hand_over() {{ printf '%s\\0' "$BUFFER" >>said; BUFFER= }}
zle -N hand_over
bindkey '^Xd' hand_over
printf 'ready\\0' >>said
'''


def words_of(line):
    """As a shell reads them."""
    return run('bash', '-c', f"printf '%s\\0' {line}").stdout.split('\0')[:-1]


class Shell:
    """One in a terminal, in a directory of its own."""

    def __init__(self, name, patience=BUSY):
        self.name, self.directory, self.shown = name, temp_dir(), b''
        programs = temp_dir()
        # What completion gives the service, a few seconds, may be too little where other tests run.
        (programs / 'timeout').write_text(f'#!/bin/sh\nn=$1; shift; exec {TIMEOUT} $((n * {patience})) "$@"\n')
        (programs / 'timeout').chmod(0o755)
        master, slave = pty.openpty()
        self.terminal = master
        at_end(lambda: os.close(master))
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack('4H', 50, 400, 0, 0))
        (self.directory / 'setup').write_text({'bash': BASH, 'zsh': ZSH}[name])
        (self.directory / 'said').touch()
        command = {'bash': ['bash', '--noprofile', '--rcfile', 'setup', '-i'], 'zsh': ['zsh', '-f', '-i']}[name]
        self.process = spawn_process(
            'setsid', '--ctty', *command, cwd=self.directory, stdin=slave, stdout=slave, stderr=slave,
            env={**os.environ, 'TERM': 'vt100', 'HOME': str(self.directory),
                 'PATH': f'{programs}:{CTL.parent}:{os.environ["PATH"]}', 'LC_ALL': 'C.UTF-8'})
        os.close(slave)
        if name == 'zsh':
            self.type('. ./setup\n')
        equal(self.said(1), ['ready'])

    def type(self, text):
        os.write(self.terminal, text.encode())

    def said(self, count):
        """So many lines; what the terminal shows meanwhile goes to self.shown."""
        deadline = time.monotonic() + 10 * BUSY
        while (text := (self.directory / 'said').read_text()).count('\0') < count:
            assert time.monotonic() < deadline, f'{self.name} does not answer, and shows {self.shown!r}'
            if select.select([self.terminal], [], [], 0.01)[0]:
                self.shown += os.read(self.terminal, 65536)
        (self.directory / 'said').write_text('')
        return text.split('\0')[:-1]

    def complete(self, line, key=TAB):
        """The line after this one was typed, and the key."""
        self.type(line + key + DONE)
        return self.said(1)[0]

    def choices(self, line):
        """The words that may come at the end of it."""
        begin = len(words_of(line)) - (not line.endswith(' '))
        return sorted(words_of(self.complete(line, ALL))[begin:])


def shell_of(name, **options):
    if not shutil.which(name) or (name == 'bash' and not BASH_COMPLETION.exists()):
        skip(f'{name} or its completion is missing (tools/install-deps --all installs it)')
    return Shell(name, **options)


def in_each_shell(function, **options):
    for name in ('bash', 'zsh'):
        def in_shell(name=name):
            function(shell_of(name, **options))
        in_shell.__name__ = f'{function.__name__}_in_{name}'
        test(in_shell)


def options_of(*command):
    text = run(str(CTL), *command, '--help').stdout
    return set(re.findall(r'^  (?:-\w, )?(--[a-z-]+)', text, re.M))


@in_each_shell
def commands_and_their_options(shell):
    commands = re.findall('^  ([a-z]+) ', run(str(CTL), '--help').stdout.partition('Commands:')[2], re.M)
    assert len(commands) >= 11, commands
    equal(shell.choices('guestlockctl '), sorted(commands))
    equal(shell.complete('guestlockctl --json mon'), 'guestlockctl --json monitor ')
    equal({word.rstrip('=') for word in shell.choices('guestlockctl --')}, options_of())
    for command in commands:
        equal({word.rstrip('=') for word in shell.choices(f'guestlockctl {command} --')}, options_of(command))


@in_each_shell
def guests(shell):
    for name in ('db', 'my guest', 'my other', 'rack:1=a b', 'web1', ODD):
        start_guest([], name)
    # Those that their name would not find.
    others = [start_guest([], name).Uuid for name in ('4242', '-x', 'twin', 'twin', 'a\nb')]
    names = ['db', 'my guest', 'my other', 'rack:1=a b', 'web1', ODD, *others]
    for command in ('status', 'monitor', 'stop', 'attach', 'detach', 'revoke'):
        equal(shell.choices(f'guestlockctl {command} '), sorted(names))
    equal(shell.choices('guestlockctl status db '), sorted(names))
    equal(shell.complete('guestlockctl --json status w'), 'guestlockctl --json status web1 ')
    # However it is quoted, it is one word.
    for typed in ('my', r'my\ ', '"my', '"my ', "'my", "'my "):
        equal(shell.complete(f'guestlockctl stop --kill {typed}').rstrip('"\''), {
            '"': 'guestlockctl stop --kill "my ', "'": "guestlockctl stop --kill 'my "}.get(
                typed[0], r'guestlockctl stop --kill my\ '))
        equal(words_of(shell.complete(f'guestlockctl stop --kill {typed}', TAB + 'g' + TAB)),
              ['guestlockctl', 'stop', '--kill', 'my guest'])
    # Where readline begins a word anew.
    for typed in ('r', 'rack:', 'rack:1=', 'rack:1=a\\ ', '"rack:', "'rack:1="):
        equal(words_of(shell.complete(f'guestlockctl status db {typed}')), ['guestlockctl', 'status', 'db', 'rack:1=a b'])
    for typed in ('o', '"o'):
        equal(words_of(shell.complete(f'guestlockctl revoke {typed}')), ['guestlockctl', 'revoke', ODD])
    assert not set(names) & set(shell.choices('guestlockctl stop db '))


@in_each_shell
def disks(shell):
    for name in ('a.img', 'a b.img', 'c,d.img'):
        image(shell.directory, name)
    start_guest([], 'web1')
    files = ['a b.img', 'a.img', 'c,d.img', 'said', 'setup']
    for line in ('who ', 'who a.img ', 'detach web1 ', 'attach web1 ', 'revoke web1 ', 'revoke web1 a.img ',
                 'run --disk ', 'run -q -d ', 'start --disk '):
        equal(shell.choices(f'guestlockctl {line}'), files)
    equal(shell.complete('guestlockctl start --disk=a.'), 'guestlockctl start --disk=a.img ')
    equal(shell.complete('guestlockctl run --disk a\\ '), 'guestlockctl run --disk a\\ b.img ')
    equal(shell.complete('guestlockctl run --disk c'), 'guestlockctl run --disk c,d.img ')
    for before in ('run --disk ', 'run --disk=', 'start -d ', 'attach web1 '):
        for path in ('a.img', 'a\\ b.img', '"a b.img'):
            line = f'guestlockctl {before}{path},'
            words = words_of(f'{line}"' if '"' in path else line)
            for typed, mode in (('m' + TAB + 'r', 'readonly'), ('mode=s', 'shared'), ('mode=e', 'exclusive')):
                equal(words_of(shell.complete(line + typed)), [*words[:-1], f'{words[-1]}mode={mode}'])


@in_each_shell
def values(shell):
    for line, wanted in (('run --on-lease-lost ', ['kill', 'notify', 'pause']),
                         ('start --on-lease-lost=', ['kill', 'notify', 'pause']),
                         ('start x --require-scope ', ['fenced', 'host', 'mount', 'shared']),
                         ('run --driver ', ['file']), ('drivers --unload ', ['file'])):
        words = shell.choices(f'guestlockctl {line}')
        equal(sorted(word.rpartition('=')[2] for word in words), wanted)
    equal(shell.complete('guestlockctl run --on-lease-lost=k'), 'guestlockctl run --on-lease-lost=kill ')
    equal(shell.complete('guestlockctl run --wai'), 'guestlockctl run --wait ')
    for line in ('start ', 'start --uuid ', 'revoke --reason ', 'attach x y -t ', 'list ', 'nonsense '):
        equal([word for word in shell.choices(f'guestlockctl {line}') if not word.startswith('-')], [])


@in_each_shell
def command_of_run(shell):
    image(shell.directory, 'a.img')
    program = shell.directory / 'frobnicate-guests'
    program.write_text('#!/bin/sh\n')
    program.chmod(0o755)
    shell.complete(f'PATH=$PATH:{shell.directory}', '\n')
    for before in ('run -- ', 'run ', 'run --disk=a.img,mode=shared --timeout=3 -w -q -- ', 'run -d a.img '):
        equal(shell.complete(f'guestlockctl {before}frobn'), f'guestlockctl {before}frobnicate-guests ')
        # What is no option of run's any more.
        equal(shell.complete(f'guestlockctl {before}cat a'), f'guestlockctl {before}cat a.img ')
        equal(shell.complete(f'guestlockctl {before}sort --rev'), f'guestlockctl {before}sort --reverse ')


@partial(in_each_shell, patience=1)
def without_a_service(shell):
    configure('nonsense\n')
    end_service()
    begin = time.monotonic()
    equal(shell.complete('guestlockctl status w'), 'guestlockctl status w')
    assert time.monotonic() - begin < 5 * BUSY
    assert b'guestlockctl: ' not in shell.shown, shell.shown
    configure('')
    pid = start_service()
    os.kill(pid, signal.SIGSTOP)
    at_end(lambda: os.kill(pid, signal.SIGCONT))
    equal(shell.complete('guestlockctl status w'), 'guestlockctl status w')


main()
