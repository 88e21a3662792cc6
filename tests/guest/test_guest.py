#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Unmodified Linux guests on `kmcl vm` (TAP): `test_guest.py BUILD [SCENARIO...]`.

Each scenario boots a guest, drives it by a shell on its serial console, and reports under the names
that it announced; what it did not get to has failed. Without names the scenarios of a check run,
with KMCL_SOAK=1 all. Emulated machines are two, side by side, since each has one processor. What was
on a scenario's console is kept in BUILD/guest/SCENARIO.log.
"""

import json
import os
import re
import sys
import threading
import time

from testbed import EMULATED, Images, Machine, Trouble

ECHO_CLASS = '8d7f2a6e-4c0b-4f2e-9a53-6b1c0e5d9f01'
ECHO_DEVICE = '00000000-0000-0000-0000-0000000000e0'
# The integration components: class and instance.
COMPONENTS = {
    'heartbeat': ('57164f39-9115-4e78-ab55-382f3bd5422d', 'fd149e91-82e0-4a7d-afa6-2a4166cbd7c0'),
    'kvp': ('a9a0f4e7-5a45-4d96-b827-8a841e8c03e6', '242ff919-07db-4180-9c2e-b86cb68c8c55'),
    'shutdown': ('0e0b6031-5213-4934-818b-38d90ced39db', 'b6650ff7-33bc-4840-8048-e0676786f393'),
    'timesync': ('9527e630-d0ae-497b-adce-e80ab0175caf', '2dd1ce17-079e-403c-b352-a1921ee207ee'),
}
OPEN = 2  # a channel's state in statistics
DEVICES = '/sys/bus/vmbus/devices'
# No watchdogs: an emulated machine on a busy one stands still for longer than they would wait.
# And little that takes an emulated processor long and has nothing to do with what is tested.
QUIET = ('console=ttyS0 quiet panic=-1 pci=off nowatchdog rcupdate.rcu_cpu_stall_suppress=1 '
         'mitigations=off cryptomgr.notests lpj=4000000')
# An emulated machine on a busy one is slow, and a guest that hangs costs this once.
BOOT = 600
STEP = 400

SCENARIOS = {}


def scenario(*names, soak=False, lane=0):
    def register(function):
        function.names, function.soak, function.lane = names, soak, lane
        SCENARIOS[function.__name__] = function
        return function
    return register


class Report:
    """TAP; names that were announced and never reported fail."""

    def __init__(self):
        self.number = self.failed = 0
        self.lock = threading.Lock()

    def result(self, name, good, detail=''):
        with self.lock:
            self.number += 1
            self.failed += not good
            for line in str(detail).splitlines()[-30:] if not good else []:
                print(f'# {line}')
            print(f'{"ok" if good else "not ok"} {self.number} - {name}', flush=True)

    def run(self, function, machine, images):
        """Whether all went well."""
        left, bad = list(function.names), []

        def check(name, good, detail=''):
            left.remove(name)
            bad.extend([] if good else [name])
            self.result(name, good, detail)
        trouble = 'the scenario ended before'
        try:
            function(Guest(machine, images), check)
        except (Trouble, OSError, LookupError, ValueError, TypeError) as error:
            trouble = repr(error) if isinstance(error, LookupError) else error
        for name in left:
            self.result(name, False, trouble)
            trouble = 'the same'
        return not left and not bad


class Guest:
    """A `kmcl vm` and the shell in its guest."""

    def __init__(self, machine, images):
        self.machine, self.images = machine, images
        self.tool = os.path.join(images.build, 'tools', 'kmcl')
        self.text = ''

    def driver(self, options='', name='echo_vsp'):
        return os.path.join(self.images.build, 'drivers', f'{name}.so') + options

    def scratch(self, name):
        """A place that `kmcl vm` and what runs beside it can write to."""
        return os.path.join('/mnt' if self.machine.emulated else self.images.folder, name)

    def start(self, *options, kernel=None, initrd=None, append=QUIET, before=''):
        words = [before, self.tool, 'vm', '--kernel', kernel or self.images.elf, '--initrd',
                 initrd or self.images.inner, '--append', f'"{append}"', '--stats',
                 '--timeout', '3000', *options]
        self.machine.command(' '.join(words))
        self.ready()

    def ready(self):
        self.machine.expect(r'@guest ready\n', BOOT)

    def say(self, line):
        self.machine.send(line + '\n')

    def shell(self, line, seconds=STEP):
        """What a command printed, and its exit status."""
        self.say(line)
        match = self.machine.expect(r'(?s)(.*?)@guest (\d+)\n', seconds)
        return match[1], int(match[2])

    def output(self, line, seconds=STEP):
        return self.shell(line, seconds)[0]

    def control(self):
        """Where the control socket is, in the machine."""
        return '/mnt/asked' if self.machine.emulated else os.path.join(self.images.folder, 'asked')

    def ask(self, command, **members):
        """Asks the host."""
        answer = self.machine.ask(self.control(), {'command': command, **members}, STEP)
        if 'error' in answer:
            raise Trouble(f'{command} {members}: {answer["error"]}')
        return answer

    def open_channels(self):
        channels = self.ask('stats')['guests'][0]['channels']
        return [one['name'] for one in channels
                if one['state'] == OPEN and one['name'].startswith('echo')]

    def holds_when_closed(self, expected=None):
        """What the host holds with the echo channel closed; waits for what is expected."""
        end = time.monotonic() + STEP
        held = None
        while time.monotonic() < end:
            held = None if self.open_channels() else self.ask('holds')
            if held and expected in (None, held):
                break
            time.sleep(0.2)
        return held

    def log(self):
        """The kernel's lines about the machine and the bus, and those that it should not have."""
        return self.output(f"dmesg | grep -E '{OF_INTEREST}'")

    def load_bus(self):
        self.output('insmod /modules/hv_vmbus.ko')

    def bind_uio(self):
        """Gives uio_hv_generic the echo device; True when it has it."""
        self.output('insmod /modules/uio.ko; insmod /modules/uio_hv_generic.ko')
        self.output(f'echo {ECHO_CLASS} >/sys/bus/vmbus/drivers/uio_hv_generic/new_id')
        return 'uio0' in self.output('ls /dev')

    def echo(self, count=40):
        """Runs the client of the echo server; what it printed."""
        return self.output(f'uio_echo /dev/uio0 $(cat {DEVICES}/{ECHO_DEVICE}/monitor_id) {count}')

    def settled_echo(self):
        """The same, as soon as that works: what is there may still be a device that goes."""
        end = time.monotonic() + STEP
        said = ''
        while 'digests equal' not in said and time.monotonic() < end:
            said = self.output(COME) + self.echo()
        return said

    def end(self, seconds=STEP):
        """Exit status of kmcl vm; what it printed last is in self.text."""
        match = self.machine.expect(r'(?s)(.*?)@status (\d+)\n', seconds)
        if not self.machine.emulated:
            self.machine.process.wait(10)
        self.text = match[1]
        return int(match[2])

    def count(self, what):
        """A number of --stats."""
        match = re.search(rf'\b{re.escape(what)}=(\d+)', self.text)
        return int(match[1]) if match else -1

    def messages(self, direction):
        match = re.search(rf'messages {direction} the guest by type:(.*)', self.text)
        return {int(kind): int(count)
                for kind, count in re.findall(r'(\d+)=(\d+)', match[1] if match else '')}


