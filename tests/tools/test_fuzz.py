#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kmcl fuzz. Arguments: kmcl, the folder of its drivers, that of the broken drivers, and yes if they are
there with coverage too."""

import os
import struct
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'scripts'))
sys.dont_write_bytecode = True

import tapresult  # noqa: E402

KMCL, DRIVERS, BUILT, SEARCHES = sys.argv[1:5]
BROKEN, COVERED = (os.path.join(BUILT, name + '_driver.so') for name in ('broken', 'covered'))
CLIENT, COVERED_CLIENT = (os.path.join(BUILT, name + '_client.so') for name in ('broken', 'covered'))
PATIENCE = 280
MAGIC, KEY = 0x4b434142, 0x5ec2e71d
LOGIN, SETUP, CHECKSUM, TWICE, NEVER, LEAVE = 1, 2, 3, 0x5505, 0x6606, 0x7707
FIRST, SECOND, THIRD, LAST = 0x1101, 0x2202, 0x3303, 0x4404
SEND, ANSWER, MANNERS, ASK, QUIET = 0, 4, 5, 1, 2
CLIENT_MAGIC, CLIENT_VERSION, EVENT = 0x4c434142, 0x0203, 0x0e57
# In a plain build, and in those with sanitizers: each says it in its own way.
DIED = r'died of Segmentation fault|(Address|Thread)Sanitizer: |runtime error: '


def fuzz(*args):
    return subprocess.run([KMCL, 'fuzz', *args], capture_output=True, text=True, timeout=PATIENCE,
                          check=False)


def step(op, flags=0, a=0, data=b''):
    return struct.pack('<BBBBHHII', op, 0, flags, 1, 0, len(data), a, 0) + data


def request(operation, key=0, length=0):
    """A step that sends one to the broken driver."""
    return step(SEND, ASK, data=struct.pack('<IHHII', MAGIC, operation, 1, key, length))


def answer(length=0, more=0):
    """A step that completes what the broken client asks, as soon as it does."""
    return step(ANSWER, data=struct.pack('<IHHI', CLIENT_MAGIC, CLIENT_VERSION, more, length))


def greeting(*steps):
    return step(MANNERS, a=QUIET) + answer() + b''.join(steps)


def session(*operations):
    return request(LOGIN, KEY) + request(SETUP) + b''.join(operations)


class Fuzz(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = scratch.name
        self.found = os.path.join(self.scratch, 'found')

    def write(self, *runs, end=0):
        path = os.path.join(self.scratch, 'input')
        with open(path, 'wb') as file:
            file.write(b'kmclfuzz' + struct.pack('<II', 1, end))
            for run in runs:
                file.write(struct.pack('<I', len(run)) + run)
        return path

    def replay(self, bug, path, *more):
        return fuzz('--driver', f'{BROKEN},bug={bug}', '--replay', path, *more)

    def replay_client(self, bug, path, *more):
        return fuzz('--client', f'{CLIENT},bug={bug}', '--replay', path, *more)

    def finds(self, bug, path, words, *more, replay=None):
        """It does with the bug, and does not without."""
        replay = replay or self.replay
        result = replay(bug, path, *more)
        self.assertEqual(result.returncode, 1, result)
        self.assertRegex(result.stdout, words)
        sound = replay(0, path)
        self.assertEqual(sound.returncode, 0, sound)

    def finds_in_client(self, bug, path, words, *more):
        self.finds(bug, path, words, *more, replay=self.replay_client)

    def test_a_length_that_is_believed_is_found_in_a_replay(self):
        path = self.write(session(request(CHECKSUM, length=0xffffffff)))
        self.finds(1, path, DIED)

    def test_a_sequence_is_found_in_a_replay(self):
        path = self.write(session(*(request(n) for n in (FIRST, SECOND, THIRD, LAST))))
        self.finds(2, path, DIED)
        other = self.write(session(*(request(n) for n in (FIRST, THIRD, SECOND, LAST))))
        self.assertEqual(self.replay(2, other).returncode, 0)

    def test_a_broken_rule_is_a_finding(self):
        path = self.write(session(request(TWICE)))
        self.finds(3, path, 'double-completion')
        here = self.replay(3, path, '--no-fork')
        self.assertIn('double-completion', here.stderr)
        self.assertLess(here.returncode, 0, here)
        self.assertEqual(self.replay(3, path, '--ignore', 'double-completion').returncode, 0)

    def test_a_hang_is_a_finding(self):
        path = self.write(session(request(NEVER)))
        result = self.replay(4, path, '--timeout', '2')
        self.assertEqual(result.returncode, 1, result)
        self.assertTrue('hung' in result.stdout or 'callback-at-suspend' in result.stdout, result)

    def test_what_is_left_in_the_pool_is_a_finding(self):
        path = self.write(session(), session(request(LEAVE)))
        self.finds(5, path, 'pool')

    def test_a_length_that_a_client_believes_is_found_in_a_replay(self):
        path = self.write(greeting(answer(length=0x7fffffff)), end=1)
        self.finds_in_client(1, path, DIED)

    def test_an_end_of_a_request_after_the_session_is_found_in_a_replay(self):
        # Five times: what counts is that the client's next request is out when the offer goes.
        path = self.write(greeting(answer(more=1)), end=1)
        self.finds_in_client(2, path, DIED, '--runs', '5')

    def test_an_index_that_a_client_believes_is_found_in_a_replay(self):
        event = struct.pack('<IHHI', CLIENT_MAGIC, EVENT, 0, 0xffffffff)
        self.finds_in_client(3, self.write(greeting(step(SEND, data=event)), end=1), DIED)

    def test_a_clean_server_gives_no_finding(self):
        result = fuzz('--driver', os.path.join(DRIVERS, 'echo_vsp.so'), '--runs', '150', '--seed', '1',
                      '--found', self.found, '--timeout', '60')
        self.assertEqual(result.returncode, 0, result)
        self.assertIn(' 0 findings', result.stdout)
        self.assertFalse(os.path.exists(self.found))

    def test_a_clean_client_gives_no_finding(self):
        result = fuzz('--client', os.path.join(DRIVERS, 'echo_vsc.so'), '--runs', '100', '--seed', '1',
                      '--found', self.found, '--timeout', '60')
        self.assertEqual(result.returncode, 0, result)
        self.assertIn(' 0 findings', result.stdout)

    def test_what_is_wrong_is_named(self):
        for words, part in (((), '--driver'), (('--driver', 'x.so', '--runs', 'many'), '--runs many'),
                            (('--client', 'x.so'), '--interface'),
                            (('--driver', 'x.so', '--no-fork'), '--replay'),
                            (('--driver', 'x.so', '--ignore', 'no-rule'), '--ignore no-rule'),
                            (('--client', 'x.so', '--interface',
                              '{6b1a5cd0-3b1f-4bb2-8f01-020304050608'), 'not a GUID')):
            result = fuzz(*words)
            self.assertEqual(result.returncode, 2, result)
            self.assertIn(part, result.stderr)
        missing = fuzz('--driver', '/no/such.so', '--runs', '1')
        self.assertEqual(missing.returncode, 1)
        self.assertIn('/no/such.so', missing.stderr)
        garbage = os.path.join(self.scratch, 'garbage')
        for bytes_ in (b'', b'kmclfuzz', b'kmclfuzz\1\0\0\0\0\0\0\0\xff\xff\xff\xff', b'x' * 100,
                       # one run that is longer than any
                       b'kmclfuzz\1\0\0\0\0\0\0\0' + struct.pack('<I', 1 << 20) + bytes(1 << 20)):
            with open(garbage, 'wb') as file:
                file.write(bytes_)
            result = self.replay(0, garbage)
            self.assertEqual(result.returncode, 1)
            self.assertIn('no input of kmcl fuzz', result.stderr)
        corpus = fuzz('--driver', BROKEN, '--runs', '1', '--corpus', garbage, '--found', self.found)
        self.assertEqual(corpus.returncode, 1, corpus)
        self.assertIn(garbage, corpus.stderr)
        client = self.write(b'', end=1)
        self.assertIn('--client', self.replay(0, client).stderr)

    def search(self, option, driver, seed):
        """From nothing, guided by coverage, to a crash that is small and happens again. What threads do
        is not the seed's, so the time varies. Of ten seeds each, on two processors that 35 others
        wanted too, none of these searches took longer than 33 s; more is in docs/fuzzing.md."""
        corpus = os.path.join(self.scratch, 'corpus')
        result = fuzz(option, driver, '--seconds', '240', '--seed', str(seed), '--found', self.found,
                      '--corpus', corpus, '--minimise', '3')
        self.assertEqual(result.returncode, 1, result)
        self.assertTrue(os.listdir(corpus))
        names = os.listdir(self.found)
        self.assertEqual(len(names), 1)
        found = os.path.join(self.found, names[0])
        again = fuzz(option, driver, '--replay', found, '--runs', '5')
        self.assertEqual(again.returncode, 1, again)
        sound = fuzz(option, driver.partition(',')[0], '--replay', found)
        self.assertEqual(sound.returncode, 0, sound)
        return result.stdout

    def search_sequence(self):
        self.assertRegex(self.search('--driver', COVERED + ',bug=2', 3), DIED)

    def search_length(self):
        self.assertRegex(self.search('--driver', COVERED + ',bug=1', 3), DIED)

    def search_client(self):
        self.assertRegex(self.search('--client', COVERED_CLIENT + ',bug=1', 3), DIED + '|pool-overrun')


if SEARCHES == 'yes':
    Fuzz.test_a_search_finds_a_length_that_is_believed = Fuzz.search_length
    Fuzz.test_a_search_finds_a_sequence = Fuzz.search_sequence
    Fuzz.test_a_search_finds_a_length_that_a_client_believes = Fuzz.search_client


if __name__ == '__main__':
    sys.exit(tapresult.main(sys.modules[__name__]))
