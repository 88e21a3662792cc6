#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The control socket of `kmcl vm`; as a program: `control.py TTY` relays to it from a terminal.

Through that a test asks the host while it talks to the guest on another terminal, in whatever order
it needs. A line on the terminal is a request with a member "socket"; the answer is a line too.
"""

import json
import os
import socket
import struct
import sys
import termios
import time
import tty

PATIENCE = 300  # until the socket is there: the machine may be slow


class Control:
    """A connection, over which one asks one thing after another."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self.socket.connect(path)
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)
        self.lines = self.socket.makefile('r', encoding='utf-8')

    def answer(self, request):
        """The answer, whatever it is."""
        self.socket.sendall((json.dumps(request) + '\n').encode())
        return json.loads(self.lines.readline())

    def ask(self, command, **members):
        """The answer to a request that must not be refused."""
        answer = self.answer({'command': command, **members})
        if 'error' in answer:
            sys.exit(f'{command} {members}: {answer["error"]}')
        return answer

    def holds(self):
        """How many descriptors the host has, and how many pieces of the guest's memory it maps."""
        # Who has answered has this connection and none of those before it.
        self.answer({'command': 'help'})
        pid, _, _ = struct.unpack('3i', self.socket.getsockopt(socket.SOL_SOCKET,
                                                               socket.SO_PEERCRED, 12))
        with open(f'/proc/{pid}/maps', encoding='utf-8') as maps:
            pieces = sum('/memfd:guest' in line for line in maps)
        return {'descriptors': len(os.listdir(f'/proc/{pid}/fd')), 'mappings': pieces}

    def close(self):
        self.lines.close()
        self.socket.close()


def ask_once(path, request):
    """One request over a connection of its own; "holds" and "time" are answered here."""
    if request['command'] == 'time':
        return {'time': time.time()}
    try:
        control = Control(path)
        try:
            return control.holds() if request['command'] == 'holds' else control.answer(request)
        finally:
            control.close()
    except (OSError, ValueError) as error:
        return {'error': str(error)}


def main():
    with open(sys.argv[1], 'r+b', buffering=0) as terminal:
        tty.setraw(terminal, termios.TCSANOW)
        line = b''
        while True:
            line += terminal.read(4096)
            while b'\n' in line:
                first, line = line.split(b'\n', 1)
                request = json.loads(first)
                answer = ask_once(request.pop('socket'), request)
                terminal.write((json.dumps(answer) + '\n').encode())


if __name__ == '__main__':
    main()