# A console is slow: a guest shows no more of its log than is looked at.
OF_INTEREST = 'MSR|WARNING|BUG:|Call Trace|sysfs|[Vv][Mm][Bb]us|Hyper|privilege|supports S|ttyS0'
# Linux 6.1 probes a driver before the channel's folder in sysfs exists; uio_hv_generic trips over
# that whenever its device comes after it, and goes on. Newer kernels do not.
LATE_FOLDER = r'sysfs_create_bin_file|Call Trace'
# A device that goes while its driver binds to it.
GONE_MEANWHILE = r'probe failed for device .* \(-19\)'


# Waits for the user-space driver to have its device, as long as a slow guest may need.
COME = ('n=0; until [ -e /dev/uio0 ] || [ $n = 1000 ]; do usleep 200000; n=$((n+1)); done; '
        '[ -e /dev/uio0 ]')


def clean(log, known=r'(?!)'):
    """What a kernel's log must not have."""
    if 'Vmbus version' not in log:
        return False, f'this is no log: {log}'
    bad = [line for line in log.splitlines()
           if not re.search(known, line) and re.search(r'unchecked MSR|WARNING|BUG:|Call Trace|hv_vmbus: .*(fail|error)', line)]
    return not bad, '\n'.join(bad)


@scenario('host_002_tests_that_want_hyper_v_pass_where_kvm_has_it')
def hardware(guest, check):
    """Test programs that skip what this machine cannot do, in one that can."""
    program = os.path.join(guest.images.build, 'tests', 'vmm', 'test_vmm_cpu')
    guest.machine.command(f'CMOCKA_MESSAGE_OUTPUT=TAP {program}')
    status = guest.end()
    check('host_002_tests_that_want_hyper_v_pass_where_kvm_has_it',
          status == 0 and 'host_005_no_bit_that_the_kernel_lacks' in guest.text and
          'SKIP' not in guest.text, guest.text)


