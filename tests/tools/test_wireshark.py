#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/wireshark/vmbus.lua in tshark: captures of the demo, conversations of a real guest, and bytes
made up. What it says of messages is compared with `kmcl trace`. Arguments: kmcl, and the root of the
sources."""

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

KMCL, ROOT = sys.argv[1:3]
LUA = os.path.join(ROOT, 'docs', 'wireshark', 'vmbus.lua')
PATIENCE = 250
VECTORS = sorted(glob.glob(os.path.join(ROOT, 'tests', 'vectors', '*.txt')))
SEEDS = sorted(glob.glob(os.path.join(ROOT, 'fuzz', 'corpus', 'message', 'type-*')))
BAD = '_ws.lua.error || vmbus.unknown || vmbus.malformed || vmbus.wrong_direction'
ECHO = '8d7f2a6e-4c0b-4f2e-9a53-6b1c0e5d9f01'
FIRST = 400  # records of a demo that are looked at


def tshark(path, *args):
    # a home of its own: what a person keeps there has no part in this
    with tempfile.TemporaryDirectory() as home:
        result = subprocess.run(['tshark', '-X', f'lua_script:{LUA}', '-r', path, *args],
                                capture_output=True, text=True, timeout=PATIENCE, check=False,
                                env={**os.environ, 'HOME': home, 'XDG_CONFIG_HOME': home})
    if result.returncode:
        raise AssertionError(result.stderr)
    return result.stdout


def fields(path, wanted, *names, options=()):
    """A tuple of texts for each record; a field that is there several times is separated by ','."""
    arguments = [a for name in names for a in ('-e', name)]
    out = tshark(path, *options, '-Y', wanted, '-T', 'fields', '-E', 'separator=|', *arguments)
    return [tuple(line.split('|')) for line in out.splitlines()]


class Case(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.path = os.path.join(scratch.name, 'capture.pcapng')

    def write(self, *records):
        with open(self.path, 'wb') as file:
            file.write(pcapng.section() + pcapng.interface() + b''.join(records))
        return self.path

    def nothing_strange(self, path):
        self.assertEqual(tshark(path, '-Y', BAD), '')


class Demo(unittest.TestCase):
    """One capture of kmcl demo."""

    @classmethod
    def setUpClass(cls):
        scratch = tempfile.TemporaryDirectory()
        cls.addClassCleanup(scratch.cleanup)
        source = os.path.join(scratch.name, 'input')
        cls.path = os.path.join(scratch.name, 'capture.pcapng')
        with open(source, 'wb') as file:
            file.write(os.urandom(1 << 20))
        subprocess.run([KMCL, 'demo', '--input', source, '--capture', cls.path + ',signals'],
                       capture_output=True, timeout=PATIENCE, check=True)
        cls.capture = pcapng.read(cls.path)

    def fields(self, wanted, *names, options=()):
        # the demo pushes twenty thousand packets at its end: of those some are enough
        return fields(self.path, wanted, *names, options=('-c', str(FIRST), *options))

    def test_every_record_is_dissected(self):
        rows = fields(self.path, 'vmbus', 'vmbus.kind', 'vmbus.direction')
        self.assertEqual([(int(kind), int(way)) for kind, way in rows],
                         [(r.kind, r.direction) for r in self.capture.records])
        self.assertEqual(tshark(self.path, '-Y', BAD), '')

    def test_offer(self):
        (guid, instance, channel, interface), = self.fields(
            'vmbus.name == "OFFER_CHANNEL"', 'vmbus.interface_id', 'vmbus.instance_id',
            'vmbus.channel_id', 'vmbus.interface')
        self.assertEqual((guid, instance, channel, interface),
                         (ECHO, '00000000-0000-0000-0000-0000000000e0', '1', 'echo'))

    def test_contact_and_its_answer(self):
        rows = self.fields('vmbus.type == 14 || vmbus.type == 15', 'vmbus.version',
                           'vmbus.synic.connection_id', 'vmbus.supported', 'vmbus.state',
                           'vmbus.selected', 'vmbus.page_or_target')
        self.assertEqual(rows, [('0x00060000', '0x00000004', '', '', '', ''),
                                ('', '', '1', '0', '0x00000001', '')])

    def test_open_and_its_result(self):
        opened, result = self.fields('vmbus.type == 5 || vmbus.type == 6', 'vmbus.name',
                                     'vmbus.channel_id', 'vmbus.open_id', 'vmbus.status')
        self.assertEqual(result[3], '0x00000000')
        self.assertEqual(opened[1:3], result[1:3])

    def test_rings_gpadl_is_the_one_opened(self):
        created = self.fields('vmbus.name == "GPADL_CREATED"', 'vmbus.gpadl', 'vmbus.status')
        (ring,), = self.fields('vmbus.name == "OPEN_CHANNEL"', 'vmbus.ring_gpadl')
        self.assertIn((ring, '0x00000000'), created)

    def test_packets(self):
        rows = self.fields('vmbus.packet.type', 'frame.number', 'vmbus.channel',
                           'vmbus.packet.type', 'vmbus.packet.transaction_id',
                           'vmbus.packet.length8', 'vmbus.packet.flags.completion')
        self.assertGreater(len(rows), 200)
        for number, channel, kind, transaction, length8, wanted in rows:
            record = self.capture.records[int(number) - 1]
            self.assertEqual((int(kind, 16), int(length8), int(wanted == 'True' or wanted == '1')),
                             struct.unpack_from('<HxxHH', record.body))
            self.assertEqual(int(transaction, 16), struct.unpack_from('<Q', record.body, 8)[0])
            self.assertEqual(int(channel), record.channel)
        self.assertEqual({row[2] for row in rows}, {'0x0006', '0x0009', '0x000b'})

    def test_completions_lead_to_their_requests(self):
        rows = self.fields('vmbus.packet.type == 0xb', 'frame.number',
                           'vmbus.packet.transaction_id', 'vmbus.packet.request_in')
        # a request knows what comes later when the file is read once more
        asked = dict(self.fields('vmbus.packet.completion_in', 'frame.number',
                                 'vmbus.packet.completion_in', options=['-2']))
        self.assertGreater(len(rows), 100)
        for number, transaction, request in rows:
            record = self.capture.records[int(request) - 1]
            self.assertLess(int(request), int(number))
            self.assertEqual(struct.unpack_from('<Q', record.body, 8)[0], int(transaction, 16))
            self.assertEqual(record.body[6] & 1, 1)
            self.assertEqual(asked[request], number)

    def test_page_lists(self):
        rows = self.fields('vmbus.packet.type == 9', 'frame.number', 'vmbus.packet.range_count',
                           'vmbus.range.byte_count', 'vmbus.range.byte_offset', 'vmbus.range.pfn')
        self.assertGreater(len(rows), 0)
        for number, count, size, offset, pfns in rows:
            body = self.capture.records[int(number) - 1].body
            words = len(pfns.split(','))
            self.assertEqual((int(count), int(size), int(offset)),
                             struct.unpack_from('<III', body, 20))
            self.assertEqual([int(pfn, 16) for pfn in pfns.split(',')],
                             list(struct.unpack_from(f'<{words}Q', body, 32)))
            self.assertEqual(words, (int(size) + int(offset) + 4095) // 4096)

    def test_signals(self):
        rows = fields(self.path, 'vmbus.kind == 3', 'vmbus.channel', 'vmbus.direction')
        self.assertEqual(len(rows), sum(r.kind == pcapng.SIGNAL for r in self.capture.records))
        self.assertEqual({channel for channel, _ in rows}, {'1'})

    def test_json(self):
        out = json.loads(tshark(self.path, '-c', str(FIRST), '-Y', 'vmbus.name == "OFFER_CHANNEL"',
                                '-T', 'json'))
        self.assertEqual(len(out), 1)
        layer = out[0]['_source']['layers']['vmbus']
        self.assertEqual(layer['vmbus.interface_id'], ECHO)
        self.assertEqual(layer['vmbus.dedicated'], '1')

    def test_columns(self):
        lines = tshark(self.path, '-c', '2').splitlines()
        self.assertRegex(lines[0], r'client . server .*VMBus .*INITIATE_CONTACT')
        self.assertRegex(lines[1], r'server . client .*VMBus .*VERSION_RESPONSE')


class Guest(Case):
    """Conversations of a real guest, and the first request that it put into a ring."""

    def test_nothing_is_unknown(self):
        self.assertEqual(len(VECTORS), 5)
        for vector in VECTORS:
            with open(self.path, 'wb') as file:
                file.write(pcapng.of_vector(vector))
            self.nothing_strange(self.path)
            named = fields(self.path, 'vmbus.type', 'vmbus.type', 'vmbus.name')
            with open(vector, encoding='ascii') as file:
                self.assertEqual(len(named), sum(line[0] in '<>' for line in file))
            self.assertTrue(all(name for _, name in named))

    def test_storage(self):
        with open(self.path, 'wb') as file:
            file.write(pcapng.of_vector(next(v for v in VECTORS if 'storage' in v)))
        packet, = fields(self.path, 'vmbus.packet.type', 'vmbus.channel', 'vmbus.interface',
                         'vmbus.packet.transaction_id', 'vmbus.packet.flags.completion')
        self.assertEqual((packet[0], packet[1], packet[2]), ('40', 'SCSI', '0xfffffffffffffffd'))
        self.assertIn(packet[3], ('True', '1'))
        names = {name for name, in fields(self.path, 'vmbus.type == 1', 'vmbus.interface')}
        self.assertTrue({'SCSI', 'heartbeat', 'shutdown'} <= names, names)

    def test_bodies_of_large_gpadls(self):
        with open(self.path, 'wb') as file:
            file.write(pcapng.of_vector(next(v for v in VECTORS if 'uio' in v)))
        bodies = fields(self.path, 'vmbus.name == "GPADL_BODY"', 'vmbus.range.pfn', 'frame.cap_len')
        self.assertGreater(len(bodies), 400)
        for pfns, length in bodies:
            self.assertEqual(len(pfns.split(',')), (int(length) - 32 - 16) // 8)


class Made(Case):
    """Bytes made up, one kind at a time."""

    def test_every_message_as_kmcl_trace_has_it(self):
        self.assertEqual(len(SEEDS), 29)
        records = []
        for number, seed in enumerate(SEEDS):
            with open(seed, 'rb') as file:
                data = file.read()
            # every byte of every field counts
            data = data[:8] + bytes((number * 7 + i * 5 + 1) & 0xff for i in range(8, len(data)))
            records.append(pcapng.record(number, pcapng.header(pcapng.MESSAGE, number % 2) + data))
        self.write(*records)
        result = subprocess.run([KMCL, 'trace', '--json', self.path], capture_output=True, text=True,
                                timeout=PATIENCE, check=True)
        lines = [json.loads(line) for line in result.stdout.splitlines()][:-1]
        self.assertEqual([line['type'] for line in lines], list(range(1, 30)))
        frames = json.loads(tshark(self.path, '-T', 'json'))
        self.assertEqual(len(frames), 29)
        for line, frame in zip(lines, frames):
            layer = frame['_source']['layers']['vmbus']
            self.assertEqual(layer['vmbus.name'], line['name'])
            for name, value in line['fields'].items():
                self.compare(layer, name, value)

    def compare(self, layer, name, value):
        shown = layer['vmbus.' + name]
        shown = shown[0] if isinstance(shown, list) else shown
        if name in ('ranges', 'user_data', 'reserved'):
            self.assertEqual(shown.replace(':', ''), value, name)
        elif isinstance(value, str) and '-' in value:
            self.assertEqual(shown, value, name)
        else:
            number = int(value, 16) if isinstance(value, str) else value
            self.assertEqual(int(shown, 0), number, name)

    def packet(self, kind, extra, payload, flags=0, transaction=0):
        body = struct.pack('<HHHHQ', kind, 2 + len(extra) // 8,
                           2 + (len(extra) + len(payload)) // 8, flags, transaction)
        return pcapng.record(1, pcapng.header(pcapng.PACKET, 0, channel=1) + body + extra +
                             payload)

    def test_transfer_pages(self):
        extra = struct.pack('<HHIIIII', 0xcafe, 0xffff, 2, 100, 8, 200, 4096)
        self.write(self.packet(7, extra, bytes(8), 1, 5))
        row, = fields(self.path, 'vmbus', 'vmbus.packet.set', 'vmbus.packet.range_count',
                      'vmbus.range.byte_count', 'vmbus.range.byte_offset')
        self.assertEqual(row, ('51966', '2', '100,200', '8,4096'))
        self.nothing_strange(self.path)

    def test_several_ranges(self):
        extra = struct.pack('<IIIIQQIIQ', 0xdead, 2, 4097, 4095, 7, 8, 10, 16, 9)
        self.write(self.packet(9, extra, b''))
        row, = fields(self.path, 'vmbus', 'vmbus.range.byte_count', 'vmbus.range.byte_offset',
                      'vmbus.range.pfn')
        self.assertEqual(row, ('4097,10', '4095,16', '0x0000000000000007,0x0000000000000008,'
                               '0x0000000000000009'))

    def test_pipe(self):
        self.write(pcapng.record(1, pcapng.header(2, 0, channel=1, flags=pcapng.PIPE) +
                                 struct.pack('<HHHHQII8s', 6, 2, 4, 0, 0, 1, 5, b'hello')))
        row, = fields(self.path, 'vmbus', 'vmbus.pipe.type', 'vmbus.pipe.length', 'vmbus.pipe.data')
        self.assertEqual(row, ('1', '5', '68656c6c6f000000'))

    def test_features_and_flags(self):
        contact = struct.pack('<IIIIBBHIQQ', 14, 0, 0x60000, 0, 2, 0, 0, 0x45, 0, 0)
        self.write(pcapng.record(1, pcapng.header(pcapng.MESSAGE, 0) + contact))
        row, = fields(self.path, 'vmbus', 'vmbus.features', 'vmbus.features.guest_signal',
                      'vmbus.features.redirect', 'vmbus.features.server_monitor')
        self.assertIn(row, (('0x00000045', '1', '0', '1'), ('0x00000045', 'True', 'False', 'True')))

    def test_strange_records_are_said_to_be(self):
        def strange(body, kind=pcapng.MESSAGE, direction=0, **more):
            self.write(pcapng.record(1, pcapng.header(kind, direction, **more) + body))
            return tshark(self.path, '-Y', BAD) != ''

        self.assertTrue(strange(struct.pack('<II', 77, 0)))
        self.assertTrue(strange(struct.pack('<I', 4)))
        self.assertTrue(strange(struct.pack('<II', 4, 0)))
        self.assertFalse(strange(struct.pack('<II', 4, 0), direction=1))
        self.assertTrue(strange(struct.pack('<HHHHQ', 0x44, 2, 2, 0, 0), pcapng.PACKET))
        self.assertTrue(strange(struct.pack('<HHHHQ', 6, 1, 2, 0, 0), pcapng.PACKET))
        self.assertTrue(strange(bytes(8), pcapng.PACKET))
        self.assertTrue(strange(bytes(8), 9))
        self.assertTrue(strange(b''))

    def test_refused(self):
        self.write(pcapng.record(1, pcapng.header(2, 0, channel=1, flags=pcapng.REFUSED) +
                                 struct.pack('<HHHHQ', 6, 2, 400, 0, 0), original=3232))
        self.assertNotEqual(tshark(self.path, '-Y', 'vmbus.refused'), '')

    def test_a_failed_open_is_told(self):
        self.write(pcapng.record(1, pcapng.header(1, 1) +
                                 struct.pack('<IIIII', 6, 0, 1, 1, 0x8000ffff)))
        self.assertNotEqual(tshark(self.path, '-Y', 'vmbus.failed && vmbus.status == 0x8000ffff'), '')

    def test_cut_packets_are_no_errors(self):
        extra = struct.pack('<IIIIQQ', 0, 1, 8192, 0, 7, 8)
        body = struct.pack('<HHHHQ', 9, 6, 100, 1, 3) + extra
        for kept in range(16, len(body) + 1, 4):
            self.write(pcapng.record(1, pcapng.header(2, 0, channel=1) + body[:kept],
                                     original=32 + 800))
            self.nothing_strange(self.path)

    def test_other_captures_of_the_link_type_are_left_alone(self):
        self.write(pcapng.record(1, b'something else, of forty bytes or more...'))
        self.assertEqual(tshark(self.path, '-Y', 'vmbus'), '')


if __name__ == '__main__':
    sys.exit(tapresult.main(sys.modules[__name__]))
