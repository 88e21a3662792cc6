#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A machine that can run guests under KVM with Hyper-V's interfaces, whatever this one can do.

Where KVM here has them, commands run here. Elsewhere they run in an emulated machine: qemu without
acceleration, a processor that has SVM, Debian's kernel with kvm-amd, and this machine's files
read-only. Either way a Machine takes one command at a time and gives its console.

Kernel, modules and initramfs images are made once and kept in build/guest.
"""

import codecs
import fcntl
import gzip
import json
import lzma
import os
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time

from control import ask_once

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUSYBOX = '/bin/busybox'
# What the guest's daemon runs on: this machine's, which is of the same release or a later one.
LIBRARIES = ['/lib64/ld-linux-x86-64.so.2', '/lib/x86_64-linux-gnu/libc.so.6']

OUTER_MODULES = ['virtio_pci', '9p', '9pnet_virtio', 'kvm-amd']
INNER_MODULES = ['hv_vmbus', 'uio_hv_generic', 'hv_utils']

CAP_HYPERV_SYNIC2 = 148
KVM_CHECK_EXTENSION = 0xae03


class Trouble(Exception):
    """The test bed could not be made, or a guest did not do what was waited for."""


# ---- what is prepared once ----

def run(*command, **options):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, **options)
    if done.returncode:
        raise Trouble(f'{" ".join(command)}: exit status {done.returncode}\n{done.stdout}')
    return done.stdout


def newer(path, *sources):
    """Whether `path` was made after all of its sources."""
    return os.path.exists(path) and \
        all(os.path.getmtime(path) >= os.path.getmtime(source) for source in sources)


def archive(tree):
    """A folder as a cpio archive, everything in it root's."""
    names = '\n'.join(sorted(os.path.relpath(os.path.join(folder, name), tree)
                             for folder, folders, files in os.walk(tree)
                             for name in folders + files))
    return subprocess.run(['cpio', '-o', '-H', 'newc', '--quiet', '-R', '0:0'], cwd=tree,
                          input=names.encode(), stdout=subprocess.PIPE, check=True).stdout