@scenario('host_003_no_other_hypervisor_shows',
          'host_004_the_guest_finds_hyper_v_and_its_flags',
          'host_005_forbidden_bits_are_not_offered',
          'host_006_enforced_leaves_do_for_bus_and_channel',
          'host_010_tables_lead_to_bus_console_and_power_off',
          'host_011_a_burst_of_output_is_complete',
          'host_012_the_clock_is_right',
          'negotiates_the_highest_version_that_the_guest_knows',
          'offered_devices_appear_with_their_ids',
          'host_031_the_user_space_driver_binds_and_echoes',
          'host_030_triggers_in_the_monitor_page_are_seen',
          'host_037_a_channel_moves_to_the_second_processor',
          'host_021_flags_interrupt_the_processor_that_was_chosen',
          'host_027_host_028_kexec_unloads_and_connects_again',
          'host_026_a_channel_opens_again_after_kexec',
          'hv_utils_takes_every_component',
          'ic_023_pairs_of_the_host_are_in_the_guest',
          'a_shutdown_that_is_asked_for_is_a_clean_one',
          'ic_002_the_guest_agrees_to_the_highest_versions',
          'ic_022_a_late_daemon_still_works',
          'ic_011_heartbeats_are_counted',
          'ic_023_pairs_are_written_read_and_deleted',
          'ic_025_pools_are_listed_to_their_ends',
          'ic_026_an_adapter_that_is_not_there_is_told',
          'ic_021_the_guests_clock_follows',
          'ic_021_the_guests_clock_is_the_hosts',
          'ic_016_the_guest_agrees_to_power_off',
          'host_013_power_off_ends_with_status_0',
          'host_007_no_mmio_exit',
          'host_025_signals_come_by_eventfd',
          'host_036_ends_of_message_come_back',
          'host_038_exits_and_messages_are_printed')
