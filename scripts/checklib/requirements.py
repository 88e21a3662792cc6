# SPDX-License-Identifier: MIT
"""Requirement ids: the table in tests/requirements.tsv, and those that a test's name claims."""

import os
import re
from dataclasses import dataclass, field

from .results import ROOT
from .tap import FAILED, PASSED

TABLE = os.path.join(ROOT, 'tests', 'requirements.tsv')
PREFIXES = ('ring', 'ctl', 'field', 'ddi', 'inv', 'host', 'ic', 'stor', 'net')
NOT_TESTABLE = 'not testable:'


def ids_of(name):
    """Ids that a test's name begins with: `ring_025_026_field_002_x` gives three.

    The number right after a prefix may be short (`inv_20_x`); a further one has three digits, so
    that the 8 in `ring_001_8_byte_packets` claims nothing.
    """
    ids = []
    prefix = None
    first = False
    for token in name.split('_'):
        if token in PREFIXES:
            prefix, first = token, True
        elif prefix and re.fullmatch(r'\d{1,3}' if first else r'\d{3}', token):
            ids.append(f'{prefix.upper()}-{int(token):03}')
            first = False
        else:
            break
    return ids


def load(path=TABLE):
    """{id: text} in the table's order."""
    table = {}
    with open(path, encoding='utf-8') as file:
        for number, line in enumerate(file, 1):
            line = line.rstrip('\n')
            if not line or line.startswith('#'):
                continue
            identifier, tab, text = line.partition('\t')
            if not tab or not text or not re.fullmatch(r'[A-Z]+-\d{3}', identifier):
                raise ValueError(f'{path}:{number}: not "ID<tab>text"')
            if identifier in table:
                raise ValueError(f'{path}:{number}: {identifier} is there twice')
            table[identifier] = text
    return table


@dataclass
class Proof:
    """What the last run says of one id."""
    text: str
    passed: set = field(default_factory=set)
    failed: set = field(default_factory=set)

    @property
    def testable(self):
        return not self.text.startswith(NOT_TESTABLE)

    @property
    def proven(self):
        return self.testable and bool(self.passed) and not self.failed


def _ended_badly(results):
    """Programs that crashed, timed out or were cut short: their passed tests prove nothing."""
    return {one.program for one in results
            if one.outcome == FAILED and one.name.startswith(f'{one.program} (')}


def prove(table, steps):
    """({id: Proof}, ids that tests claim but the table lacks). A skipped test says nothing."""
    proofs = {identifier: Proof(text) for identifier, text in table.items()}
    unknown = {}
    for step in steps.values():
        suspect = _ended_badly(step['results'])
        for result in step['results']:
            if result.outcome not in (PASSED, FAILED):
                continue
            if result.outcome == PASSED and result.program in suspect:
                continue
            for identifier in ids_of(result.name):
                proof = proofs.get(identifier)
                if proof is None:
                    unknown.setdefault(identifier, set()).add(result.name)
                elif result.outcome == PASSED:
                    proof.passed.add(result.name)
                else:
                    proof.failed.add(result.name)
    return proofs, unknown
