# SPDX-License-Identifier: MIT
"""Reads the lines that a test program printed, cmocka's dialect of TAP included.

cmocka 1.1 differs from TAP in ways that matter here:
- a skipped test is `not ok 3 # SKIP name`, and it must count as neither passed nor failed;
- several groups in one program print several plans, each numbering from 1;
- a group whose set-up fails prints `not ok 0 - group ...` and none of its tests;
- after the name of a failed test there may be a sentence.
"""

import re
from dataclasses import dataclass, field

PASSED, FAILED, SKIPPED = 'passed', 'failed', 'skipped'

_PLAN = re.compile(r'^1\.\.(\d+)\b')
_CMOCKA_SKIP = re.compile(r'^(?:not )?ok (\d+) # SKIP (\S+)')
# A failure counts however it is written; a line of prose that begins with "ok" is no test.
_LINE = re.compile(r'^(not ok\b|ok(?= \d))\s*(\d*)\s*(?:-\s*)?(.*)$')
_SKIP_DIRECTIVE = re.compile(r'#\s*skip\b', re.IGNORECASE)
_TODO_DIRECTIVE = re.compile(r'#\s*todo\b', re.IGNORECASE)


@dataclass
class Report:
    """tests: (name, outcome, detail); problems: what is wrong with the output as a whole."""
    tests: list = field(default_factory=list)
    problems: list = field(default_factory=list)


def _first_word(text):
    return text.split()[0] if text.split() else '(unnamed)'


def _parse_line(line):
    """(number, name, outcome) of a result line, None for any other."""
    skip = _CMOCKA_SKIP.match(line)
    if skip:
        return int(skip.group(1)), skip.group(2), SKIPPED
    match = _LINE.match(line)
    if not match:
        return None
    number = int(match.group(2)) if match.group(2) else -1
    text = match.group(3)
    if _SKIP_DIRECTIVE.search(text):
        outcome = SKIPPED
    elif _TODO_DIRECTIVE.search(text):
        outcome = SKIPPED
    else:
        outcome = PASSED if match.group(1) == 'ok' else FAILED
    return number, text, outcome


def parse(output, whole_names=False):
    """Report of a program's standard output. whole_names: a name may hold spaces."""
    report = Report()
    planned = None
    seen = 0

    def close_group():
        if planned is not None and seen < planned:
            report.problems.append(f'{planned - seen} of {planned} planned tests did not report')

    for line in output.splitlines():
        plan = _PLAN.match(line)
        if plan:
            # Some producers print the plan at the end; then everything seen so far belongs to it.
            if planned is None and seen:
                planned = int(plan.group(1))
                continue
            close_group()
            planned, seen = int(plan.group(1)), 0
            continue
        if line.startswith('Bail out!'):
            report.problems.append(line)
            continue
        result = _parse_line(line)
        if result is None:
            continue
        number, text, outcome = result
        name = text.split(' # ')[0].strip() if whole_names else _first_word(text)
        if number == 0:
            # Set-up or tear-down of a group: its tests, if missing, are told by the plan.
            name = f'{name} (group)'
        else:
            seen += 1
        report.tests.append((name, outcome, text if outcome == FAILED else ''))
    close_group()
    return report