class Images:
    """Kernels and initramfs images in a folder of their own."""

    def __init__(self, build):
        self.folder = os.path.join(build, 'guest')
        self.build = build
        os.makedirs(self.folder, exist_ok=True)
        with open(os.path.join(self.folder, 'lock'), 'w', encoding='utf-8') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.tree = self.unpack_kernel()
            self.release = os.listdir(os.path.join(self.tree, 'lib', 'modules'))[0]
            self.bzimage = os.path.join(self.tree, 'boot', f'vmlinuz-{self.release}')
            self.elf = self.make('vmlinux', self.make_elf, self.bzimage)
            self.programs = [self.make(name, self.make_program,
                                       os.path.join(HERE, f'{name}.c'))
                             for name in ('uio_echo', 'kexec', 'leaves', 'ptp')]
            self.daemon = os.path.join(self.unpack('daemons', 'hyperv-daemons'), 'usr', 'sbin',
                                       'hv_kvp_daemon')
            self.outer = self.make('outer.img', self.make_outer,
                                   os.path.join(HERE, 'outer-init'), self.bzimage, __file__)
            self.inner = self.make('inner.img', self.make_inner,
                                   os.path.join(HERE, 'inner-init'), self.bzimage, __file__,
                                   *self.programs, self.daemon)
            self.second = self.make('second.img', self.make_second, self.inner)

    def make(self, name, function, *sources):
        path = os.path.join(self.folder, name)
        if not newer(path, *sources):
            function(path + '.new')
            os.rename(path + '.new', path)
        return path

    def unpack_kernel(self):
        """The kernel of Debian's stable release, as files: this machine's own is not touched."""
        tree = os.path.join(self.folder, 'kernel')
        if os.path.exists(os.path.join(tree, 'complete')):
            return tree
        depends = run('apt-cache', 'depends', 'linux-image-amd64')
        package = re.search(r'Depends: (linux-image-\S+)', depends)
        if not package:
            raise Trouble('no package that linux-image-amd64 depends on; apt-get update?')
        return self.unpack('kernel', package[1], lambda: run(
            '/sbin/depmod', '-b', tree, os.listdir(os.path.join(tree, 'lib', 'modules'))[0]))

    def unpack(self, name, package, afterwards=lambda: None):
        """A package of Debian's, as files."""
        tree = os.path.join(self.folder, name)
        if os.path.exists(os.path.join(tree, 'complete')):
            return tree
        shutil.rmtree(tree, ignore_errors=True)
        download = os.path.join(self.folder, 'download')
        shutil.rmtree(download, ignore_errors=True)
        os.makedirs(download)
        run('apt-get', 'download', package, cwd=download)
        run('dpkg', '-x', *[os.path.join(download, file) for file in os.listdir(download)], tree)
        shutil.rmtree(download)
        afterwards()
        with open(os.path.join(tree, 'complete'), 'w', encoding='utf-8'):
            pass
        return tree

    def make_elf(self, path):
        """The kernel inside a bzImage: boots without decompressing itself."""
        with open(self.bzimage, 'rb') as file:
            image = file.read()
        setup = ((image[0x1f1] or 4) + 1) * 512
        offset, length = struct.unpack_from('<II', image, 0x248)
        payload = image[setup + offset:setup + offset + length]
        with open(path, 'wb') as file:
            file.write(lzma.LZMADecompressor().decompress(payload))

    def make_program(self, path):
        name = os.path.basename(path).removesuffix('.new')
        run(os.environ.get('CC', 'cc'), '-std=gnu17', '-O2', '-Wall', '-Wextra', '-Werror',
            '-static', '-D_GNU_SOURCE', '-o', path, os.path.join(HERE, f'{name}.c'),
            *([os.path.join(ROOT, 'drivers', 'echo', 'sha256.c'),
               '-I', os.path.join(ROOT, 'drivers', 'echo')] if name == 'uio_echo' else []))

    def modules(self, names):
        """Paths of modules and all that they need, in the order to load them."""
        order = []
        for name in names:
            for line in run('/sbin/modprobe', '-d', self.tree, '-S', self.release,
                            '--show-depends', name).splitlines():
                if line.startswith('insmod') and line.split()[1] not in order:
                    order.append(line.split()[1])
        return order

    def make_image(self, path, init, modules, files):
        """An initramfs: busybox, an init, modules with their order, and files in /bin."""
        tree = path + '.tree'
        shutil.rmtree(tree, ignore_errors=True)
        os.makedirs(os.path.join(tree, 'bin'))
        os.makedirs(os.path.join(tree, 'modules'))
        shutil.copy(BUSYBOX, os.path.join(tree, 'bin'))
        for applet in run(BUSYBOX, '--list').split():
            if applet != 'busybox':
                os.symlink('busybox', os.path.join(tree, 'bin', applet))
        shutil.copy(os.path.join(HERE, init), os.path.join(tree, 'init'))
        os.chmod(os.path.join(tree, 'init'), 0o755)
        for source, name in files:
            place = os.path.join(tree, 'bin', name)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            shutil.copy(source, place)
        with open(os.path.join(tree, 'modules', 'order'), 'w', encoding='utf-8') as order:
            for module in self.modules(modules):
                shutil.copy(module, os.path.join(tree, 'modules'))
                order.write(os.path.basename(module) + '\n')
        with open(path, 'wb') as file:
            file.write(gzip.compress(archive(tree), 1))
        shutil.rmtree(tree)

    def make_outer(self, path):
        self.make_image(path, 'outer-init', OUTER_MODULES, [])

    def make_inner(self, path):
        self.make_image(path, 'inner-init', INNER_MODULES,
                        [(program, os.path.basename(program))
                         for program in [*self.programs, self.daemon]] +
                        [(library, '..' + library) for library in LIBRARIES])

    def make_second(self, path):
        """The same, and in it what a kexec boots; a kernel unpacks one archive after another."""
        tree = path + '.tree'
        shutil.rmtree(tree, ignore_errors=True)
        os.makedirs(os.path.join(tree, 'boot'))
        shutil.copy(self.bzimage, os.path.join(tree, 'boot', 'bzimage'))
        shutil.copy(self.inner, os.path.join(tree, 'boot', 'initrd'))
        with open(path, 'wb') as file, open(self.inner, 'rb') as first:
            file.write(first.read())
            file.write(bytes(-file.tell() % 4))
            file.write(archive(tree))
        shutil.rmtree(tree)


# ---- the machine that commands run in ----

