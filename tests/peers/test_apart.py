#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kmcl serve --process-per-driver: what guests see of one bus whose drivers are in processes of their
own, and of drivers that die. Arguments as tests/peers/meson.build has them."""

import json
import os
import random
import signal
import struct
import subprocess
import uuid

import hostile_guest
import support
import test_guest
import wire
from guest import ECHO_TYPE, Channel, Guest
from test_many_guests import returned

SECOND = 1024  # the first channel id of the second of two drivers
GUESTS = 8


class Apart(support.Processes):
    def serve(self, *more, channels=1):
        drivers = (f'channels={channels}', f'channels={channels},first={channels}')
        host = self.start(support.KMCL, 'serve', '--socket', self.socket, '--process-per-driver',
                          *(word for options in drivers
                            for word in ('--driver', f'{support.DRIVERS}/echo_vsp.so,{options}')),
                          *(() if support.PLAIN else ('--no-sandbox',)), *more)
        support.wait_until(lambda: os.path.exists(self.socket) or host.poll() is not None,
                           'the socket')
        self.assertIsNone(host.poll())
        return host

    @staticmethod
    def processes(host):
        """The driver that each process of the host's has, or None for the front, by pid."""
        found = {}
        with open(f'/proc/{host.pid}/task/{host.pid}/children', encoding='ascii') as file:
            for pid in map(int, file.read().split()):
                try:
                    with open(f'/proc/{pid}/cmdline', encoding='utf-8') as line:
                        words = line.read().split('\0')
                except OSError:
                    continue  # it has just ended
                if '--place' in words:
                    found[pid] = int(words[words.index('--place') + 1].split('/')[0])
                elif '--process-per-driver' in words:
                    found[pid] = None
        return found

    def driver(self, host, number):
        """The pid of a driver's process, once it is there."""
        found = []

        def look():
            found[:] = [pid for pid, which in self.processes(host).items() if which == number]
            return found
        support.wait_until(look, f'a process for driver {number}')
        return found[0]

    def all_processes(self, host):
        """Once each has been found; the kernel's list may skip some while others end."""
        support.wait_until(lambda: sorted(self.processes(host).values(), key=str) == [0, 1, None],
                           'a process for each driver, and one for the socket')
        found = self.processes(host)
        return found if len(found) == 3 else self.all_processes(host)

    def join(self, version=wire.V5_3):
        guest = Guest(self.socket).join()
        guest.contact(version)
        return guest, {offer.channel: offer for offer in guest.offers()}

    def assert_gone(self, pids):
        def there(pid):
            try:
                with open(f'/proc/{pid}/stat', encoding='utf-8') as file:
                    return file.read().rsplit(')', 1)[1].split()[0] != 'Z'
            except OSError:
                return False
        support.wait_until(lambda: not any(map(there, pids)), 'no process to be left')


