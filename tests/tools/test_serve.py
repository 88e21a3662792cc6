#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kmcl serve, attach, ls and stats, as processes of their own. Arguments: kmcl, the folder of its
drivers, whether the sandbox can be used in this build, and prying_driver.so."""

import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', 'scripts'))
sys.dont_write_bytecode = True

import tapresult  # noqa: E402

KMCL, DRIVERS, SANDBOX, PRYING = sys.argv[1:5]
PATIENCE = 60
ROUNDS = 250 if os.environ.get('KMCL_SOAK') else 5


def kmcl(*args):
    return subprocess.run([KMCL, *args], capture_output=True, text=True, timeout=PATIENCE, check=False)


def wait_until(condition, what):
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f'in vain: {what}')
        time.sleep(0.02)


class Across(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = scratch.name
        self.socket = os.path.join(self.scratch, 'bus')
        self.control = os.path.join(self.scratch, 'control')

    def start(self, *args):
        process = subprocess.Popen([KMCL, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True)
        self.addCleanup(self.finish, process)
        return process

    def finish(self, process):
        if process.poll() is None:
            process.kill()
        process.wait(timeout=PATIENCE)
        process.stdout.close()
        process.stderr.close()

    def serve(self, *more):
        host = self.start('serve', '--socket', self.socket, '--control', self.control, '--driver',
                          os.path.join(DRIVERS, 'echo_vsp.so') + ',channels=2',
                          *(() if SANDBOX == 'yes' else ('--no-sandbox',)), *more)
        wait_until(lambda: os.path.exists(self.socket) or host.poll() is not None, 'the socket')
        self.assertIsNone(host.poll())
        return host

    def attach(self, *more):
        return self.start('attach', '--socket', self.socket, '--driver',
                          os.path.join(DRIVERS, 'echo_vsc.so'), *more)

    def guests(self):
        answer = kmcl('stats', '--control', self.control, '--json')
        self.assertEqual(answer.returncode, 0, answer)
        return json.loads(answer.stdout)['guests']

    def running(self):
        """Channels that a guest has opened."""
        return [channel for guest in self.guests() for channel in guest['channels']
                if channel['signals_sent'] or channel['state'] > 1]

    @staticmethod
    def held(process):
        """Descriptors and threads; a connection of ours may be among them, on its way out."""
        return [len(os.listdir(f'/proc/{process.pid}/{what}')) for what in ('fd', 'task')]

    def end(self, process):
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 0, out + err)
        return out

    def test_what_is_offered_is_listed(self):
        host = self.serve()
        table = kmcl('ls', '--socket', self.socket)
        self.assertEqual(table.returncode, 0, table)
        self.assertEqual(len(table.stdout.splitlines()), 3)
        offers = json.loads(kmcl('ls', '--socket', self.socket, '--json').stdout)
        self.assertEqual([offer['channel'] for offer in offers], [1, 2])
        for offer in offers:
            self.assertEqual(offer['class'], 'echo')
            self.assertEqual(offer['user_data'], '00' * 120)
            self.assertIsNone(offer['monitor'])
        details = kmcl('ls', '--socket', self.socket, '-v').stdout
        self.assertIn(offers[1]['instance'], details)
        self.assertIn(offers[0]['interface'], details)
        capture = os.path.join(self.scratch, 'ls.pcapng')
        kmcl('ls', '--socket', self.socket, '--capture', capture)
        trace = kmcl('trace', capture).stdout
        for message in ('INITIATE_CONTACT', 'ALL_OFFERS_DELIVERED', 'UNLOAD'):
            self.assertIn(message, trace)
        self.end(host)

    def test_guests_work_and_are_seen(self):
        host = self.serve()
        guests = [self.attach() for _ in range(3)]
        wait_until(lambda: len(self.running()) == 6, 'three guests with two channels each')
        table = kmcl('stats', '--control', self.control)
        self.assertEqual(len(table.stdout.splitlines()), 7)
        twice = kmcl('stats', '--control', self.control, '--json', '--every', '1', '--times', '2')
        self.assertEqual(len(twice.stdout.splitlines()), 2)
        self.end(guests[0])
        wait_until(lambda: len(self.guests()) == 2, 'a guest that leaves')
        out = self.end(host)
        self.assertIn('3 guests', out)
        self.assertFalse(os.path.exists(self.socket))
        self.assertFalse(os.path.exists(self.control))
        for guest in guests[1:]:
            self.end(guest)

    def test_a_killed_host_is_found_again(self):
        host = self.serve()
        guest = self.attach('--reconnect')
        for _ in range(ROUNDS):
            wait_until(lambda: len(self.running()) == 2, 'both channels of the guest')
            host.kill()
            host.wait(timeout=PATIENCE)
            os.unlink(self.socket)
            host = self.serve()
        wait_until(lambda: len(self.running()) == 2, 'both channels of the guest')
        self.assertIsNone(guest.poll())
        self.end(guest)
        self.end(host)

    def test_killed_guests_are_forgotten(self):
        host = self.serve()
        stays = self.attach()
        wait_until(lambda: len(self.running()) == 2, 'the first guest')
        held = self.held(host)
        for round_ in range(ROUNDS):
            guest = self.attach()
            time.sleep(0.02 * (round_ % 7))
            guest.kill()
            guest.wait(timeout=PATIENCE)
        wait_until(lambda: len(self.guests()) == 1, 'the last one to be gone')
        wait_until(lambda: all(now <= before for now, before in zip(self.held(host), held)),
                   'no more descriptors and threads than before')
        self.assertEqual(len(self.running()), 2)
        self.end(stays)
        self.end(host)

    def sandbox(self):
        host = self.serve()
        tasks = os.listdir(f'/proc/{host.pid}/task')
        self.assertGreater(len(tasks), 1)
        for task in tasks:
            with open(f'/proc/{host.pid}/task/{task}/status', encoding='utf-8') as file:
                status = dict(line.split(':\t', 1) for line in file.read().splitlines()
                              if ':\t' in line)
            self.assertEqual(status['NoNewPrivs'], '1')
            self.assertEqual(status['Seccomp'], '2')
            self.assertEqual(int(status['CapEff'], 16), 0)
            self.assertEqual(int(status['CapPrm'], 16), 0)
        self.end(host)

    def threads_of_before(self):
        host = self.serve('--driver', PRYING)
        said = b''

        def both():
            nonlocal said
            if select.select([host.stderr], [], [], 0)[0]:
                said += os.read(host.stderr.fileno(), 100)
            return said == b'can\ncannot\n'

        wait_until(both, 'a thread that cannot read a file any more')
        self.end(host)

    def test_nobody_else_may_connect(self):
        host = self.serve()
        self.assertEqual(os.stat(self.socket).st_mode & 0o777, 0o600)
        self.assertEqual(os.stat(self.control).st_mode & 0o777, 0o600)
        self.end(host)

    def test_what_is_wrong_is_named(self):
        nobody = kmcl('ls', '--socket', self.socket)
        self.assertEqual(nobody.returncode, 1)
        self.assertIn(self.socket, nobody.stderr)
        wrong = kmcl('serve', '--socket', self.socket, '--driver', '/no/such.so')
        self.assertEqual(wrong.returncode, 1)
        self.assertIn('/no/such.so', wrong.stderr)
        self.assertEqual(os.listdir(self.scratch), [])
        for command, words in ((('serve',), '--socket'), (('attach', '--socket', 'x'), '--driver'),
                               (('ls',), '--socket'), (('stats',), '--control'),
                               (('serve', '--guests', 'many'), '--guests many')):
            result = kmcl(*command)
            self.assertEqual(result.returncode, 2, result)
            self.assertIn(words, result.stderr)

    def test_sockets_in_two_folders_go_in_the_end(self):
        folders = [os.path.join(self.scratch, name) for name in ('one', 'another')]
        for folder in folders:
            os.mkdir(folder)
        self.socket = os.path.join(folders[0], 'bus')
        self.control = os.path.join(folders[1], 'control')
        host = self.serve()
        self.assertEqual(self.guests(), [])
        self.end(host)
        self.assertEqual([os.listdir(folder) for folder in folders], [[], []])

    def test_a_terminal_that_goes_ends_it_in_order(self):
        host = self.serve()
        host.send_signal(signal.SIGHUP)
        out, err = host.communicate(timeout=PATIENCE)
        self.assertEqual(host.returncode, 0, out + err)
        self.assertFalse(os.path.exists(self.socket))

    def test_a_reader_that_goes_ends_nothing(self):
        host = self.serve()
        self.assertIn('serving', host.stdout.readline())
        host.stdout.close()
        guest = self.attach()
        wait_until(lambda: len(self.running()) == 2, 'both channels of the guest')
        self.end(guest)
        wait_until(lambda: not self.guests(), 'the guest to be gone')
        host.send_signal(signal.SIGTERM)
        self.assertEqual(host.wait(timeout=PATIENCE), 1)
        self.assertIn('cannot write', host.stderr.read())
        self.assertFalse(os.path.exists(self.socket))

    def test_a_file_is_not_taken_for_a_socket(self):
        for name, other in (('--socket', '--control'), ('--control', '--socket')):
            file = os.path.join(self.scratch, 'file')
            with open(file, 'w', encoding='utf-8') as text:
                text.write('precious')
            result = kmcl('serve', name, file, other, self.socket, '--no-sandbox', '--driver',
                          os.path.join(DRIVERS, 'echo_vsp.so'))
            self.assertEqual(result.returncode, 1, result)
            self.assertIn(f'{file}: ', result.stderr)
            self.assertIn('File exists', result.stderr)
            with open(file, encoding='utf-8') as text:
                self.assertEqual(text.read(), 'precious')
            self.assertEqual(os.listdir(self.scratch), ['file'])

    def test_there_are_descriptors_for_many_guests(self):
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(200, before[1]), before[1]))
        try:
            host = self.serve()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        with open(f'/proc/{host.pid}/limits', encoding='utf-8') as limits:
            soft, hard = next(line for line in limits if line.startswith('Max open')).split()[3:5]
        self.assertEqual(soft, hard)
        self.end(host)

    def test_a_guest_is_told_why_it_may_not_come(self):
        host = self.serve('--guest-memory', '16')
        large = kmcl('attach', '--socket', self.socket, '--memory', '64', '--driver',
                     os.path.join(DRIVERS, 'echo_vsc.so'))
        self.assertEqual(large.returncode, 1, large)
        self.assertIn("does not take the guest's memory", large.stderr)
        self.end(host)
        host = self.serve('--guests', '1')
        guest = self.attach()
        wait_until(lambda: len(self.running()) == 2, 'both channels of the guest')
        second = kmcl('ls', '--socket', self.socket)
        self.assertEqual(second.returncode, 1, second)
        self.assertIn('takes no more guests', second.stderr)
        self.end(guest)
        self.end(host)

    def test_a_silent_client_of_the_control_socket_holds_nobody_up(self):
        import socket
        host = self.serve()
        with socket.socket(socket.AF_UNIX) as silent:
            silent.connect(self.control)
            self.assertEqual(self.guests(), [])
            self.assertEqual(silent.recv(1), b'')
        self.end(host)

    def test_a_control_socket_survives_nonsense(self):
        import socket
        host = self.serve()
        for line in (b'nonsense\n', b'[]\n', b'{"command":"no such"}\n', b'\n', b'{"command":1}\n'):
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(PATIENCE)
                client.connect(self.control)
                client.sendall(line)
                self.assertIn('error', json.loads(client.makefile().readline()))
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(self.control)
            try:
                client.sendall(b'x' * 200000)
            except (BrokenPipeError, ConnectionResetError):
                pass
        self.assertEqual(self.guests(), [])
        self.end(host)


# Sanitizers need what the sandbox takes away.
if SANDBOX == 'yes':
    Across.test_the_host_is_in_its_sandbox = Across.sandbox
    Across.test_threads_of_before_are_in_the_sandbox = Across.threads_of_before


if __name__ == '__main__':
    sys.exit(tapresult.main(sys.modules[__name__]))