def two_processors(guest, check):
    """An ELF kernel on two processors, then a bzImage by kexec on the same bus."""
    socket, asked = guest.scratch('control'), guest.scratch('components')
    asker = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'components.py')
    guest.start('--cpus', '2', '--driver', guest.driver(',offer.monitor=50000'),
                '--driver', guest.driver(',period=500,sample=1000', 'ic_vsp'),
                '--control', socket, initrd=guest.images.second,
                before=f'{asker} {socket} {asked} &')
    leaves = dict(re.findall(r'leaf (\w+) (.*)', guest.output('leaves')))
    check('host_003_no_other_hypervisor_shows',
          sorted(leaves) == [f'4000000{n}' for n in range(6)], leaves)
    features = [int(word, 16) for word in leaves['40000003'].split()]
    check('host_005_forbidden_bits_are_not_offered',
          not features[1] & (1 << 1 | 1 << 12 | 1 << 20 | 1 << 22), leaves)

    ready = guest.machine.time()
    now, up = guest.output("date +%s; cut -d' ' -f1 /proc/uptime").split()
    booted = int(now) - float(up)
    guest.load_bus()
    log = guest.log()
    check('host_004_the_guest_finds_hyper_v_and_its_flags',
          'Hypervisor detected: Microsoft Hyper-V' in log and
          'privilege flags low 0xa7e, high 0x30, hints 0x220, misc 0x80500' in log, log[:3000])
    check('host_010_tables_lead_to_bus_console_and_power_off',
          'supports S0 S5' in log and 'ttyS0 at I/O 0x3f8' in log and
          'VMBUS' in guest.output('cat /sys/bus/acpi/devices/*/hid'), log[-3000:])
    check('negotiates_the_highest_version_that_the_guest_knows', 'Vmbus version:5.3' in log,
          log[-3000:])
    ids = guest.output(f'cd {DEVICES}; for d in *; do echo $(cat $d/class_id $d/device_id); done')
    check('offered_devices_appear_with_their_ids',
          sorted(line.split() for line in ids.splitlines()) ==
          sorted([f'{{{one}}}' for one in pair]
                 for pair in [(ECHO_CLASS, ECHO_DEVICE), *COMPONENTS.values()]), ids)

    burst = guest.output('i=0; while [ $i -lt 128 ]; do echo "$i '
                         'abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz012345678"; '
                         'i=$((i+1)); done')
    check('host_011_a_burst_of_output_is_complete',
          [int(line.split()[0]) for line in burst.splitlines()] == list(range(128)) and
          all(line.endswith('z012345678') for line in burst.splitlines()), burst[-500:])

    bound = guest.bind_uio()
    said = guest.echo()
    check('host_031_the_user_space_driver_binds_and_echoes', bound and 'digests equal' in said,
          said)
    check('host_030_triggers_in_the_monitor_page_are_seen', '40 echoes' in said, said)
    check_moved_channel(guest, check)
    log = guest.log()
    check('host_006_enforced_leaves_do_for_bus_and_channel', *clean(log))

    # The channel is open when the kernel goes.
    guest.say(f'exec 3<>/dev/uio0; kexec /boot/bzimage /boot/initrd "{QUIET} nokaslr"')
    guest.ready()
    guest.load_bus()
    log = guest.log()
    good, bad = clean(log)
    check('host_027_host_028_kexec_unloads_and_connects_again',
          good and 'Vmbus version:5.3' in log, bad or log[-2000:])
    bound = guest.bind_uio()
    said = guest.echo()
    check('host_026_a_channel_opens_again_after_kexec', bound and 'digests equal' in said, said)
    moved, back = use_components(guest, check)
    status = guest.end()
    check('a_shutdown_that_is_asked_for_is_a_clean_one', status == 0 and '@clean' in guest.text,
          guest.text)
    check('host_013_power_off_ends_with_status_0', status == 0, guest.text)
    # It read its clock after it was started, which on a slow machine is not at once.
    began = int(re.search(r'the last at (\d+)', guest.text)[1])
    check('host_012_the_clock_is_right', began - 2 <= booted <= ready + 2,
          f'{booted} in the guest, {began} to {ready} outside')
    check_statistics(guest, check)
    guest.machine.command(f'cat {asked}')
    guest.end()
    check_answers(guest.text, moved, back, check)


