#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tests of the checks of the sources: that each of them finds what it is there to find."""

import importlib.machinery
import importlib.util
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import tapresult  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def script(name, root):
    """A script as a module that believes the tree to be at `root`."""
    path = os.path.join(ROOT, 'scripts', name)
    loader = importlib.machinery.SourceFileLoader(name.replace('-', '_'), path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.dont_write_bytecode = True
    loader.exec_module(module)
    module.ROOT = root
    return module


class Tree(unittest.TestCase):
    """A tree of sources in a scratch folder."""

    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.addCleanup(self.scratch.cleanup)
        self.root = os.path.realpath(self.scratch.name)

    def write(self, path, text=''):
        path = os.path.join(self.root, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)


class Layers(Tree):
    def setUp(self):
        super().setUp()
        self.layers = script('check-layers', self.root)
        for path in ('src/base/log.h', 'src/vmbus/ring.h', 'src/nt/nt.h', 'src/kmcl/channel.h',
                     'include/wdk/ntddk.h', 'include/kmcl/kmcl.h', 'drivers/echo/echo_ioctl.h',
                     'drivers/echo/echo.h', 'drivers/other/other.h'):
            self.write(path)

    def broken(self, path, include):
        self.write(path, f'#include {include}\n')
        folder = os.path.dirname(path)
        if folder.startswith('src/'):
            rule = self.layers.layer_rule(folder[4:])
        elif folder.startswith('drivers/'):
            rule = self.layers.driver_rule(folder[8:])
        else:
            rule = self.layers.tool_rule
        found = self.layers.broken(folder, rule)
        os.remove(os.path.join(self.root, path))
        return bool(found)

    def test_earlier_layers_are_allowed(self):
        self.assertFalse(self.broken('src/vmbus/a.c', '"base/log.h"'))
        self.assertFalse(self.broken('src/kmcl/a.c', '"vmbus/ring.h"'))
        self.assertFalse(self.broken('src/nt/a.c', '<ntddk.h>'))

    def test_later_layers_are_not(self):
        self.assertTrue(self.broken('src/vmbus/a.c', '"kmcl/channel.h"'))
        self.assertTrue(self.broken('src/partition/a.c', '"kmcl/channel.h"'))
        self.assertTrue(self.broken('src/vmbus/a.c', '"../kmcl/channel.h"'))

    def test_bus_and_executive_do_not_know_each_other(self):
        self.assertTrue(self.broken('src/nt/a.c', '"vmbus/ring.h"'))
        self.assertTrue(self.broken('src/vmbus/a.c', '"nt/nt.h"'))
        self.assertTrue(self.broken('src/vmbus/a.c', '<ntddk.h>'))

    def test_the_bus_does_no_io(self):
        for header in ('pthread.h', 'stdlib.h', 'unistd.h', 'sys/mman.h', 'time.h'):
            self.assertTrue(self.broken('src/vmbus/a.c', f'<{header}>'), header)

    def test_comments_do_not_hide_nor_invent(self):
        self.assertTrue(self.broken('src/vmbus/a.c', '/* why */ "nt/nt.h"'))
        self.assertFalse(self.broken('src/vmbus/a.c', '<stdint.h> /*\n#include "nt/nt.h"\n*/'))

    def test_drivers_see_the_ddi_and_themselves(self):
        self.assertFalse(self.broken('drivers/echo/a.c', '<ntddk.h>'))
        self.assertFalse(self.broken('drivers/echo/a.c', '"echo.h"'))
        for include in ('"nt/nt.h"', '<kmcl/kmcl.h>', '<stdlib.h>', '"../other/other.h"'):
            self.assertTrue(self.broken('drivers/echo/a.c', include), include)

    def test_tools_see_installed_headers_and_protocols(self):
        for include in ('<kmcl/kmcl.h>', '<stdio.h>', '"drivers/echo/echo_ioctl.h"', '"echo_ioctl.h"'):
            self.assertFalse(self.broken('tools/a.c', include), include)
        for include in ('"nt/nt.h"', '<ntddk.h>', '"drivers/echo/echo.h"', '"echo.h"'):
            self.assertTrue(self.broken('tools/a.c', include), include)


class Exports(Tree):
    def test_declared_functions(self):
        self.write('include/kmcl/other.h', 'int other(void);\n')
        self.write('include/kmcl/a.h', '#include <stdlib.h>\n#include "other.h"\n'
                   'typedef int fn(int);\nint plain(int a);\nvoid *pointer(void);\nfn typed;\n'
                   'int several(int a,\n\t    int (*callback)(void));\nvoid format(const char *, ...);\n'
                   'static inline int here(void)\n{\n\treturn 0;\n}\nextern int variable;\n')
        names = script('check-exports', self.root).declared('include/kmcl')
        self.assertEqual(names, {'other', 'plain', 'pointer', 'typed', 'several', 'format'})


class Symbols(unittest.TestCase):
    def test_what_is_pure(self):
        pure = script('check-symbols', ROOT).PURE
        for name in ('memcpy', 'strlen', '__memcpy_chk', 'snprintf', '__stack_chk_fail'):
            self.assertTrue(pure.match(name), name)
        for name in ('malloc', 'pthread_create', 'mmap', 'strdup', 'clock_gettime', 'read', 'abort'):
            self.assertFalse(pure.match(name), name)


if __name__ == '__main__':
    sys.exit(tapresult.main(sys.modules[__name__]))
