#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The kmcl command as a person and as a program use it. Arguments: kmcl, and the folder of its drivers."""

import hashlib
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'scripts'))
sys.dont_write_bytecode = True

import tapresult  # noqa: E402

KMCL, DRIVERS = sys.argv[1:3]
PATIENCE = 120
PATHS = ['echo, in-band', 'sum, external data', 'sink, one way', 'fill, external data',
         'sum, GPADL', 'push, server to client']


def kmcl(*args, command=KMCL):
    return subprocess.run([command, *args], capture_output=True, text=True, timeout=PATIENCE)


class Tool(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = scratch.name

    def file(self, content, name='input'):
        path = os.path.join(self.scratch, name)
        with open(path, 'wb') as f:
            f.write(content)
        return path

    def assert_failed(self, result, code, *words):
        self.assertEqual(result.returncode, code, result)
        for word in words:
            self.assertIn(word, result.stderr)


class Demo(Tool):
    def demo(self, content, *more):
        path = self.file(content)
        result = kmcl('demo', '--json', '--input', path, *more)
        self.assertEqual(result.returncode, 0, result)
        answer = json.loads(result.stdout)
        self.assertIs(answer['ok'], True)
        digest = hashlib.sha256(content).hexdigest()
        self.assertEqual(answer['sources'], [{
            'source': path, 'bytes': len(content), 'sha256': digest,
            'echoed_sha256': digest, 'equal': True}])
        self.assertEqual([p['path'] for p in answer['paths']], PATHS)
        for p in answer['paths'][:5]:
            self.assertEqual(p['bytes'], len(content))
            self.assertGreater(p['packets'], 0)
        return answer

    def test_empty_file(self):
        self.demo(b'')

    def test_one_byte(self):
        self.demo(b'x')

    def test_odd_size(self):
        self.demo(bytes((i * 7) & 0xff for i in range(1234567)))

    def test_size_of_a_chunk_and_one_byte(self):
        answer = self.demo(os.urandom((4 << 20) + 1))
        self.assertEqual(answer['paths'][0]['packets'], 513)
        for p in answer['paths']:
            if p['path'] != 'sink, one way':
                self.assertLessEqual(p['round_trip_p50_ns'], p['round_trip_p99_ns'])
            self.assertGreater(p['packets_per_second'], 0)

    def test_client_of_the_framework(self):
        self.demo(os.urandom(1234567), '--client', 'echo_vsc_kmdf.so')

    def test_table(self):
        result = kmcl('demo', '--input', self.file(b'hello'))
        self.assertEqual(result.returncode, 0, result)
        self.assertEqual(result.stderr, '')
        for path in PATHS:
            self.assertIn(path, result.stdout)
        self.assertIn(hashlib.sha256(b'hello').hexdigest(), result.stdout)

    def test_default_is_the_library_and_generated_data(self):
        result = kmcl('demo', '--json', '--size', '1')
        self.assertEqual(result.returncode, 0, result)
        library, generated = json.loads(result.stdout)['sources']
        with open(library['source'], 'rb') as f:
            self.assertEqual(hashlib.sha256(f.read()).hexdigest(), library['sha256'])
        self.assertIn('libkmcl.so', library['source'])
        self.assertEqual(generated['bytes'], 1 << 20)

    def test_progress_on_a_terminal_leaves_nothing(self):
        ours, theirs = pty.openpty()
        tool = subprocess.Popen([KMCL, 'demo', '--input', self.file(os.urandom(20 << 20))],
                                stdout=subprocess.DEVNULL, stderr=theirs)
        os.close(theirs)
        shown = b''
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:
                break
            if not part:
                break
            shown += part
        os.close(ours)
        self.assertEqual(tool.wait(PATIENCE), 0)
        self.assertIn(b'%', shown)
        self.assertTrue(shown.endswith(b'\r\x1b[K'), shown[-40:])

    def test_missing_file(self):
        self.assert_failed(kmcl('demo', '--input', '/nowhere/at/all'), 1, '/nowhere/at/all',
                           'No such file')

    def test_folder(self):
        self.assert_failed(kmcl('demo', '--input', self.scratch), 1, self.scratch, 'directory')

    def test_unreadable_file(self):
        if os.geteuid() == 0:
            # root reads everything; this file cannot be read at its first byte by anybody
            path = '/proc/self/mem'
        else:
            path = self.file(b'secret')
            os.chmod(path, 0)
        result = kmcl('demo', '--json', '--input', path)
        self.assert_failed(result, 1, path)

    def test_output_that_cannot_be_written(self):
        with open('/dev/full', 'w') as full:
            result = subprocess.run([KMCL, 'demo', '--input', self.file(b'x')], stdout=full,
                                    stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
        self.assert_failed(result, 1, 'cannot write', 'No space left')

    def test_drivers_elsewhere(self):
        place = os.path.join(self.scratch, 'drivers')
        os.mkdir(place)
        for name in ('echo_vsp.so', 'echo_vsc.so', 'echo_vsc.inf'):
            shutil.copy(os.path.join(DRIVERS, name), place)
        path = self.file(b'moved')
        result = kmcl('demo', '--input', path, '--drivers', place)
        self.assertEqual(result.returncode, 0, result)
        os.remove(os.path.join(place, 'echo_vsc.so'))
        self.assert_failed(kmcl('demo', '--input', path, '--drivers', place), 1, 'echo_vsc.so')
        self.assert_failed(kmcl('demo', '--input', path, '--drivers', self.scratch), 1,
                           'echo_vsp.so', 'No such file')

    def test_wrong_options(self):
        self.assert_failed(kmcl('demo', '--nonsense'), 2, '--nonsense', 'kmcl demo --help')
        self.assert_failed(kmcl('demo', '--input'), 2, '--input')
        self.assert_failed(kmcl('demo', '--size', '-3'), 2, '-3')
        self.assert_failed(kmcl('demo', '--size', '12x'), 2, '12x')
        self.assert_failed(kmcl('demo', 'file'), 2, 'file')


class Run(Tool):
    def spec(self, name, options=''):
        return os.path.join(DRIVERS, name) + options

    def start(self, *args):
        tool = subprocess.Popen([KMCL, 'run', *args], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
        self.addCleanup(tool.stdout.close)
        self.addCleanup(tool.stderr.close)
        self.addCleanup(tool.kill)
        return tool

    def wait_line(self, tool, text):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            line = tool.stdout.readline()
            if text in line:
                return
            self.assertNotEqual(line, '', 'ended before it said ' + text)
        self.fail('never said ' + text)

    def test_runs_a_client_of_the_framework(self):
        tool = self.start('--server', self.spec('echo_vsp.so', ',channels=2'),
                          '--client', self.spec('echo_vsc_kmdf.so'))
        self.wait_line(tool, 'echo_vsc_kmdf.so: 2 devices')
        tool.send_signal(signal.SIGTERM)
        out, err = tool.communicate(timeout=PATIENCE)
        self.assertEqual(tool.returncode, 0, out + err)
        self.assertEqual(err, '')

    def ends_on(self, number):
        tool = self.start('--server', self.spec('echo_vsp.so', ',channels=3'),
                          '--client', self.spec('echo_vsc.so'))
        self.wait_line(tool, 'echo_vsc.so: 3 devices')
        tool.send_signal(number)
        out, err = tool.communicate(timeout=PATIENCE)
        self.assertEqual(tool.returncode, 0, out + err)
        self.assertEqual(err, '')
        self.assertIn("'echo E2'", out)

    def test_ends_on_sigint(self):
        self.ends_on(signal.SIGINT)

    def test_ends_on_sigterm(self):
        self.ends_on(signal.SIGTERM)

    def test_timeout(self):
        result = kmcl('run', '--server', self.spec('echo_vsp.so'), '--timeout', '1')
        self.assertEqual(result.returncode, 0, result)

    def test_missing_driver(self):
        self.assert_failed(kmcl('run', '--server', './nothing.so', '--timeout', '1'), 1,
                           './nothing.so', 'No such file')

    def test_driver_that_refuses_its_options(self):
        self.assert_failed(kmcl('run', '--server', self.spec('echo_vsp.so', ',channels=0'),
                                '--timeout', '1'), 1, 'channels=', 'STATUS_INVALID_PARAMETER')

    def test_unknown_offer_option(self):
        self.assert_failed(kmcl('run', '--server', self.spec('echo_vsp.so', ',offer.colour=red'),
                                '--timeout', '1'), 1, 'offer.colour')

    def test_wrong_options(self):
        self.assert_failed(kmcl('run'), 2, '--server')
        self.assert_failed(kmcl('run', '--client'), 2, '--client')
        self.assert_failed(kmcl('run', '--timeout', 'soon'), 2, 'soon')
        self.assert_failed(kmcl('run', '--server', 'a.so', 'b.so'), 2, 'b.so')


class Limits(Tool):
    def test_a_demo_within_its_limits(self):
        path = self.file(os.urandom(300000))
        result = kmcl('demo', '--json', '--input', path, '--limit', 'channels=1',
                      '--limit', 'gpadls=2', '--limit', 'outgoing_packets=2',
                      '--limit', 'incoming_packets=1', '--limit', 'queued_messages=1',
                      '--limit', 'posted_messages=1')
        self.assertEqual(result.returncode, 0, result)
        self.assertIs(json.loads(result.stdout)['ok'], True)

    def test_a_limit_that_a_driver_meets(self):
        result = kmcl('run', '--server', os.path.join(DRIVERS, 'echo_vsp.so') + ',channels=2',
                      '--limit', 'channels=1', '--timeout', '1')
        self.assert_failed(result, 1, 'echo_vsp', 'STATUS_INSUFFICIENT_RESOURCES')

    def test_wrong_limits(self):
        for text in ('channels', 'channels=', 'channels=0', 'channels=4294967296', 'channels=x',
                     'channel=1', 'channelss=1', '=1'):
            for command in ('demo', 'run'):
                self.assert_failed(kmcl(command, '--limit', text), 2, text, '--limit')


class Command(Tool):
    def test_version(self):
        result = kmcl('--version')
        self.assertEqual(result.returncode, 0)
        self.assertRegex(result.stdout, r'^kmcl \d+\.\d+\.\d+\n$')

    def test_help(self):
        self.assertIn('demo', kmcl('--help').stdout)
        for command, option in (('demo', '--input'), ('run', '--server')):
            result = kmcl(command, '--help')
            self.assertEqual((result.returncode, result.stderr), (0, ''))
            self.assertIn(option, result.stdout)

    def test_wrong_words(self):
        self.assert_failed(kmcl('dance'), 2, 'dance')
        self.assert_failed(kmcl('--dance'), 2, '--dance')
        self.assertEqual(kmcl().returncode, 2)


if __name__ == '__main__':
    sys.exit(tapresult.main(sys.modules[__name__]))
