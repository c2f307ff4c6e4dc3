# SPDX-License-Identifier: LGPL-2.1-or-later
"""libguestlock in C programs: each of its calls, blocking and in the background, and what they meet; plain, or with the
sanitizers of the build, and under valgrind."""

import json
import os
import re
import shutil
from pathlib import Path

from guestlocktest import main, note, run, skip, test

BUILD = Path(os.environ['GUESTLOCK_BUILD'])
OPTIONS = json.loads((BUILD / 'meson-info/intro-buildoptions.json').read_text())
SANITIZED = next(option['value'] for option in OPTIONS if option['name'] == 'b_sanitize') != 'none'
VALGRIND = ('valgrind', '-q', '--leak-check=full', '--errors-for-leak-kinds=definite', '--show-leak-kinds=definite',
            '--error-exitcode=99', '--trace-children=no', '--suppressions=/usr/share/glib-2.0/valgrind/glib.supp')


def run_program(name, *before):
    result = run(*before, str(BUILD / 'tests/client' / name), '--tap', timeout=200,
                 env=os.environ | {'G_SLICE': 'always-malloc', 'G_DEBUG': 'fatal-criticals'})
    passed = re.findall(r'^ok \d+ (\S+)', result.stdout, re.M)
    planned = re.search(r'^1\.\.(\d+)$', result.stdout, re.M)
    assert result.returncode == 0 and planned and len(passed) == int(planned[1]), result.stdout + result.stderr
    # What valgrind does not know of the kernel is not the library's.
    complaints = [line for line in result.stderr.splitlines() if not re.match(r'--\d+--', line)]
    assert not complaints, result.stderr
    note(f'{name}: {len(passed)} passed')


def run_under_valgrind(name):
    if not shutil.which('valgrind'):
        skip('valgrind is missing (tools/install-deps --all installs it)')
    run_program(name, *VALGRIND)


@test
def calls():
    run_program('test-calls')


@test
def trouble():
    run_program('test-trouble')


@test
def who():
    run_program('test-who')


# The sanitizers look for the same, and do not stand each other.
if not SANITIZED:
    @test
    def calls_under_valgrind():
        run_under_valgrind('test-calls')

    @test
    def trouble_under_valgrind():
        run_under_valgrind('test-trouble')

    @test
    def who_under_valgrind():
        run_under_valgrind('test-who')


main()