# A pool is a file of records, keys of 512 bytes and values of 2048.
POOL = '/var/lib/hyperv/.kvp_pool_'
DAYS = 864000


def step(guest, number):
    """Tells components.py to take a step."""
    guest.output(f'{{ printf step; head -c 508 /dev/zero; printf {number}; '
                 f'head -c 2047 /dev/zero; }} >/tmp/pool; mv /tmp/pool {POOL}1')


def clock(guest, until):
    """The guest's clock when that holds of its seconds, and how far it is ahead of the host's."""
    said = guest.output(f'until [ $(date +%s) {until} ]; do sleep 1; done; ptp')
    match = re.search(r'clock (\S+) host \d\S+ ahead (\S+)', said)
    if not match:
        raise Trouble(f'no clock of the host in the guest: {said}')
    return float(match[1]), float(match[2])


def use_components(guest, check):
    """What the guest does while components.py is at work outside. Its clock, moved and back."""
    now = int(guest.output('date +%s'))
    guest.output('for m in pps_core ptp hv_utils; do [ ! -e /modules/$m.ko ] || insmod /modules/$m.ko;'
                 ' done; mkdir -p /var/lib/hyperv /sbin; '
                 "printf '#!/bin/sh\\necho @clean >/dev/console\\npoweroff -f\\n' >/sbin/poweroff; "
                 'chmod +x /sbin/poweroff')
    bound = guest.output(f'cd {DEVICES}; for d in *; do echo $d $(readlink $d/driver); done; cd /')
    check('hv_utils_takes_every_component',
          all(re.search(rf'{device} \S*/hv_utils?\b', bound) for _, device in COMPONENTS.values()),
          bound)
    moved = clock(guest, f'-gt {now + DAYS // 2}')
    guest.output('hv_kvp_daemon')
    step(guest, 1)
    back = clock(guest, f'-lt {now + DAYS // 2}')
    pool = guest.output(f"tr -s '\\0' '\\n' <{POOL}0; echo").split()
    good, bad = clean(guest.output('dmesg'))
    check('ic_023_pairs_of_the_host_are_in_the_guest',
          good and pool == ['role', 'Prüfling', 'number', '4000000000', 'long', '1099511627776'],
          bad or pool)
    step(guest, 2)
    return moved, back


def check_answers(text, moved, back, check):
    """What components.py was answered."""
    log = [json.loads(line) for line in text.splitlines() if line.startswith('{')]
    answers = [entry['answer'] for entry in log]
    states = {name: (one['state'], one.get('framework'), one.get('version'), one['rejected'])
              for name, one in answers[-2]['components'].items()}
    check('ic_002_the_guest_agrees_to_the_highest_versions',
          states == {'heartbeat': ('ready', '3.0', '3.0', 0), 'shutdown': ('ready', '3.0', '3.2', 0),
                     'timesync': ('ready', '3.0', '4.0', 0), 'kvp': ('ready', '3.0', '4.0', 0)},
          text)
    # Linux 6.1 finds the key of a GET, and leaves its value empty.
    check('ic_022_a_late_daemon_still_works', 'error' in answers[1] and
          'error' not in answers[4] and answers[4]['value'] in ('Prüfling', ''), text)
    check('ic_011_heartbeats_are_counted', answers[-3]['alive'] and answers[-3]['wrong'] == 0 and
          answers[-3]['beats'] > answers[0]['components']['heartbeat']['answered'] - 1 >= 3, text)
    pairs = {(entry['do'], entry.get('key') or entry.get('pool')): entry['answer']
             for entry in log[3:] if entry['command'] == 'kvp'}
    items = {pool: {item['key']: item['value'] for item in pairs['list', pool]['items']}
             for pool in ('external', 'auto', 'guest', 'auto-external')}
    check('ic_023_pairs_are_written_read_and_deleted',
          pairs['delete', 'gone'] == {} and pairs['get', 'gone']['status'] == '0x80070103' and
          items['external'] == {'role': 'Prüfling', 'number': '4000000000', 'long': '1099511627776'},
          text)
    check('ic_025_pools_are_listed_to_their_ends',
          items['guest'] == {'step': '1'} and items['auto-external'] == {} and
          len(items['auto']) == 10 and items['auto']['ProcessorArchitecture'] == 'x86_64' and
          not any(pairs['list', pool]['cut'] or pairs['list', pool]['senseless'] for pool in items),
          text)
    # The second where the guest has no network device at all.
    check('ic_026_an_adapter_that_is_not_there_is_told',
          answers[-5].get('status') in ('0x80041002', '0x80004005'), text)
    # Between the time that it was told to and the time that we heard of it.
    check('ic_021_the_guests_clock_follows',
          log[2]['asked'] - .1 <= moved[0] - DAYS <= log[3]['asked'] + .1 and abs(moved[1]) < .1,
          f'{moved}: {text}')
    check('ic_021_the_guests_clock_is_the_hosts',
          log[-4]['asked'] - .1 <= back[0] <= log[-3]['asked'] + .1 and abs(back[1]) < .1,
          f'{back}: {text}')
    check('ic_016_the_guest_agrees_to_power_off', answers[-1] == {'accepted': True}, text)


