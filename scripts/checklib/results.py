# SPDX-License-Identifier: MIT
"""The results of the last check, kept as JSON so that reports never have to guess from sources."""

import json
import os
import subprocess
import time
from dataclasses import asdict, dataclass

from .tap import FAILED, PASSED, SKIPPED

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDER = os.path.join(ROOT, 'build', 'check')
PATH = os.path.join(FOLDER, 'results.json')


@dataclass
class Result:
    """One test in one build."""
    name: str
    program: str
    outcome: str
    detail: str = ''


def revision():
    """The commit that is checked out, with a + when files differ from it."""
    def git(*args):
        return subprocess.run(['git', '-C', ROOT, *args], capture_output=True, text=True,
                              check=False)
    head = git('rev-parse', '--short', 'HEAD')
    if head.returncode != 0:
        return 'unknown'
    return head.stdout.strip() + ('+' if git('status', '--porcelain').stdout.strip() else '')


def load():
    """{step: {'revision', 'time', 'seconds', 'results': [Result]}}; None when there is none."""
    try:
        with open(PATH, encoding='utf-8') as file:
            steps = json.load(file)
    except (OSError, ValueError):
        return None
    for step in steps.values():
        step['results'] = [Result(**one) for one in step['results']]
    return steps


def store(steps):
    """Replaces what is kept of these steps; others stay as they were."""
    merged = load() or {}
    merged.update(steps)
    os.makedirs(FOLDER, exist_ok=True)
    plain = {name: dict(step, results=[asdict(one) for one in step['results']])
             for name, step in merged.items()}
    with open(PATH + '.new', 'w', encoding='utf-8') as file:
        json.dump(plain, file, indent=1)
    os.replace(PATH + '.new', PATH)


def step_record(results, seconds):
    return {'revision': revision(), 'time': time.strftime('%Y-%m-%d %H:%M:%S'),
            'seconds': round(seconds, 1), 'results': results}


def count(results):
    """(passed, failed, skipped)"""
    outcomes = [one.outcome for one in results]
    return outcomes.count(PASSED), outcomes.count(FAILED), outcomes.count(SKIPPED)
