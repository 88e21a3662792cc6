#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Takes the device of a running guest away and gives it back: `rescind.py SOCKET TIMES SPEC LAST`.

Begins when the guest has opened the device of driver 0, offers SPEC each time and LAST at the end.
"""

import socket
import sys
import time


class Control:
    """The control socket of `kmcl vm`."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        for _ in range(600):
            try:
                self.socket.connect(path)
                break
            except OSError:
                time.sleep(0.5)
        self.lines = self.socket.makefile('r')

    def ask(self, line):
        """The answer's lines without the last, which is ok."""
        self.socket.sendall((line + '\n').encode())
        answer = []
        while True:
            got = self.lines.readline().rstrip('\n')
            if got == 'ok':
                return answer
            if not got or got.startswith('error'):
                sys.exit(f'{line}: {got}')
            answer.append(got)


def main():
    path, times, spec, last = sys.argv[1:]
    control = Control(path)
    # Twice opened and closed by now: it is the third time that counts, and it stays.
    steady = 0
    while steady < 20:
        opened = any(not line.startswith('0 ') for line in control.ask('channels'))
        steady = steady + 1 if opened else 0
        time.sleep(0.5)
    number = '0'
    for n in range(int(times)):
        control.ask(f'revoke {number}')
        number = control.ask(f'offer {spec if n + 1 < int(times) else last}')[0]
        # By turns at once and when the guest has had its time.
        time.sleep(0.5 * (n % 3))


if __name__ == '__main__':
    main()
