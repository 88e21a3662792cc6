# SPDX-License-Identifier: MIT
"""Runs test programs, each in a process group of its own, with a deadline, and reads their TAP.

Not `meson test`: it mixes a program's two output streams into one pipe, where a line of the log
can cut a result line in two, and a test that is cut off would be lost without a trace.
"""

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from . import tap
from .results import ROOT, Result
from .tap import FAILED, PASSED, SKIPPED

SKIP_EXIT = 77
TAIL = 64 * 1024  # of each stream of a program


@dataclass
class Program:
    name: str
    command: list
    timeout: float = 120
    env: dict = field(default_factory=dict)
    workdir: str = ROOT
    parallel: bool = True
    whole_names: bool = False
    may_skip: bool = False  # exit status 77 means skipped (Meson's convention; libFuzzer's crash!)


@dataclass
class Outcome:
    program: Program
    results: list
    seconds: float
    output: str

    @property
    def failed(self):
        return any(one.outcome == FAILED for one in self.results)


def _ended_badly(code, timed_out, timeout):
    """Why the end of the process is a failure whatever its lines said; '' when it is none."""
    if timed_out:
        return f'timed out after {timeout:g} s'
    if code < 0:
        try:
            return f'killed by {signal.Signals(-code).name}'
        except ValueError:
            return f'killed by signal {-code}'
    return f'exit status {code}' if code else ''


def judge(program, code, timed_out, stdout):
    """Results of one run: its lines, and its end as a failure of its own unless they explain it."""
    report = tap.parse(stdout, program.whole_names)
    results = [Result(name, program.name, outcome, detail)
               for name, outcome, detail in report.tests]
    explained = any(one.outcome == FAILED for one in results)
    ended = _ended_badly(code, timed_out, program.timeout)

    if not results and not report.problems:
        if program.may_skip and code == SKIP_EXIT and not timed_out:
            return [Result(program.name, program.name, SKIPPED)]
        return [Result(program.name, program.name, FAILED if ended else PASSED, ended)]
    for problem in report.problems:
        results.append(Result(f'{program.name} (incomplete)', program.name, FAILED, problem))
    # cmocka's exit status is the number of failed tests: with failures told it adds nothing.
    if ended and (not explained or timed_out or code < 0):
        results.append(Result(f'{program.name} (end)', program.name, FAILED, ended))
    return results


def _kill_group(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def run(program):
    start = time.monotonic()
    env = {**os.environ, 'CMOCKA_MESSAGE_OUTPUT': 'TAP', **program.env}
    timed_out = False
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(program.command, stdin=subprocess.DEVNULL, stdout=out,
                                       stderr=err, cwd=program.workdir, env=env,
                                       start_new_session=True)
        except OSError as error:
            result = Result(program.name, program.name, FAILED, str(error))
            return Outcome(program, [result], 0, str(error))
        try:
            process.wait(program.timeout)
        except subprocess.TimeoutExpired:
            timed_out = True
        # Also after a normal end: a test may have left a child behind.
        _kill_group(process)
        process.wait()
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode('utf-8', 'replace'))
    results = judge(program, process.returncode, timed_out, texts[0])
    output = texts[0][-TAIL:] + ('\n' if texts[0] else '') + texts[1][-TAIL:]
    return Outcome(program, results, time.monotonic() - start, output)


def run_all(programs, jobs, report):
    """Runs them, those that want it alone at the end; report(outcome) is called one at a time."""
    outcomes = []
    lock = threading.Lock()

    def one(program):
        outcome = run(program)
        with lock:
            outcomes.append(outcome)
            report(outcome)

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        list(pool.map(one, [program for program in programs if program.parallel]))
    for program in programs:
        if not program.parallel:
            one(program)
    return outcomes


def up_to_date(program, folder):
    """Whether ninja has nothing left to do for what the program's command names in the folder."""
    top = os.path.join(ROOT, folder) + os.sep
    files = [os.path.relpath(word, top) for word in program.command
             if word.startswith(top) and os.path.isfile(word)]
    if not files:
        return False
    asked = subprocess.run(['ninja', '-C', folder, '-n', *files], cwd=ROOT, capture_output=True,
                           text=True, check=False)
    return asked.returncode == 0 and 'no work to do' in asked.stdout


def of_meson(folder, wrapper=(), timeout_factor=1, env=None):
    """The tests that a build folder registers. ValueError says why they cannot be listed."""
    listing = subprocess.run(['meson', 'introspect', '--tests', folder], cwd=ROOT,
                             capture_output=True, text=True, check=False)
    if listing.returncode != 0:
        raise ValueError(f'meson introspect failed: {listing.stderr.strip()}')
    programs = []
    for test in json.loads(listing.stdout):
        programs.append(Program(
            name=test['name'], command=[*wrapper, *test['cmd']],
            timeout=(test['timeout'] or 600) * timeout_factor,
            env={**test['env'], **(env or {})},
            workdir=test['workdir'] or os.path.join(ROOT, folder),
            parallel=test['is_parallel'], may_skip=True))
    return programs
