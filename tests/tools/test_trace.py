#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Captures from end to end: what --capture writes, what `kmcl trace` says of it, and of files that are
broken or another's. Arguments: kmcl, the root of the sources, and whether the sandbox can be used."""

import glob
import json
import os
import struct
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, '..', 'scripts')]
sys.dont_write_bytecode = True

import pcapng  # noqa: E402
import tapresult  # noqa: E402

KMCL, ROOT, SANDBOX = sys.argv[1:4]
PATIENCE = 200
SLOWER = '1', '5', '25'  # seconds that a busy machine may need to open its channels
VECTORS = sorted(glob.glob(os.path.join(ROOT, 'tests', 'vectors', '*.txt')))
SEEDS = sorted(glob.glob(os.path.join(ROOT, 'fuzz', 'corpus', 'message', 'type-*')))
OFFER, OPEN, OPEN_RESULT, CONTACT, RESPONSE = 1, 5, 6, 14, 15
ECHO = bytes.fromhex('6e2a7f8d0b4c2e4f9a536b1c0e5d9f01')
INBAND, GPA_DIRECT, COMPLETION = 6, 9, 11


def kmcl(*args):
    return subprocess.run([KMCL, *args], capture_output=True, text=True, timeout=PATIENCE)


def descriptor(record):
    """Type, bytes of header, bytes in all, flags, transaction id."""
    kind, offset8, length8, flags, transaction = struct.unpack_from('<HHHHQ', record.body)
    return kind, offset8 * 8, length8 * 8, flags, transaction


