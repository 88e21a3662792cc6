# SPDX-License-Identifier: MIT
"""What the tests of the peers share: processes of the library's, and bounds."""

import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'scripts'))
sys.dont_write_bytecode = True

import tapresult  # noqa: E402
import wire  # noqa: E402

KMCL, DRIVERS, PLAIN, DRIVEN = sys.argv[1:5]
PLAIN = PLAIN == 'yes'  # no sanitizer
SOAK = bool(os.environ.get('KMCL_SOAK'))
PATIENCE = 60
# With a sanitizer, one of each way to signal and of each form of a message.
VERSIONS = wire.VERSIONS if PLAIN or SOAK else wire.VERSIONS[::3] + wire.VERSIONS[-1:]


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f'in vain: {what}')
        time.sleep(0.01)


class Processes(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = scratch.name
        self.socket = os.path.join(self.scratch, 'bus')
        self.control = os.path.join(self.scratch, 'control')

    def start(self, *command, **more):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True, **more)
        self.addCleanup(self.finish, process)
        return process

    @staticmethod
    def finish(process):
        if process.poll() is None:
            process.kill()
        process.wait(timeout=PATIENCE)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()

    def serve(self, *more, channels=2):
        host = self.start(KMCL, 'serve', '--socket', self.socket, '--control', self.control,
                          '--driver', f'{DRIVERS}/echo_vsp.so,channels={channels}',
                          *(() if PLAIN else ('--no-sandbox',)), *more)
        wait_until(lambda: os.path.exists(self.socket) or host.poll() is not None, 'the socket')
        self.assertIsNone(host.poll())
        return host

    def end(self, process):
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 0, out + err)
        return out, err

    @staticmethod
    def held(process):
        """Descriptors, mappings of guest memory, and threads that belong to a partition; those that
        wait for work of any kind go when they have waited long enough."""
        proc = f'/proc/{getattr(process, "pid", process)}'
        with open(f'{proc}/maps', encoding='utf-8') as maps:
            mappings = sum('memfd:' in line for line in maps)
        threads = 0
        for task in os.listdir(f'{proc}/task'):
            try:
                with open(f'{proc}/task/{task}/comm', encoding='utf-8') as comm:
                    threads += comm.read().startswith('kmcl-')
            except OSError:
                pass  # it has just ended
        return [len(os.listdir(f'{proc}/fd')), threads, mappings]


def main(name):
    sys.exit(tapresult.main(sys.modules[name]))
