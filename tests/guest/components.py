#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Asks a running guest through its integration components: `components.py SOCKET LOG`.

A clock that is moved tells the guest to go on, a key "step" of its own tells us. What was asked and
answered, and when, is appended to LOG, a line of JSON each.
"""

import json
import sys
import time

from control import Control

DAYS = 864000.0
STEPS = [
    [('kvp', {'do': 'set', 'key': 'role', 'value': 'Prüfling'}),
     ('kvp', {'do': 'get', 'key': 'role'}),
     ('kvp', {'do': 'set', 'key': 'number', 'value': 4000000000}),
     ('kvp', {'do': 'set', 'key': 'long', 'value': 1 << 40, 'type': 'u64-linux'}),
     ('kvp', {'do': 'set', 'key': 'gone', 'value': 'soon'}),
     ('kvp', {'do': 'delete', 'key': 'gone'}),
     ('kvp', {'do': 'get', 'key': 'gone'}),
     ('kvp', {'do': 'list', 'pool': 'external'}),
     ('kvp', {'do': 'list', 'pool': 'auto'}),
     ('kvp', {'do': 'list', 'pool': 'guest'}),
     ('kvp', {'do': 'list', 'pool': 'auto-external'}),
     ('ip', {'adapter': '{00000000-0000-0000-0000-000000000bad}'}),
     ('clock', {'offset': 0.0})],
    [('heartbeat', {}),
     ('components', {}),
     ('shutdown', {'action': 'off', 'text': 'Good night'})],
]
PATIENCE = 600


class Asker(Control):
    """A control socket whose requests are logged, those too that are refused."""

    def __init__(self, path, log):
        super().__init__(path)
        self.log = log

    def try_to(self, command, **members):
        self.socket.sendall((json.dumps({'command': command, **members}) + '\n').encode())
        return json.loads(self.lines.readline())

    def states(self):
        components = self.ask('components')['components']
        return {name: components[name]['state'] for name in components}

    def step(self):
        items = self.try_to('kvp', do='list', pool='guest', wait=60).get('items', [])
        return items[0]['value'] if items else None

    def note(self, command, **members):
        asked = time.time()
        answer = self.try_to(command, wait=300, **members)
        self.log.write(json.dumps({'asked': asked, 'command': command, **members,
                                   'answer': answer}) + '\n')
        self.log.flush()


def wait_for(what):
    end = time.monotonic() + PATIENCE
    while not what():
        if time.monotonic() > end:
            sys.exit('the guest did not come so far')
        time.sleep(0.5)


def main():
    path, log = sys.argv[1:]
    with open(log, 'w', encoding='utf-8') as file:
        asker = Asker(path, file)
        # All but the one whose daemon is missing.
        wait_for(lambda: asker.states() == {'heartbeat': 'ready', 'shutdown': 'ready',
                                            'timesync': 'ready', 'kvp': 'negotiating'} and
                 asker.ask('heartbeat')['beats'] >= 3)
        asker.note('components')
        asker.note('kvp', do='get', key='role')
        asker.note('clock', offset=DAYS)
        for number, step in enumerate(STEPS, 1):
            wait_for(lambda number=number: asker.step() == str(number))
            for command, members in step:
                asker.note(command, **members)


if __name__ == '__main__':
    main()