class Case(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.path = os.path.join(scratch.name, 'capture.pcapng')
        self.input = os.path.join(scratch.name, 'input')

    def write(self, data):
        with open(self.path, 'wb') as file:
            file.write(data)
        return self.path

    def demo(self, content, options='', *more):
        """What a capture of the demo holds, and what the demo said."""
        with open(self.input, 'wb') as file:
            file.write(content)
        result = kmcl('demo', '--json', '--input', self.input, '--capture', self.path + options,
                      *more)
        self.assertEqual(result.returncode, 0, result)
        return pcapng.read(self.path), json.loads(result.stdout)

    def trace(self, *args):
        """The lines that kmcl trace prints as JSON; the last one is the end's."""
        result = kmcl('trace', '--json', *args, self.path)
        self.assertEqual(result.returncode, 0, result)
        return [json.loads(line) for line in result.stdout.splitlines()]

    def of_type(self, capture, *types):
        return [r for r in capture.records if r.kind == pcapng.MESSAGE and r.message_type in types]

    def packets(self, capture, direction=None):
        return [r for r in capture.records if r.kind == pcapng.PACKET and
                direction in (None, r.direction)]


class Written(Case):
    def test_begins_with_the_contact(self):
        capture, _ = self.demo(b'hello')
        contact, response = capture.records[:2]
        self.assertEqual((contact.message_type, contact.direction, contact.connection_id),
                         (CONTACT, pcapng.TO_SERVER, 4))
        self.assertEqual(struct.unpack_from('<I', contact.body, 8)[0], 0x60000)
        self.assertEqual((response.message_type, response.direction, response.sint, response.vp),
                         (RESPONSE, pcapng.TO_CLIENT, 2, 0))
        self.assertEqual(response.body[8], 1)

    def test_ends_with_the_unload(self):
        capture, _ = self.demo(b'hello')
        messages = [r.message_type for r in capture.records if r.kind == pcapng.MESSAGE]
        self.assertEqual(messages[-2:], [16, 17])

    def test_tells_which_channel_is_what(self):
        capture, _ = self.demo(b'hello')
        offer, = self.of_type(capture, OFFER)
        self.assertEqual(offer.body[8:24], ECHO)
        self.assertEqual(len(offer.body), 196)
        channel = struct.unpack_from('<I', offer.body, 184)[0]
        self.assertEqual({r.channel for r in self.packets(capture)}, {channel})
        self.assertEqual([struct.unpack_from('<I', r.body, 16)[0]
                          for r in self.of_type(capture, OPEN_RESULT)], [0])

    def test_is_in_order_of_time_and_counts(self):
        capture, _ = self.demo(os.urandom(300000))
        times = [r.time for r in capture.records]
        self.assertEqual(times, sorted(times))
        self.assertGreater(times[0], 1_600_000_000_000_000_000)
        self.assertEqual(capture.dropped + len(capture.records), capture.received)
        self.assertEqual(capture.options[9], b'\x09')

    def test_says_in_the_block_which_way_a_record_went(self):
        capture, _ = self.demo(b'x')
        for r in capture.records:
            self.assertEqual(r.packet_flags, 2 if r.direction == pcapng.TO_CLIENT else 1)

    def test_every_completion_follows_its_request(self):
        capture, _ = self.demo(os.urandom(100000))
        asked = set()
        for r in self.packets(capture):
            kind, _, _, flags, transaction = descriptor(r)
            if kind == COMPLETION:
                self.assertEqual(r.direction, pcapng.TO_CLIENT)
                asked.remove(transaction)
            elif flags:
                self.assertNotIn(transaction, asked)
                asked.add(transaction)
        self.assertEqual(asked, set())

    def test_whole_payloads_are_the_bytes_that_were_sent(self):
        content = os.urandom(50001)
        capture, _ = self.demo(content, ',payload=all')
        # A transfer after the other; in each the client numbers its requests by tag, and threads
        # send them as they come.
        echoed = {pcapng.TO_SERVER: [{}], pcapng.TO_CLIENT: [{}]}
        lengths = {}
        for r in self.packets(capture):
            kind, header, total, _, transaction = descriptor(r)
            self.assertEqual(len(r.body), total)
            op, length, tag = struct.unpack_from('<IIQ', r.body, header)
            if kind in (INBAND, COMPLETION) and op == 1:
                length = lengths.setdefault(transaction, length)
                transfers = echoed[r.direction]
                if tag in transfers[-1]:
                    transfers.append({})
                transfers[-1][tag] = r.body[header + 16:header + 16 + length]
                self.assertEqual(r.body[header + 16 + length:],
                                 bytes(total - header - 16 - length))
        for transfers in echoed.values():
            whole = b''.join(pieces[tag] for pieces in transfers for tag in sorted(pieces))
            self.assertTrue(whole == content, f'{len(whole)} bytes')

    def test_payloads_are_cut_where_it_was_said(self):
        for limit in (0, 24, 100):
            capture, _ = self.demo(os.urandom(70000), f',payload={limit}')
            cut = 0
            for r in self.packets(capture):
                _, header, total, _, _ = descriptor(r)
                self.assertEqual(r.original, total)
                self.assertEqual(len(r.body), min(total, header + limit))
                cut += len(r.body) < total
            self.assertGreater(cut, 10)
            self.assertEqual(capture.snap_length, 32 + 16 + 8192 + 8 + limit)

    def test_page_lists_are_kept_whatever_the_payload(self):
        capture, _ = self.demo(os.urandom(3 << 20), ',payload=0')
        direct = [r for r in self.packets(capture) if descriptor(r)[0] == GPA_DIRECT]
        self.assertGreater(len(direct), 0)
        for r in direct:
            count, length = struct.unpack_from('<I4xI', r.body, 20)[0], \
                struct.unpack_from('<I', r.body, 24)[0]
            self.assertEqual(count, 1)
            self.assertGreaterEqual((len(r.body) - 32) * 512, length)

    def conversation(self, capture):
        """What does not depend on time: messages and packets of each way, in order."""
        return [[(r.kind, r.body) for r in capture.records
                 if (r.kind, r.direction) == wanted and
                 (r.kind == pcapng.MESSAGE or descriptor(r)[0] != COMPLETION)]
                for wanted in ((pcapng.MESSAGE, 0), (pcapng.MESSAGE, 1), (pcapng.PACKET, 0))]

    def test_both_ends_see_the_same_and_only_one_records(self):
        content = os.urandom(100)
        server, said = self.demo(content, ',payload=all')
        client, too = self.demo(content, ',payload=all,end=client')
        self.assertEqual({r.by for r in server.records}, {pcapng.SERVER})
        self.assertEqual({r.by for r in client.records}, {pcapng.CLIENT})
        self.assertEqual(len(server.records), len(client.records))
        for a, b in zip(self.conversation(server), self.conversation(client)):
            # Two runs: an offer may come before or after the end of the first batch.
            self.assertEqual(sorted(len(x[1]) for x in a), sorted(len(x[1]) for x in b))
        self.assertEqual([p['packets'] for p in said['paths']], [p['packets'] for p in too['paths']])

    def test_traffic_is_the_same_without(self):
        content = os.urandom(500000)
        _, captured = self.demo(content, ',payload=all')
        plain = json.loads(kmcl('demo', '--json', '--input', self.input).stdout)
        self.assertEqual(captured['sources'], plain['sources'])
        for a, b in zip(captured['paths'], plain['paths']):
            self.assertEqual((a['path'], a['bytes'], a['packets']),
                             (b['path'], b['bytes'], b['packets']))

    def test_signals_only_if_asked_for(self):
        capture, _ = self.demo(b'x')
        self.assertEqual({r.kind for r in capture.records}, {pcapng.MESSAGE, pcapng.PACKET})
        capture, _ = self.demo(b'x' * 100000, ',signals')
        signals = [r for r in capture.records if r.kind == pcapng.SIGNAL]
        self.assertGreater(len(signals), 0)
        self.assertEqual({r.channel for r in signals}, {1})
        for r in signals:
            self.assertEqual((r.event_flag, r.sint, r.connection_id) if r.direction else
                             (r.event_flag, r.sint), (1, 2, 0) if r.direction else (0, 0))

    def test_drops_are_counted_and_told(self):
        with open(self.input, 'wb') as file:
            file.write(os.urandom(4 << 20))
        result = kmcl('demo', '--json', '--input', self.input, '--capture',
                      self.path + ',payload=all,buffer=16384')
        self.assertEqual(result.returncode, 0, result)
        self.assertIs(json.loads(result.stdout)['ok'], True)
        capture = pcapng.read(self.path)
        self.assertGreater(capture.dropped, 100)
        self.assertEqual(len(capture.records) + capture.dropped, capture.received)
        self.assertIn(f'{len(capture.records)} records, {capture.dropped} dropped', result.stderr)
        self.assertGreater(sum(r.lost for r in capture.records), 0)
        self.assertLessEqual(sum(r.lost for r in capture.records), capture.dropped)
        end = self.trace()[-1]
        self.assertEqual((end['records'], end['dropped']),
                         (len(capture.records), capture.dropped))
        text = kmcl('trace', self.path).stdout
        self.assertIn('records were dropped here', text)
        self.assertTrue(text.endswith(f'{len(capture.records)} records, {capture.dropped} dropped\n'))

    def test_run_takes_it_too(self):
        drivers = os.path.join(os.path.dirname(os.path.dirname(KMCL)), 'drivers')
        for seconds in SLOWER:
            result = kmcl('run', '--server', os.path.join(drivers, 'echo_vsp.so,channels=3'),
                          '--client', os.path.join(drivers, 'echo_vsc.so'), '--timeout', seconds,
                          '--capture', self.path)
            self.assertEqual(result.returncode, 0, result)
            capture = pcapng.read(self.path)
            if len(self.of_type(capture, OPEN)) == 3:
                break
        self.assertEqual(len(self.of_type(capture, OFFER)), 3)
        self.assertEqual(len(self.of_type(capture, OPEN)), 3)

    def serve_two_guests(self, theirs, seconds):
        drivers = os.path.join(os.path.dirname(os.path.dirname(KMCL)), 'drivers')
        socket = os.path.join(os.path.dirname(self.path), 'bus')
        sandbox = () if SANDBOX == 'yes' else ('--no-sandbox',)
        host = subprocess.Popen([KMCL, 'serve', '--socket', socket, '--driver',
                                 os.path.join(drivers, 'echo_vsp.so'), '--capture', self.path,
                                 *sandbox], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                text=True)
        try:
            for _ in range(2):
                guest = kmcl('attach', '--socket', socket, '--wait', '60', '--driver',
                             os.path.join(drivers, 'echo_vsc.so'), '--timeout', seconds,
                             '--capture', theirs)
                self.assertEqual(guest.returncode, 0, guest)
        finally:
            host.terminate()
            _, err = host.communicate(timeout=PATIENCE)
        self.assertEqual(host.returncode, 0, err)

    def test_host_and_guest_in_two_processes(self):
        """Each records its own end, in the host's sandbox too if it can be used; they agree."""
        theirs = os.path.join(os.path.dirname(self.path), 'guest.pcapng')
        for seconds in SLOWER:
            self.serve_two_guests(theirs, seconds)
            server, client = pcapng.read(self.path), pcapng.read(theirs)
            if self.of_type(server, OPEN_RESULT) and self.of_type(client, OPEN_RESULT):
                break
        self.assertEqual({r.by for r in server.records}, {pcapng.SERVER})
        self.assertEqual({r.by for r in client.records}, {pcapng.CLIENT})
        # of two guests the host has the first, the file of the guests the second
        for capture in (server, client):
            self.assertEqual(len(self.of_type(capture, OPEN_RESULT)), 1)
            self.assertEqual(len(self.of_type(capture, CONTACT)), 1)
        for direction in (0, 1):
            self.assertEqual([r.message_type for r in server.records if r.direction == direction],
                             [r.message_type for r in client.records if r.direction == direction])

    def test_wrong_options(self):
        for text, word in ((',payload=x', 'payload=x'), (',payload=', 'payload='), (',fast', 'fast'),
                           (',end=both', 'end=both')):
            result = kmcl('demo', '--input', '/dev/null', '--capture', self.path + text)
            self.assertEqual(result.returncode, 2, result)
            self.assertIn(word, result.stderr)
        result = kmcl('demo', '--capture', ',payload=1')
        self.assertEqual(result.returncode, 2)
        result = kmcl('run', '--server', 'x.so', '--capture', self.path + ',fast')
        self.assertEqual(result.returncode, 2)

    def test_file_that_cannot_be_made(self):
        for path, why in (('/nowhere/at/all', 'No such file'), ('/tmp', 'directory'),
                          ('/dev/full', 'No space left')):
            with open(self.input, 'wb') as file:
                file.write(b'x')
            result = kmcl('demo', '--input', self.input, '--capture', path)
            self.assertEqual(result.returncode, 1, result)
            self.assertIn(path, result.stderr)
            self.assertIn(why, result.stderr)
            self.assertEqual(result.stdout, '')


class Shown(Case):
    def test_every_record_as_json(self):
        capture, _ = self.demo(os.urandom(20000))
        *lines, end = self.trace('-x')
        self.assertEqual(end, {'kind': 'end', 'records': len(capture.records),
                               'shown': len(capture.records), 'dropped': 0, 'error': None})
        kinds = {'message': pcapng.MESSAGE, 'packet': pcapng.PACKET, 'signal': pcapng.SIGNAL}
        for line, r in zip(lines, capture.records):
            self.assertEqual((kinds[line['kind']], line['time_ns'], bytes.fromhex(line['bytes'])),
                             (r.kind, r.time, r.body))
            self.assertEqual(line['direction'], 'to-client' if r.direction else 'to-server')
            if r.kind == pcapng.PACKET:
                kind, header, total, flags, transaction = descriptor(r)
                self.assertEqual((line['type'], line['header_size'], line['total_size'],
                                  line['flags'], int(line['transaction_id'], 16), line['interface']),
                                 (kind, header, total, flags, transaction, 'echo'))

    def test_fields_of_messages(self):
        self.demo(b'hello')
        lines = {line['name']: line for line in self.trace() if line.get('kind') == 'message'}
        contact, offer = lines['INITIATE_CONTACT']['fields'], lines['OFFER_CHANNEL']
        self.assertEqual((contact['version'], contact['sint'], contact['vtl'], contact['features']),
                         (0x60000, 2, 0, 0))
        self.assertNotIn('page_or_target', contact)
        self.assertEqual(offer['interface'], 'echo')
        self.assertEqual(offer['fields']['interface_id'], '8d7f2a6e-4c0b-4f2e-9a53-6b1c0e5d9f01')
        self.assertEqual(offer['fields']['instance_id'], '00000000-0000-0000-0000-0000000000e0')
        self.assertEqual(offer['fields']['user_data'], '00' * 120)
        self.assertEqual(lines['OPEN_CHANNEL_RESULT']['fields']['status'], 0)
        self.assertEqual(lines['UNLOAD']['fields'], {})

    def test_text(self):
        self.demo(b'hello')
        lines = kmcl('trace', self.path).stdout.splitlines()
        self.assertRegex(lines[0], r'^capture begins \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{9} UTC$')
        self.assertRegex(lines[1], r'^ +0\.000000000 > to server connection 4 +INITIATE_CONTACT  '
                                   r'version=6\.0  target_vp=0  sint=2  vtl=0')
        text = '\n'.join(lines)
        self.assertRegex(text, r'OFFER_CHANNEL  interface_id=8d7f2a6e-\S+ \(echo\)  instance_id=')
        self.assertIn('mmio_megabytes=0 MiB', text)
        self.assertRegex(text, r'> to server channel 1 echo +GPA-direct  id=0x\S+  bytes=16  wants '
                               r'completion\n +range: 5 bytes at 0x\S+ of 1 pages: 0x')
        self.assertIn('status=0 (success)', text)
        self.assertNotIn('unknown', text.lower())

    def test_bytes(self):
        self.demo(b'hello')
        text = kmcl('trace', '-x', '--type', 'VERSION_RESPONSE', self.path).stdout
        self.assertRegex(text, r'0000  0f 00 00 00 00 00 00 00 01 00')
        self.demo(b'h' * 100, ',payload=32')
        text = kmcl('trace', '-x', self.path).stdout
        self.assertIn('68 68 68 68', text)
        self.assertIn('hhhh', text)
        self.assertIn('(88 more bytes were not kept)', text)

    def test_filters(self):
        capture, _ = self.demo(b'hello')
        *lines, end = self.trace('--type', 'message')
        self.assertEqual({line['kind'] for line in lines}, {'message'})
        self.assertEqual(end['shown'], len(lines))
        self.assertEqual(end['records'], len(capture.records))
        *lines, _ = self.trace('--type', 'open_channel,OPEN_CHANNEL_RESULT')
        self.assertEqual([line['name'] for line in lines], ['OPEN_CHANNEL', 'OPEN_CHANNEL_RESULT'])
        *lines, _ = self.trace('--type', 'gpa-direct')
        self.assertEqual({line['type'] for line in lines}, {GPA_DIRECT})
        *lines, _ = self.trace('--channel', '1', '--type', 'message')
        self.assertEqual({line['fields']['channel_id'] for line in lines}, {1})
        *lines, end = self.trace('--channel', '2,3')
        self.assertEqual((lines, end['shown']), ([], 0))

    def test_wrong_options(self):
        for args, words in ((('--type', 'nonsense', 'f'), ('nonsense',)),
                            (('--channel', 'x', 'f'), ('--channel x',)),
                            (('--bogus', 'f'), ('--bogus', 'kmcl trace --help')),
                            ((), ('name of a capture',)), (('a', 'b'), ('b',)),
                            (('--type',), ('--type',))):
            result = kmcl('trace', *args)
            self.assertEqual(result.returncode, 2, result)
            for word in words:
                self.assertIn(word, result.stderr)

    def test_help(self):
        self.assertIn('trace', kmcl('--help').stdout)
        self.assertIn('--channel', kmcl('trace', '--help').stdout)
        for command in ('demo', 'run', 'serve', 'attach', 'vm'):
            self.assertIn('--capture FILE', kmcl(command, '--help').stdout)

    def test_conversations_of_a_real_guest(self):
        self.assertEqual(len(VECTORS), 5)
        for vector in VECTORS:
            self.write(pcapng.of_vector(vector))
            result = kmcl('trace', self.path)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertNotIn('unknown', result.stdout.lower())
            self.assertIn('INITIATE_CONTACT', result.stdout)
        self.write(pcapng.of_vector(next(v for v in VECTORS if 'storage' in v)))
        packet = [line for line in self.trace() if line['kind'] == 'packet']
        self.assertEqual([(p['channel'], p['interface'], p['name'], p['total_size'])
                          for p in packet], [(40, 'SCSI', 'in-band', 80)])

    def test_every_message_has_its_name_and_fields(self):
        body = pcapng.section() + pcapng.interface()
        for seed in SEEDS:
            with open(seed, 'rb') as file:
                body += pcapng.record(1, pcapng.header(pcapng.MESSAGE, 0) + file.read())
        self.write(body)
        *lines, end = self.trace()
        self.assertEqual([line['type'] for line in lines], list(range(1, 30)))
        self.assertTrue(all(line['name'] for line in lines))
        bare = {'REQUEST_OFFERS', 'ALL_OFFERS_DELIVERED', 'UNLOAD', 'UNLOAD_COMPLETE', 'PAUSE',
                'PAUSE_RESPONSE', 'RESUME'}
        self.assertEqual({line['name'] for line in lines if not line['fields']}, bare)
        self.assertEqual(end['error'], None)

    def test_an_old_contact_has_a_page_and_no_features(self):
        message = struct.pack('<IIIIQQQ', CONTACT, 0, 0x40001, 0, 0x5000, 0, 0)
        self.write(pcapng.section() + pcapng.interface() +
                   pcapng.record(1, pcapng.header(pcapng.MESSAGE, 0) + message))
        fields = self.trace()[0]['fields']
        self.assertEqual(fields['page_or_target'], '0x5000')
        self.assertNotIn('sint', fields)
        self.assertNotIn('features', fields)

    def test_pipes_refusals_and_strangers(self):
        pipe = struct.pack('<HHHHQIIQ', 6, 2, 4, 0, 0, 1, 5, 0x6f6c6c6568)
        refused = struct.pack('<HHHHQ', 0x44, 2, 400, 0, 0)
        self.write(pcapng.section() + pcapng.interface() +
                   pcapng.record(1, pcapng.header(2, 0, channel=1, flags=pcapng.PIPE) + pipe) +
                   pcapng.record(2, pcapng.header(2, 0, channel=1, flags=pcapng.REFUSED) + refused,
                                 original=3232) +
                   pcapng.record(3, pcapng.header(1, 0) + struct.pack('<II', 77, 0)))
        text = kmcl('trace', self.path).stdout
        self.assertIn('pipe data 5', text)
        self.assertIn('unknown type 0x44', text)
        self.assertIn('REFUSED', text)
        self.assertIn('unknown type 77', text)
        first, second, third, _ = self.trace()
        self.assertEqual((first['pipe_type'], first['pipe_size']), (1, 5))
        self.assertIs(second['refused'], True)
        self.assertIs(third['name'], None)


class Broken(Case):
    def failure(self, data, *words):
        self.write(data)
        result = kmcl('trace', self.path)
        self.assertEqual(result.returncode, 1, result)
        for word in (self.path, *words):
            self.assertIn(word, result.stderr)
        line = json.loads(kmcl('trace', '--json', self.path).stdout.splitlines()[-1]) \
            if result.stdout else None
        return result.stdout, line

    def whole(self):
        head = pcapng.header(pcapng.SIGNAL, 1, channel=1)
        return [pcapng.section(), pcapng.interface(), pcapng.record(1, head),
                pcapng.record(2, head, options=pcapng.option(4, struct.pack('<Q', 3)))]

    def test_cut_off_anywhere(self):
        blocks = self.whole()
        data = b''.join(blocks)
        ends = [sum(map(len, blocks[:i])) for i in range(len(blocks) + 1)]
        for cut in range(1, len(data)):
            self.write(data[:cut])
            result = kmcl('trace', self.path)
            if cut in ends:
                self.assertEqual(result.returncode, 0, (cut, result))
            else:
                self.assertEqual(result.returncode, 1, (cut, result))
                self.assertIn(self.path, result.stderr)
            if cut > ends[1]:
                complete = sum(end <= cut for end in ends[3:])
                self.assertIn(f'{complete} records', result.stdout, cut)

    def test_what_stands_before_is_shown(self):
        text, end = self.failure(b''.join(self.whole())[:-1], 'ends in the middle of a block')
        self.assertIn('1 records, 0 dropped; the rest cannot be read', text)
        self.assertIn('middle of a block', end['error'])

    def test_foreign_files(self):
        self.failure(b'', 'empty')
        self.failure(b'\x7fELF' * 20, 'no pcapng')
        self.failure(struct.pack('<IHHIIII', 0xa1b2c3d4, 2, 4, 0, 0, 65535, 147), 'pcap file')
        self.failure(pcapng.section()[:8] + b'abcd' + pcapng.section()[12:], 'no pcapng')
        self.failure(pcapng.section() + pcapng.interface(link_type=1) +
                     pcapng.record(1, bytes(60)), 'link type 1')
        self.failure(pcapng.section() + pcapng.interface() + pcapng.record(1, bytes(60)),
                     'no capture of VMBus')

    def test_files_that_cannot_be_read(self):
        for path, why in (('/nowhere/at/all', 'No such file'), ('/tmp', 'directory')):
            result = kmcl('trace', path)
            self.assertEqual(result.returncode, 1)
            self.assertIn(path, result.stderr)
            self.assertIn(why, result.stderr)

    def test_lengths_that_lie(self):
        first, second, record, _ = self.whole()
        start = first + second
        self.failure(start + record[:4] + b'\x07\0\0\0' + record[8:], 'cannot have 7 bytes')
        self.failure(start + record[:4] + b'\xfc\xff\xff\xff' + record[8:], 'more than')
        self.failure(start + record[:-4] + b'\x08\0\0\0', 'two lengths')
        self.failure(start + record[:20] + b'\xff\xff\0\0' + record[24:], 'keeps 65535 bytes')
        self.failure(start + record[:8] + b'\x09\0\0\0' + record[12:], 'interface 9')
        self.failure(start + pcapng.record(1, b'VMB1\xff' + bytes(40)), 'head of 255 bytes')
        self.failure(start + pcapng.record(1, b'VMB1'), 'head of 0 bytes')

    def test_other_byte_order_resolution_and_blocks(self):
        head = pcapng.header(pcapng.SIGNAL, 1, channel=1)
        self.write(pcapng.section('>') + pcapng.interface('>', options=b'') +
                   pcapng.record(1_600_000_000_000_001, head, '>') + pcapng.statistics(4, '>') +
                   pcapng.block(0x0bad, bytes(20), '>') +
                   pcapng.section() + pcapng.interface() +
                   pcapng.record(1_600_000_000_000_001_000, head) + pcapng.statistics(5))
        first, second, end = self.trace()
        self.assertEqual(first['time_ns'], second['time_ns'])
        self.assertEqual(end['dropped'], 9)

    def test_standard_input(self):
        result = subprocess.run([KMCL, 'trace', '--json', '-'], input=b''.join(self.whole()),
                                capture_output=True, timeout=PATIENCE)
        self.assertEqual(result.returncode, 0, result)
        self.assertEqual(json.loads(result.stdout.splitlines()[-1])['dropped'], 3)


if __name__ == '__main__':
    sys.exit(tapresult.main(sys.modules[__name__]))
