#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the conversations of tests/vectors as seeds of fuzz_server and fuzz_client.

The format is that of steps.h. Run it again when the operations in fuzz_client.c have moved.
"""

import glob
import os
import re

HERE = os.path.dirname(os.path.abspath(__file__))
MOST = 4096                  # what fuzzers read of an input
STEP_BYTES = 0xff
PORTS = {1: 0, 4: 1}         # their places in the table of fuzz_server.c
PROMPT, DEVICES = 8, 4       # in the configuration of fuzz_server.c
VERSION_5_3 = 9              # in the table of message.c


def operation(source, name):
    with open(os.path.join(HERE, source), encoding='utf-8') as file:
        text = re.search(r'enum operation \{(.*?)\}', file.read(), re.DOTALL).group(1)
    return [line.split('/*')[0].strip() for line in text.split(',')].index(name)


def raw(message, port=0):
    step = bytes([STEP_BYTES, len(message), port, 0, 0, 0, 0, 0]) + message
    return step + bytes(-len(message) % 8)


def near(message):
    """Of channels the fuzzers have the first few: the recorded number 40 becomes 3."""
    if len(message) > 12 and message[8:12] == bytes([40, 0, 0, 0]):
        return message[:8] + bytes([3, 0, 0, 0]) + message[12:]
    return message


def conversation(path):
    with open(path, encoding='utf-8') as file:
        for line in file:
            words = line.split()
            if words and words[0] == '>':
                yield '>', int(words[1]), near(bytes.fromhex(words[2]))
            elif words and words[0] == '<':
                yield '<', 0, near(bytes.fromhex(words[1]))


def write(target, name, data):
    if len(data) <= MOST:
        with open(os.path.join(HERE, 'corpus', target, name), 'wb') as file:
            file.write(data)


def main():
    connect = bytes([operation('fuzz_client.c', 'CONNECT'), 0, 0, 0, 0, 0, 0, 0])
    for path in sorted(glob.glob(os.path.join(HERE, '..', 'tests', 'vectors', '*.txt'))):
        name = os.path.splitext(os.path.basename(path))[0]
        lines = list(conversation(path))
        config = bytes([0, 0, 0, PROMPT, 0, DEVICES]) + bytes(10)
        write('server', name, config + b''.join(raw(m, PORTS[p]) for d, p, m in lines if d == '>'))
        config = bytes([VERSION_5_3]) + bytes(15)
        write('client', name, config + connect + b''.join(raw(m) for d, _, m in lines if d == '<'))


if __name__ == '__main__':
    main()
