# SPDX-License-Identifier: MIT
"""Runs a module's unittest cases and prints each result as a line of TAP."""

import unittest


class TapResult(unittest.TestResult):
    """Prints each result as it comes."""

    number = 0

    def say(self, verdict, test, text=''):
        self.number += 1
        print(f'{verdict} {self.number} - {test.id().split(".", 1)[1]}')
        for line in text.splitlines():
            print(f'# {line}')

    def addSuccess(self, test):
        super().addSuccess(test)
        self.say('ok', test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.say('not ok', test, self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self.say('not ok', test, self.errors[-1][1])


def main(module):
    suite = unittest.defaultTestLoader.loadTestsFromModule(module)
    print(f'1..{suite.countTestCases()}')
    result = TapResult()
    suite.run(result)
    return 0 if result.wasSuccessful() else 1
