#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Says which of the goals the figures in a folder reach: goals.py FOLDER.

A goal is a ratio within one run, or a number of instructions. Beside it stands what the floor of the
VMBus format reaches: what no ring that speaks the format can do better.
"""

import json
import os
import sys


class Figures:
    def __init__(self, folder):
        self.cells = {}
        self.instructions = {}
        for name in ('ring.json', 'kmcl.json', 'user.json'):
            path = os.path.join(folder, name)
            if os.path.exists(path):
                with open(path, encoding='utf-8') as f:
                    for cell in json.load(f)['results']:
                        key = cell['table'], cell['row'], cell['candidate']
                        self.cells[key] = cell
        self.scale, self.memory = {}, {}
        path = os.path.join(folder, 'scale.json')
        if os.path.exists(path):
            with open(path, encoding='utf-8') as f:
                for row in json.load(f)['results']:
                    if 'memory' in row:
                        self.memory = row
                    else:
                        self.scale[row['channels']] = row
        path = os.path.join(folder, 'instructions.tsv')
        if os.path.exists(path):
            with open(path, encoding='utf-8') as f:
                for line in f:
                    candidate, batch, count = line.split('\t')
                    self.instructions[candidate, batch] = int(count)

    def ratio(self, table, row, of, over):
        """Of medians of ratios within rounds; None where it was not measured."""
        return self.cells.get((table, row, of), {}).get('ratio', {}).get(over)

    def growth(self, step):
        """What a channel costs among most, over what it costs among 128."""
        most = max(self.scale, default=0)
        if most <= 128 or 128 not in self.scale:
            return None
        return self.scale[most][step] / self.scale[128][step]

    def count(self, candidate, batch):
        return self.instructions.get((candidate, batch))


def goals(f):
    """Text, what is asked ('<=' or '>=' a number), what is reached, what the floor reaches."""
    def ring(text, sense, bound, table, row, over):
        return (text, sense, bound, f.ratio(table, row, 'ours', over),
                f.ratio(table, row, 'floor', over))

    yield ring('one thread, 64 B, each / plain', '<=', 2.2, 'one', '64', 'plain')
    yield ring('one thread, 64 B, by 32 / plain', '<=', 1.4, 'one', '64-batch', 'plain')
    yield ('instructions, 64 B, each', '<=', 280, f.count('ours', '1'), f.count('floor', '1'))
    yield ('instructions, 64 B, by 32', '<=', 200, f.count('ours', '32'), f.count('floor', '32'))
    yield ring('two threads, 64 B, by 32, 1 MiB / plain', '>=', 0.5, 'two-64', '1m-batch', 'plain')
    yield ring('two threads, 16 KiB, 64 KiB / copy limit', '>=', 0.8, 'two-16k', '64k', 'limit')
    yield ring('two threads, 16 KiB, 1 MiB / copy limit', '>=', 0.8, 'two-16k', '1m', 'limit')
    yield ring('ring round trip, spinning / two lines', '<=', 1.8, 'trip', '64', 'two lines')
    yield ('request to completion, spinning / two lines', '<=', 3.0,
           f.ratio('kmcl-trip', '64', 'kmcl', 'two lines'), None)

    for row, text in (('window-1', '64 B, window 1'), ('window-32', '64 B, window 32'),
                      ('window-256', '64 B, window 256')):
        yield (f'two processes / one, {text}', '>=', 0.9,
               f.ratio('user-rate', row, 'two', 'one'), None)
    for row, text in (('one-way', '16 KiB one way'), ('external-8', '64 KiB external')):
        yield (f'two processes / one, {text}', '>=', 0.9,
               f.ratio('user-data', row, 'two', 'one'), None)
    yield ('two processes, blocking round trip / eventfd', '<=', 1.5,
           f.ratio('user-wake', '64', 'two', 'eventfd'), None)

    for step in ('offer', 'open', 'first trip', 'close'):
        yield (f'{step}, a channel of 2047 / of 128', '<=', 2.0, f.growth(step), None)
    yield ('idle open channel beyond its rings, KiB', '<=', 16, f.memory.get('opened'), None)


def shown(value):
    if value is None:
        return '-'
    return str(value) if isinstance(value, int) else f'{value:.2f}'


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.splitlines()[0])
    print(f'\n{"Goal":46} {"asked":>9} {"reached":>8} {"floor":>6}')
    for text, sense, bound, reached, floor in goals(Figures(sys.argv[1])):
        if reached is None:
            verdict = 'not measured'
        elif reached <= bound if sense == '<=' else reached >= bound:
            verdict = 'yes'
        else:
            verdict = 'no'
        print(f'{text:46} {sense + " " + str(bound):>9} {shown(reached):>8} {shown(floor):>6}  '
              f'{verdict}')


if __name__ == '__main__':
    main()