def check_moved_channel(guest, check):
    channel = guest.output(f'ls {DEVICES}/{ECHO_DEVICE}/channels').strip()
    place = f'{DEVICES}/{ECHO_DEVICE}/channels/{channel}'
    hyp = "awk '/HYP:/ { print $2, $3 }' /proc/interrupts"
    guest.output(f'exec 3<>/dev/uio0; echo 1 >{place}/cpu')
    before = guest.output(hyp).split()
    said = guest.echo(20)
    after = guest.output(hyp).split()
    cpu = guest.output(f'cat {place}/cpu').strip()
    guest.output('exec 3>&-')
    check('host_037_a_channel_moves_to_the_second_processor',
          cpu == '1' and 'digests equal' in said, f'cpu {cpu}: {said}')
    rises = [int(new) - int(old) for old, new in zip(before, after)]
    check('host_021_flags_interrupt_the_processor_that_was_chosen',
          len(rises) == 2 and rises[1] >= 15 and rises[0] <= 5, f'{before} then {after}')


def check_statistics(guest, check):
    sent, heard = guest.messages('to'), guest.messages('from')
    check('host_007_no_mmio_exit', guest.count('mmio') == 0, guest.text)
    # The components signal by hypercall.
    check('host_025_signals_come_by_eventfd', guest.count('doorbells') > 0, guest.text)
    check('host_036_ends_of_message_come_back', guest.count('resamples') > 0, guest.text)
    # Two contacts, an unload that is answered once, five offers twice.
    check('host_038_exits_and_messages_are_printed',
          heard.get(14) == 2 and heard.get(16) == 1 and sent.get(17) == 1 and
          sent.get(1) == 10 and guest.count('io') > 0 and 'contact after:' in guest.text,
          guest.text)


@scenario('host_032_a_guest_of_5_gib_connects',
          'survives_binds_and_unbinds',
          'field_023_survives_rescinds_and_offers',
          'nothing_is_left_on_the_host_after_them',
          'host_014_reboot_works_without_options',
          'host_029_a_reset_closes_the_channel_and_it_opens_again',
          'nothing_is_left_on_the_host_after_a_reboot',
          'host_025_signals_come_as_exits_where_nothing_else_is_wanted',
          'host_013_a_panic_is_told_with_its_values', lane=1)