def kvm_has_hyperv():
    """Whether this machine itself can run the guests."""
    try:
        kvm = os.open('/dev/kvm', os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return fcntl.ioctl(kvm, KVM_CHECK_EXTENSION, CAP_HYPERV_SYNIC2) > 0
    except OSError:
        return False
    finally:
        os.close(kvm)


EMULATED = not kvm_has_hyperv()


class Machine:
    """Runs one shell command at a time on a console that is read and written."""

    def __init__(self, images, log, emulated=None):
        self.log = log
        self.text = ''  # what was printed and not yet looked at
        self.emulated = EMULATED if emulated is None else emulated
        self.process = None
        self.decoder = None
        self.asker = None  # what leads to the relay in an emulated machine
        self.images = images
        if self.emulated:
            try:
                self.boot()
            except BaseException:
                self.close()
                raise

    def boot(self):
        self.asker, inside = socket.socketpair()
        self.start(['qemu-system-x86_64', '-accel', 'tcg', '-cpu', 'max,-xsave', '-smp', '1',
                    '-m', '2048', '-display', 'none', '-serial', 'stdio', '-monitor', 'none',
                    '-no-reboot', '-nodefaults', '-kernel', self.images.elf,
                    '-initrd', self.images.outer,
                    '-append', 'console=ttyS0 quiet panic=-1 mitigations=off',
                    '-virtfs', 'local,path=/,mount_tag=host,security_model=none,readonly=on,'
                    'multidevs=remap',
                    '-chardev', f'socket,id=asker,fd={inside.fileno()}', '-serial',
                    'chardev:asker'], inside.fileno())
        inside.close()
        self.expect(r'@outer ready\s', 600)
        self.send(f'{os.path.join(HERE, "control.py")} /dev/ttyS1 &\n')
        self.status(60)

    def start(self, command, *descriptors):
        # A group of its own, so that close() ends all of it; and none outlives this program.
        self.process = subprocess.Popen(['setpriv', '--pdeathsig', 'KILL', *command],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.STDOUT, start_new_session=True,
                                        pass_fds=descriptors)
        os.set_blocking(self.process.stdout.fileno(), False)
        # A character may come in two pieces.
        self.decoder = codecs.getincrementaldecoder('utf-8')(errors='replace')

    def ask(self, path, request, seconds):
        """Asks at a control socket of the machine."""
        if not self.emulated:
            return ask_once(path, request)
        self.asker.settimeout(seconds)
        self.asker.sendall((json.dumps({'socket': path, **request}) + '\n').encode())
        line = b''
        while not line.endswith(b'\n'):
            try:
                more = self.asker.recv(65536)
            except TimeoutError:
                more = b''
            if not more:
                raise Trouble(f'no answer to {request}')
            line += more
        return json.loads(line)

    def command(self, line):
        if self.emulated:
            self.send(line + '\n')
        else:
            self.start(['/bin/sh', '-c', f'{line}; echo "@status $?"'])

    def status(self, seconds):
        """Exit status of the command."""
        match = self.expect(r'@status (\d+)\s', seconds)
        if not self.emulated:
            self.process.wait(10)
        return int(match[1])

    def send(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def expect(self, pattern, seconds):
        """Waits for a pattern on the console; what follows it is looked at next."""
        end = time.monotonic() + seconds
        while True:
            match = re.search(pattern, self.text)
            if match:
                self.text = self.text[match.end():]
                return match
            if re.search(r'@status \d+\s', self.text) or not self.more(end - time.monotonic()):
                raise Trouble(f'waited for "{pattern}", the last that came was:\n'
                              f'{self.text[-2000:]}')

    def more(self, seconds):
        """False: nothing came in time, or nothing will any more."""
        stream = self.process.stdout
        if seconds <= 0 or not select.select([stream], [], [], seconds)[0]:
            return False
        data = stream.read(65536)
        if not data:
            return False
        text = self.decoder.decode(data).replace('\r', '')
        self.log.write(text)
        self.log.flush()
        self.text += text
        return True

    def time(self):
        """The machine's clock."""
        return self.ask('', {'command': 'time'}, 300)['time']

    def close(self):
        if self.asker:
            self.asker.close()
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def main():
    """Tries the machine: `testbed.py BUILD COMMAND...` runs a command in it."""
    machine = Machine(Images(os.path.abspath(sys.argv[1])), sys.stdout)
    try:
        machine.command(' '.join(sys.argv[2:]))
        return machine.status(300)
    finally:
        machine.close()


if __name__ == '__main__':
    sys.exit(main())
