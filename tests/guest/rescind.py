#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Takes the device of a running guest away and gives it back: `rescind.py SOCKET TIMES SPEC LAST`.

Begins when the guest has opened the device of driver 0, offers SPEC each time and LAST at the end.
"""

import json
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

    def ask(self, command, **members):
        """The answer, an object."""
        request = json.dumps({'command': command, **members})
        self.socket.sendall((request + '\n').encode())
        answer = json.loads(self.lines.readline())
        if 'error' in answer:
            sys.exit(f'{request}: {answer["error"]}')
        return answer

    def channels(self):
        """Numbers of the channels that are open."""
        return [channel['channel'] for channel in self.ask('stats')['guests'][0]['channels']
                if channel['channel']]


def main():
    path, times, spec, last = sys.argv[1:]
    control = Control(path)
    # Twice opened and closed by now: it is the third time that counts, and it stays.
    steady = 0
    while steady < 20:
        steady = steady + 1 if control.channels() else 0
        time.sleep(0.5)
    number = 0
    for n in range(int(times)):
        control.ask('revoke', number=number)
        number = control.ask('offer', driver=spec if n + 1 < int(times) else last)['number']
        # By turns at once and when the guest has had its time.
        time.sleep(0.5 * (n % 3))


if __name__ == '__main__':
    main()