def big_memory(guest, check):
    """5 GiB; devices that come and go, a reboot with the channel open, and a panic."""
    spec = guest.driver(',offer.monitor=50000')
    guest.start('--restart', '--memory', '5120', '--quirk', 'signals-by-exit', '--driver', spec,
                '--driver', guest.driver(name='ic_vsp'), '--control', guest.control())
    guest.load_bus()
    memory = int(re.search(r'MemTotal: +(\d+)', guest.output('cat /proc/meminfo'))[1])
    bound = guest.bind_uio()
    said = guest.echo()
    check('host_032_a_guest_of_5_gib_connects',
          memory > 4 << 20 and bound and 'digests equal' in said, f'{memory} kB: {said}')
    before = guest.holds_when_closed()
    come_and_go(guest, check, 3, spec)
    after = guest.holds_when_closed(before)
    check('nothing_is_left_on_the_host_after_them', after == before, f'{before} then {after}')
    guest.say('exec 3<>/dev/uio0; reboot -f')
    guest.ready()
    check('host_014_reboot_works_without_options', True)
    guest.load_bus()
    bound = guest.bind_uio()
    said = guest.echo()
    check('host_029_a_reset_closes_the_channel_and_it_opens_again',
          bound and 'digests equal' in said, said)
    after = guest.holds_when_closed(before)
    check('nothing_is_left_on_the_host_after_a_reboot', after == before, f'{before} then {after}')
    # Unlike the echo client those signal by hypercall: channels without a monitor.
    guest.output('for m in pps_core ptp hv_utils; do [ ! -e /modules/$m.ko ] || '
                 'insmod /modules/$m.ko; done')
    guest.say('exec 3<>/dev/uio0; echo c >/proc/sysrq-trigger')
    status = guest.end()
    check('host_025_signals_come_as_exits_where_nothing_else_is_wanted',
          guest.count('signals-by-exit') > 0 and guest.count('doorbells') == 0, guest.text)
    crash = re.search(r'panicked: error (\w+), guest OS 0x8100(\w+), RIP (\w+), RAX (\w+), '
                      r'RSP (\w+)', guest.text)
    check('host_013_a_panic_is_told_with_its_values',
          status == 3 and crash is not None and guest.messages('from').get(16) == 1 and
          guest.messages('to').get(17) == 1, f'status {status}: {guest.text}')


def come_and_go(guest, check, times, spec):
    """Drivers that let go of a device and take it again, then a device that goes and comes."""
    driver = '/sys/bus/vmbus/drivers/uio_hv_generic'
    guest.output(f'n=0; while [ $n -lt {times} ]; do echo {ECHO_DEVICE} >{driver}/unbind; '
                 f'echo {ECHO_DEVICE} >{driver}/bind; n=$((n+1)); done', 20 * times + STEP)
    said = guest.echo()
    good, bad = clean(guest.log())
    check('survives_binds_and_unbinds', good and 'digests equal' in said, bad or said)
    for n in range(times):
        # By turns with the channel open, at once after it was offered, and with the device bound.
        if n % 3 != 1:
            guest.output(COME)
        if n % 3 == 0:
            guest.output('sleep 9999 </dev/uio0 & held=$!; usleep 300000')
        guest.ask('revoke', number=next(one['number'] for one in guest.ask('drivers')['drivers']
                                        if one['driver'] == spec))
        if n % 3 == 0:
            guest.output('kill $held; wait')
        guest.ask('offer', driver=spec)
    said = guest.settled_echo()
    good, bad = clean(guest.log(), f'{LATE_FOLDER}|{GONE_MEANWHILE}')
    check('field_023_survives_rescinds_and_offers', good and 'digests equal' in said, bad or said)


@scenario('host_017_a_burst_of_offers_arrives_complete_without_deprecated_auto_eoi',
          'host_008_a_bzimage_boots',
          'host_023_a_guest_that_is_put_off_connects',
          'host_024_a_guest_settles_on_a_lower_version',
          'host_013_a_triple_fault_ends_with_its_own_status', lane=1)
