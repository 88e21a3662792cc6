#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of the check itself: what it reads from a test program, what it counts, what it proves."""

import os
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, 'scripts'), os.path.dirname(os.path.abspath(__file__))]

import tapresult  # noqa: E402
from checklib import programs, requirements, tap  # noqa: E402
from checklib.programs import Program  # noqa: E402
from checklib.results import Result, count  # noqa: E402
from checklib.tap import FAILED, PASSED, SKIPPED  # noqa: E402


def outcomes(text):
    return [(name, outcome) for name, outcome, _ in tap.parse(text).tests]


class Lines(unittest.TestCase):
    def test_passed_and_failed(self):
        self.assertEqual(outcomes('1..2\nok 1 - a\nnot ok 2 - b\n# why\n'),
                         [('a', PASSED), ('b', FAILED)])

    def test_cmocka_skip_is_neither(self):
        self.assertEqual(outcomes('1..1\nnot ok 1 # SKIP a\n'), [('a', SKIPPED)])
        self.assertEqual(outcomes('1..1\nok 1 - a # SKIP no such machine\n'), [('a', SKIPPED)])

    def test_todo_is_not_passed(self):
        self.assertEqual(outcomes('1..1\nok 1 - a # TODO later\n'), [('a', SKIPPED)])

    def test_name_ends_before_the_sentence(self):
        self.assertEqual(outcomes('1..1\nnot ok 1 - a Could not run test: Test setup failed\n'),
                         [('a', FAILED)])

    def test_group_verdict_is_no_test(self):
        self.assertEqual(outcomes('1..1\nok 1 - a\n# ok - group\n# not ok - group\n'),
                         [('a', PASSED)])

    def test_failed_group_setup(self):
        report = tap.parse('1..3\nnot ok 0 - group [  FAILED  ] GROUP SETUP\n# ok - group\n')
        self.assertEqual([outcome for _, outcome, _ in report.tests], [FAILED])
        self.assertEqual(len(report.problems), 1)

    def test_several_groups(self):
        report = tap.parse('1..2\nok 1 - a\nok 2 - b\n1..1\nok 1 - c\n')
        self.assertEqual(len(report.tests), 3)
        self.assertEqual(report.problems, [])

    def test_cut_off_group(self):
        report = tap.parse('1..2\nok 1 - a\n1..1\nok 1 - c\n')
        self.assertEqual(len(report.problems), 1)

    def test_prose_is_no_test(self):
        self.assertEqual(outcomes('ok, done\nokay\n'), [])
        self.assertEqual(outcomes('not ok - a\n'), [('a', FAILED)])

    def test_plan_at_the_end(self):
        self.assertEqual(tap.parse('ok 1 - a\n1..1\n').problems, [])
        self.assertEqual(len(tap.parse('ok 1 - a\n1..2\n').problems), 1)