class EveryVersion(Apart, test_guest.EveryVersion):
    """All that the peer of the protocol does, one channel in each of two processes."""

    def serve(self, *more, channels=2):
        return Apart.serve(self, *more, channels=channels // 2)

    def offers(self, guest):
        offers = guest.offers()
        self.assertEqual([each.channel for each in offers], [1, SECOND])
        for number, each in enumerate(offers):
            self.assertEqual(each.interface, ECHO_TYPE)
            self.assertEqual(each.instance, uuid.UUID(int=0xe0 + number))
            self.assertEqual((each.index, each.mmio, each.user_data), (0, 0, bytes(120)))
            self.assertEqual((each.monitor, each.monitored), (0xff, 0))
            self.assertEqual((each.dedicated, each.connection), (1, 0x2000 + each.channel))
        return offers

    def test_a_host_that_ends_withdraws_and_hangs_up(self):
        host = self.serve()
        pids = self.all_processes(host)
        guest = Guest(self.socket).join()
        guest.contact(wire.V5_3)
        Channel(guest, self.offers(guest)[0])
        self.end(host)
        gone = {struct.unpack_from('<I', guest.next(wire.RESCIND), 8)[0] for _ in range(2)}
        self.assertEqual(gone, {1, SECOND})
        self.assertEqual(guest.link.receive()[0], 0)
        self.assertEqual(os.listdir(self.scratch), [])
        self.assert_gone(pids)
        guest.leave()


# The others say nothing more about who carries the messages.
for name in [name for name in dir(EveryVersion) if name.startswith('test_version_')]:
    if not name.endswith(('0_13', '1_1', '2_4', '5_3', '6_0')):
        setattr(EveryVersion, name, None)


class Crashes(Apart):
    def lose(self, guest, channel, works):
        """Until the channel is withdrawn; the others work meanwhile."""
        while True:
            hostile_guest.works(works)
            guest.listen(0)
            while guest.messages:
                _, payload = guest.messages.popleft()
                self.assertEqual(struct.unpack_from('<II', payload, 0), (wire.RESCIND, 0))
                self.assertEqual(struct.unpack_from('<I', payload, 8)[0], channel.id)
                return

    def again(self, guest, channel, works):
        """The channel offered again, once the guest has let go of it."""
        guest.channels.pop(channel.id)
        guest.free += channel.pfns
        guest.post(wire.message(wire.RELID_RELEASED, channel.id))
        clock = wire.Clock()
        while not guest.messages:
            hostile_guest.works(works)
            guest.listen(0)
            clock.check('the offer of a driver that was started again')
        raw = guest.next(wire.OFFER)
        self.assertEqual(struct.unpack_from('<I', raw, 184)[0], channel.id)
        return Channel(guest, self.offers[channel.id])

    def test_a_driver_that_is_killed_takes_only_itself_along(self):
        host = self.serve()
        guest, self.offers = self.join()
        channels = {which: Channel(guest, offer) for which, offer in self.offers.items()}
        for number, (dies, lives) in enumerate(((1, SECOND), (SECOND, 1), (1, SECOND))):
            pid = self.driver(host, 0 if dies == 1 else 1)
            for _ in range(5):
                channels[dies].send(test_guest.ECHO, 5, b'crash')
                channels[lives].send(test_guest.ECHO, 5, b'still')
            # a sanitizer would make an exit of the fault
            os.kill(pid, signal.SIGKILL if number or not support.PLAIN else signal.SIGSEGV)
            self.lose(guest, channels[dies], channels[lives])
            channels[dies] = self.again(guest, channels[dies], channels[lives])
            hostile_guest.works(channels[dies])
            self.assertNotEqual(self.driver(host, 0 if dies == 1 else 1), pid)
        self.all_processes(host)
        guest.unload()
        guest.leave()
        _, err = self.end(host)
        self.assertEqual(err.count('another is started'), 3)
        faults = err.count(f'signal {int(signal.SIGSEGV)} ')
        self.assertEqual(faults, 1 if support.PLAIN else 0)
        self.assertEqual(err.count(f'signal {int(signal.SIGKILL)} '), 3 - faults)

    def test_a_guest_without_a_driver_unloads_and_comes_again(self):
        host = self.serve()
        guest, self.offers = self.join()
        dead, lives = Channel(guest, self.offers[1]), Channel(guest, self.offers[SECOND])
        os.kill(self.driver(host, 0), signal.SIGKILL)
        self.lose(guest, dead, lives)
        guest.unload()
        guest.channels.clear()
        # One more guest sees what there is now, and the rest when it comes.
        seen = set()
        guest.contact(wire.V5_3)
        seen |= {offer.channel for offer in guest.offers()}
        clock = wire.Clock()
        while seen != {1, SECOND}:
            seen.add(struct.unpack_from('<I', guest.next(wire.OFFER), 184)[0])
            clock.check('the driver that was started again')
        for which in (1, SECOND):
            hostile_guest.works(Channel(guest, self.offers[which]))
        guest.leave()
        self.end(host)

    def test_a_driver_that_stands_still_holds_up_nobody_else(self):
        host = self.serve()
        guest, self.offers = self.join()
        works = Channel(guest, self.offers[SECOND])
        pid = self.driver(host, 0)
        os.kill(pid, signal.SIGSTOP)
        late, offers = self.join()  # answered without it
        self.assertEqual(set(offers), {SECOND})
        hostile_guest.works(works)
        hostile_guest.works(Channel(late, offers[SECOND]))
        os.kill(pid, signal.SIGCONT)
        self.assertEqual(struct.unpack_from('<I', late.next(wire.OFFER), 184)[0], 1)
        hostile_guest.works(Channel(late, self.offers[1]))
        guest.leave()
        late.leave()
        self.end(host)

    def test_processes_end_with_their_keeper(self):
        host = self.serve()
        pids = self.all_processes(host)
        guest, offers = self.join()
        hostile_guest.works(Channel(guest, offers[1]))
        host.kill()
        host.wait(timeout=support.PATIENCE)
        self.assert_gone(pids)
        self.assertFalse(os.path.exists(self.socket))
        guest.leave()

    def test_what_cannot_be_served_is_said(self):
        wrong = subprocess.run([support.KMCL, 'serve', '--socket', self.socket,
                                '--process-per-driver', '--driver', '/no/such.so'],
                               capture_output=True, text=True, timeout=support.PATIENCE, check=False)
        self.assertEqual(wrong.returncode, 1, wrong)
        self.assertIn('/no/such.so', wrong.stderr)
        self.assertEqual(os.listdir(self.scratch), [])
        wrong = subprocess.run([support.KMCL, 'serve', '--socket', self.socket, '--control', 'x',
                                '--process-per-driver', '--driver', 'x.so'],
                               capture_output=True, text=True, timeout=support.PATIENCE, check=False)
        self.assertEqual(wrong.returncode, 2, wrong)
        self.assertIn('--control', wrong.stderr)

    def test_every_process_is_in_a_sandbox(self):
        if not support.PLAIN:
            return
        host = self.serve()
        for pid in self.all_processes(host):
            with open(f'/proc/{pid}/status', encoding='utf-8') as file:
                status = dict(line.split(':\t', 1) for line in file.read().splitlines()
                              if ':\t' in line)
            self.assertEqual((status['NoNewPrivs'], status['Seccomp']), ('1', '2'))
            self.assertEqual(int(status['CapPrm'], 16), 0)
        self.end(host)


class Guests(Apart):
    def tell(self, guest, line):
        guest.stdin.write(line + '\n')
        guest.stdin.flush()

    def answer(self, guest):
        self.assertTrue(wire.readable([guest.stdout.fileno()], support.PATIENCE), 'no answer')
        return guest.stdout.readline().strip()

    def ask(self, guest, line, answer='ok'):
        self.tell(guest, line)
        self.assertEqual(self.answer(guest), answer)

    def stop(self, guests):
        for seed, guest in enumerate(guests):
            self.tell(guest, 'enough')
            rounds, got = self.answer(guest).split()
            self.assertGreater(int(rounds), 0)
            self.assertEqual(got, returned(int(rounds), seed), f'guest {seed}')
            # to the line that ended the loop; it may have been read with the answer before
            self.assertEqual(guest.stdout.readline(), 'what?\n')

    def test_many_guests_lose_a_driver_and_get_it_back(self):
        host = self.serve('--dispatchers', '1')
        guests = [self.start(support.DRIVEN, self.socket, f'{support.DRIVERS}/echo_vsc.so',
                             stdin=subprocess.PIPE) for _ in range(GUESTS)]
        for guest in guests:
            self.ask(guest, 'wait 2')
        for seed, guest in enumerate(guests):
            self.tell(guest, f'loop {seed}')
        old = self.driver(host, 1)
        os.kill(old, signal.SIGKILL)
        support.wait_until(lambda: self.driver(host, 1) != old, 'the driver to be started again')
        self.stop(guests)
        for seed, guest in enumerate(guests):
            self.ask(guest, 'wait 2')
            self.tell(guest, f'loop {seed}')
        self.stop(guests)
        for guest in guests:
            guest.stdin.close()
            self.assertEqual(guest.wait(timeout=support.PATIENCE), 0)
        self.end(host)

    def test_hostile_guests_beside_one_that_works(self):
        host = self.serve('--guests', '1000')
        survivor, offers = self.join()
        channels = [Channel(survivor, offers[which]) for which in (1, SECOND)]
        pids = self.all_processes(host)
        for channel in channels:
            hostile_guest.works(channel)
        held = {pid: self.held(pid) for pid in pids}
        for act in hostile_guest.ACTS:
            act(self.socket, random.Random(0))
            for channel in channels:
                hostile_guest.works(channel)
        support.wait_until(
            lambda: all(now <= before for pid in pids
                        for now, before in zip(self.held(pid), held[pid])),
            'no more descriptors, threads and mappings than before')
        self.assertEqual(self.all_processes(host), pids)
        survivor.leave()
        _, err = self.end(host)
        self.assertNotIn('runtime error', err)

    def test_one_bus_is_listed(self):
        host = self.serve(channels=2)
        table = subprocess.run([support.KMCL, 'ls', '--socket', self.socket, '--json'],
                               capture_output=True, text=True, timeout=support.PATIENCE, check=True)
        offers = json.loads(table.stdout)
        self.assertEqual([offer['channel'] for offer in offers], [1, 2, SECOND, SECOND + 1])
        self.assertEqual({offer['class'] for offer in offers}, {'echo'})
        self.assertEqual(len({offer['instance'] for offer in offers}), 4)
        self.end(host)


if __name__ == '__main__':
    support.main(__name__)