def burst(guest, check):
    """A bzImage: many offers at once, AutoEOI, an old version, and a triple fault."""
    offers = 1000 if os.environ.get('KMCL_SOAK') else 100
    guest.start('--quirk', 'auto-eoi', '--quirk', 'busy', '--max-version', '3.0', '--driver',
                guest.driver(f',channels={offers}'), append=QUIET + ' reboot=t',
                kernel=guest.images.bzimage)
    check('host_008_a_bzimage_boots', True)
    guest.load_bus()
    log = guest.log()
    check('host_024_a_guest_settles_on_a_lower_version', 'Vmbus version:3.0' in log, log)
    ids = guest.output(f'n=0; while [ $(ls {DEVICES} | wc -l) -lt {offers} ] && [ $n -lt 300 ]; '
                       f'do sleep 1; n=$((n+1)); done; '
                       f'cd {DEVICES}; for d in *; do read id <$d/id; echo $d $id; done')
    numbers = {device: int(channel) for device, channel in re.findall(r'(\S+) (\d+)', ids)}
    check('host_017_a_burst_of_offers_arrives_complete_without_deprecated_auto_eoi',
          len(numbers) == offers and
          [numbers[device] for device in sorted(numbers)] == sorted(numbers.values()), ids[-2000:])
    guest.say('reboot -f')
    status = guest.end()
    posts = sum(guest.messages('from').values())
    check('host_023_a_guest_that_is_put_off_connects',
          guest.count('refused') >= 5 * posts >= 10, guest.text)
    check('host_013_a_triple_fault_ends_with_its_own_status', status == 5,
          f'status {status}: {guest.text}')


@scenario('survives_binds_and_unbinds',
          'field_023_survives_rescinds_and_offers',
          'nothing_is_left_on_the_host_after_them', soak=True)
def again_and_again(guest, check):
    """What makes a leak or a race show."""
    times = int(os.environ.get('KMCL_GUEST_TIMES', '100'))
    spec = guest.driver(',offer.monitor=50000')
    # A hundred late folders fill more than a kernel's log holds by itself.
    guest.start('--driver', spec, '--control', guest.control(), append=QUIET + ' log_buf_len=8M')
    guest.load_bus()
    guest.bind_uio()
    guest.echo()
    before = guest.holds_when_closed()
    come_and_go(guest, check, times, spec)
    after = guest.holds_when_closed(before)
    check('nothing_is_left_on_the_host_after_them', after == before, f'{before} then {after}')
    guest.say('poweroff -f')
    guest.end()


def chosen(names):
    if names:
        return [SCENARIOS[name] for name in names]
    return [one for one in SCENARIOS.values() if os.environ.get('KMCL_SOAK') or not one.soak]


def run_lane(scenarios, images, report):
    """Runs scenarios one after another, in one machine as long as all goes well."""
    machine = None
    for one in scenarios:
        start = time.monotonic()
        path = os.path.join(images.folder, f'{one.__name__}.log')
        with open(path, 'w', encoding='utf-8') as log:
            try:
                machine = machine or Machine(images, log)
            except Trouble as error:
                for name in one.names:
                    report.result(name, False, f'there is no machine to run it in: {error}')
                continue
            machine.log = log
            good = report.run(one, machine, images)
            print(f'# {one.__name__}: {time.monotonic() - start:.0f} s', flush=True)
            if not good or not machine.emulated:
                machine.close()  # a guest may still be there
                machine = None
    if machine:
        machine.close()


def main():
    images = Images(os.path.abspath(sys.argv[1]))
    scenarios = chosen(sys.argv[2:])
    print(f'1..{sum(len(one.names) for one in scenarios)}', flush=True)
    report = Report()
    lanes = [threading.Thread(target=run_lane, args=(
        [one for one in scenarios if one.lane == lane], images, report)) for lane in (0, 1)]
    for lane in lanes:
        lane.start()
        if not EMULATED:
            lane.join()
    for lane in lanes:
        lane.join()
    return 1 if report.failed else 0


if __name__ == '__main__':
    sys.exit(main())