class Runs(unittest.TestCase):
    def run_shell(self, text, timeout=10.0, may_skip=False):
        program = Program('p', ['/bin/sh', '-c', text], timeout, may_skip=may_skip)
        return programs.run(program).results

    def test_silent_success_is_one_test(self):
        self.assertEqual(count(self.run_shell('true')), (1, 0, 0))

    def test_silent_failure_is_one_failure(self):
        self.assertEqual(count(self.run_shell('exit 3')), (0, 1, 0))

    def test_exit_77_is_skipped_only_where_it_may_be(self):
        self.assertEqual(count(self.run_shell('exit 77', may_skip=True)), (0, 0, 1))
        self.assertEqual(count(self.run_shell('exit 77')), (0, 1, 0))

    def test_failures_explain_the_exit_status(self):
        self.assertEqual(count(self.run_shell('echo 1..2; echo ok 1 - a; echo not ok 2 - b; exit 1')),
                         (1, 1, 0))

    def test_bad_exit_after_good_lines_fails(self):
        self.assertEqual(count(self.run_shell('echo 1..1; echo ok 1 - a; exit 23')), (1, 1, 0))

    def test_crash_after_good_lines_fails(self):
        self.assertEqual(count(self.run_shell('echo 1..1; echo ok 1 - a; kill -9 $$')), (1, 1, 0))

    def test_crash_is_told_beside_failures(self):
        results = self.run_shell('echo 1..1; echo not ok 1 - a; kill -9 $$')
        self.assertEqual(count(results), (0, 2, 0))

    def test_timeout_fails_and_leaves_nothing(self):
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            mark = os.path.join(folder, 'mark')
            results = self.run_shell(f'(sleep 1; touch {mark}) & echo 1..1; echo ok 1 - a; sleep 60',
                                     timeout=0.3)
            self.assertEqual(count(results), (1, 1, 0))
            self.assertLess(time.monotonic() - start, 30)
            time.sleep(1.2)
            self.assertFalse(os.path.exists(mark), 'the child outlived its test')

    def test_log_does_not_disturb_results(self):
        results = self.run_shell('echo 1..1; printf "ok 1 "; echo "not ok 9 - log" >&2; echo "- a"')
        self.assertEqual([(one.name, one.outcome) for one in results], [('a', PASSED)])

    def test_missing_program_fails(self):
        outcome = programs.run(Program('p', ['/nonexistent']))
        self.assertEqual(count(outcome.results), (0, 1, 0))


class Ids(unittest.TestCase):
    def test_one_and_several(self):
        self.assertEqual(requirements.ids_of('ring_012_reader'), ['RING-012'])
        self.assertEqual(requirements.ids_of('ring_025_026_field_002_x'),
                         ['RING-025', 'RING-026', 'FIELD-002'])

    def test_short_numbers_only_after_a_prefix(self):
        self.assertEqual(requirements.ids_of('inv_7_x'), ['INV-007'])
        self.assertEqual(requirements.ids_of('ring_001_8_byte_packets'), ['RING-001'])

    def test_plain_names_claim_nothing(self):
        for name in ('opens_twice', 'x_ring_001', 'ring_buffer_001', 'ringing_001'):
            self.assertEqual(requirements.ids_of(name), [], name)


class Proofs(unittest.TestCase):
    TABLE = {'RING-001': 'one', 'RING-002': 'two', 'RING-003': 'not testable: no one can see it'}

    def prove(self, *results):
        return requirements.prove(self.TABLE, {'plain': {'results': list(results)}})

    def test_passed_is_proven(self):
        proofs, _ = self.prove(Result('ring_001_a', 'p', PASSED))
        self.assertTrue(proofs['RING-001'].proven)
        self.assertFalse(proofs['RING-002'].proven)

    def test_skipped_proves_nothing(self):
        proofs, _ = self.prove(Result('ring_001_a', 'p', SKIPPED))
        self.assertFalse(proofs['RING-001'].proven)

    def test_one_failure_is_enough(self):
        proofs, _ = self.prove(Result('ring_001_a', 'p', PASSED), Result('ring_001_b', 'q', FAILED))
        self.assertFalse(proofs['RING-001'].proven)

    def test_a_crashed_program_proves_nothing(self):
        proofs, _ = self.prove(Result('ring_001_a', 'p', PASSED), Result('p (end)', 'p', FAILED))
        self.assertFalse(proofs['RING-001'].proven)

    def test_untestable_is_never_proven(self):
        proofs, _ = self.prove(Result('ring_003_a', 'p', PASSED))
        self.assertFalse(proofs['RING-003'].proven)

    def test_unknown_ids_are_told(self):
        _, unknown = self.prove(Result('ring_099_a', 'p', PASSED))
        self.assertEqual(unknown, {'RING-099': {'ring_099_a'}})

    def test_table_is_well_formed(self):
        table = requirements.load()
        for identifier in ('RING-070', 'CTL-120', 'DDI-090', 'INV-080', 'FIELD-029', 'HOST-038',
                           'IC-030', 'STOR-043', 'NET-046'):
            self.assertIn(identifier, table)


if __name__ == '__main__':
    sys.exit(tapresult.main(sys.modules[__name__]))
