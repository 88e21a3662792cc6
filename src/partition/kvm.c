/* SPDX-License-Identifier: MIT */
/*
 * One thread a transport waits for what KVM tells by eventfd: resamples, after which the host looks
 * what waits for a message slot, and doorbells; and looks at the VM's clock now and then.
 * Everything else happens where it arises: exits on the processor's thread, interrupts on whichever
 * thread of the host caused them.
 *
 * The two eventfds of an interrupt line are made once and live as long as the transport, so that
 * an interrupt needs no lock against a VM that comes or goes: without one it is a count that nobody
 * looks at.
 */
#include "partition/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "partition/dispatch.h"
#include "partition/kvm_clock.h"
#include "vmbus/shared_copy.h"

#define MSR_VP_INDEX  0x40000002u
#define SYNIC_ENABLED 1u /* of SCONTROL, SIMP and SIEFP */
#define HV_PAGE_MASK  (~0xfffull)
#define DEFAULT_SINTS (1u << 2)
#define CONTACT       14u /* INITIATE_CONTACT */
#define LEGACY_ROUTES 40u /* 16 pins of two PICs, 24 of the IOAPIC */
#define IOAPIC_PINS   24u
#define PIC_PINS      16u

/* Hypercalls that the bus serves, and statuses that only a hypercall's input can cause. */
#define HVCALL_POST_MESSAGE  0x5cu
#define HVCALL_SIGNAL_EVENT  0x5du
#define HVCALL_FAST          (1u << 16)
#define HV_INVALID_CODE      2u
#define HV_INVALID_INPUT     3u
#define HV_INVALID_ALIGNMENT 4u

#define POST_BYTES  256u
#define POST_HEADER 16u
#define BUSY_TIMES  5u /* that a post is put off where that is wanted */

/* What an epoll event stands for. */
#define EVENT_STOP     (0ull << 32)
#define EVENT_RESAMPLE (1ull << 32) /* | index of the line */
#define EVENT_DOORBELL (2ull << 32) /* | connection id */
#define EVENT_CLOCK    (3ull << 32)

struct line {
	uint32_t vp;
	uint8_t sint;
	int irq, resample;
	bool assigned;
};

/* A connection id whose HvSignalEvent KVM turns into an eventfd. */
struct doorbell {
	struct doorbell *next;
	uint32_t connection_id;
	int fd;
};

struct counters {
	_Atomic uint64_t synic_exits, hypercall_exits, bad_pages, bad_posts, refused, signals,
		doorbells, resamples, busy, interrupts, contact_ns;
	_Atomic uint64_t from_guest[KVM_MESSAGE_TYPES], to_guest[KVM_MESSAGE_TYPES];
};

struct kvm_transport {
	struct hv_machine machine; /* first: hv_machine_ops see nothing else */
	struct part_host_ops ops;  /* the machine's, but for ports and messages */
	struct kvm_transport_options options;
	pthread_mutex_t lock; /* vm_fd, doorbells, `assigned` */
	int vm_fd;
	struct doorbell *doorbells;
	struct line *lines;
	uint32_t line_count, lines_a_vp;
	uint8_t line_of_sint[SYNIC_SINTS]; /* + 1; 0: none */
	struct kvm_clock clock;
	int epoll, stop;
	pthread_t thread;
	bool running;
	struct counters counts;
	_Atomic uint32_t busy_posts;
};

int kvm_control_system(int fd, unsigned long request, void *argument)
{
	return ioctl(fd, request, argument);
}

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static uint32_t message_type(const void *payload, size_t size)
{
	uint32_t type = 0;

	if (size >= sizeof(type))
		memcpy(&type, payload, sizeof(type));
	type = VMBUS_LE32(type);
	return type < KVM_MESSAGE_TYPES ? type : 0;
}

/* ---- host to guest ---- */

static void inject(const struct line *line)
{
	const uint64_t one = 1;

	/* Full only after 2^64 - 2 interrupts that nobody took. */
	if (write(line->irq, &one, sizeof(one)) < 0)
		return;
}

static struct line *line_of(struct kvm_transport *t, uint32_t vp, uint8_t sint)
{
	uint8_t line = sint < SYNIC_SINTS ? t->line_of_sint[sint] : 0;

	return line && vp < t->machine.vps ? &t->lines[vp * t->lines_a_vp + line - 1] : NULL;
}

static void interrupt(void *transport, uint32_t vp, uint8_t sint, bool message)
{
	struct kvm_transport *t = transport;
	const struct line *line = line_of(t, vp, sint);

	count(&t->counts.interrupts);
	if (line)
		inject(line);
}

/* A processor that has no page now may have one later: KVM's guests set it with the others
 * running. What waits goes when the guest unloads or is reset. */
static int deliver(void *transport, uint32_t vp, uint8_t sint, const void *payload, size_t size)
{
	struct kvm_transport *t = transport;
	int error;

	if (!line_of(t, vp, sint))
		return -ENODEV;
	error = hv_machine_ops.deliver(t, vp, sint, payload, size);
	if (!error)
		count(&t->counts.to_guest[message_type(payload, size)]);
	else
		count(&t->counts.busy);
	return error == -ENODEV ? -EAGAIN : error;
}

/* ---- doorbells ---- */

static int set_doorbell(struct kvm_transport *t, uint32_t connection_id, int fd, bool assign)
{
	struct kvm_hyperv_eventfd request = {
		.conn_id = connection_id,
		.fd = fd,
		.flags = assign ? 0 : KVM_HYPERV_EVENTFD_DEASSIGN,
	};

	return t->options.control(t->vm_fd, KVM_HYPERV_EVENTFD, &request) ? -errno : 0;
}

static int watch(struct kvm_transport *t, int fd, uint64_t what, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.u64 = what};

	return epoll_ctl(t->epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static int make_doorbell(struct kvm_transport *t, struct doorbell *d)
{
	int error;

	d->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->fd < 0)
		return -errno;
	/* By edges: nobody reads the count, so that nobody reads one that was closed. */
	error = watch(t, d->fd, EVENT_DOORBELL | d->connection_id, EPOLLIN | EPOLLET);
	if (!error)
		error = set_doorbell(t, d->connection_id, d->fd, true);
	if (error)
		close(d->fd);
	return error;
}

/* Without one the signals come as exits and lead to the same place. */
static void add_doorbell(struct kvm_transport *t, uint32_t connection_id)
{
	struct doorbell *d = calloc(1, sizeof(*d));
	int error = -ENOMEM;

	if (d) {
		d->connection_id = connection_id;
		error = make_doorbell(t, d);
	}
	if (error) {
		kmcl_log(KMCL_LOG_INFO, "kvm", t->options.partition, 0,
			 "signals of connection %#x come as exits: %s", connection_id,
			 strerror(-error));
		free(d);
		return;
	}
	d->next = t->doorbells;
	t->doorbells = d;
}

static void drop_doorbell(struct kvm_transport *t, struct doorbell **at)
{
	struct doorbell *d = *at;

	if (t->vm_fd >= 0)
		set_doorbell(t, d->connection_id, d->fd, false);
	close(d->fd);
	*at = d->next;
	free(d);
}

static int bind_port(void *transport, uint32_t connection_id, uint32_t dispatcher, uint32_t channel)
{
	struct kvm_transport *t = transport;
	int error = hv_machine_ops.bind_port(t, connection_id, dispatcher, channel);

	if (error || t->options.no_doorbells)
		return error;
	pthread_mutex_lock(&t->lock);
	if (t->vm_fd >= 0)
		add_doorbell(t, connection_id & 0xffffff);
	pthread_mutex_unlock(&t->lock);
	return 0;
}

static void unbind_port(void *transport, uint32_t connection_id)
{
	struct kvm_transport *t = transport;
	struct doorbell **at;

	pthread_mutex_lock(&t->lock);
	for (at = &t->doorbells; *at && (*at)->connection_id != (connection_id & 0xffffff);)
		at = &(*at)->next;
	if (*at)
		drop_doorbell(t, at);
	pthread_mutex_unlock(&t->lock);
	hv_machine_ops.unbind_port(t, connection_id);
}

/* ---- clocks ---- */

static void look_at_clock(struct kvm_transport *t)
{
	pthread_mutex_lock(&t->lock);
	kvm_clock_look(&t->clock, t->vm_fd);
	pthread_mutex_unlock(&t->lock);
}

static int read_clocks(void *transport, struct hv_clocks *clocks)
{
	struct kvm_transport *t = transport;

	return kvm_clock_read(&t->clock, clocks);
}

/* ---- SynIC ---- */

/* The address of a page that is on and in memory, else 0. */
static uint64_t synic_page(struct kvm_transport *t, uint64_t control, uint64_t msr)
{
	uint64_t gpa = msr & HV_PAGE_MASK;

	if (!(control & msr & SYNIC_ENABLED))
		return 0;
	if (gpa && memory_at(t->machine.memory, gpa, PART_PAGE_SIZE))
		return gpa;
	count(&t->counts.bad_pages);
	return 0;
}

/* KVM drops an interrupt of a SINT that is masked, and tells nobody of the unmasking. */
static void interrupt_again(struct kvm_transport *t, uint32_t vp)
{
	const struct synic_vp *v = &t->machine.vp[vp];
	uint8_t *simp = atomic_load(&v->simp), *siefp = atomic_load(&v->siefp);

	for (uint8_t sint = 0; sint < SYNIC_SINTS; sint++) {
		const struct line *line = line_of(t, vp, sint);
		bool waits = false;

		if (line && simp)
			waits = atomic_load(
				(_Atomic uint32_t *)(void *)(simp + sint * SYNIC_SLOT_BYTES));
		for (uint32_t i = 0; line && siefp && i < SYNIC_SLOT_BYTES / 8; i++)
			waits |= atomic_load(&synic_flags(siefp, sint)->word[i]) != 0;
		if (waits)
			inject(line);
	}
}

static void synic_exit(struct kvm_transport *t, uint32_t vp, const struct kvm_hyperv_exit *exit)
{
	uint64_t control = exit->u.synic.control;

	count(&t->counts.synic_exits);
	hv_machine_enable_synic(&t->machine, vp, synic_page(t, control, exit->u.synic.msg_page),
				synic_page(t, control, exit->u.synic.evt_page));
	/* Masks are between the guest and KVM. */
	for (uint8_t sint = 0; sint < SYNIC_SINTS; sint++)
		hv_machine_unmask(&t->machine, vp, sint, t->line_of_sint[sint] != 0);
	interrupt_again(t, vp);
}

/* ---- hypercalls ---- */

static uint32_t get32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return VMBUS_LE32(value);
}

static void note_posted(struct kvm_transport *t, const struct hv_message *message)
{
	uint32_t type = message_type(message->payload, message->size);
	uint64_t none = 0;

	count(&t->counts.from_guest[type]);
	if (type == CONTACT)
		atomic_compare_exchange_strong(&t->counts.contact_ns, &none, clock_now_ns());
}

/* 16 bytes and the payload, which end in the page they begin in. One copy; the guest has other
 * processors. */
static uint16_t read_post(struct kvm_transport *t, uint64_t gpa, struct hv_message *message)
{
	uint64_t room = PART_PAGE_SIZE - gpa % PART_PAGE_SIZE;
	uint8_t copy[POST_BYTES];
	const uint8_t *input;

	if (room > POST_BYTES)
		room = POST_BYTES;
	input = memory_at(t->machine.memory, gpa, room);
	if (gpa % 8 || room < POST_HEADER || !input)
		return HV_INVALID_ALIGNMENT;
	vmbus_shared_get(copy, input, room);
	message->connection_id = get32(copy);
	message->type = get32(copy + 8);
	message->size = get32(copy + 12);
	if (message->size > HV_MESSAGE_MAX || message->type != HV_MESSAGE_TYPE_VMBUS)
		return HV_STATUS_INVALID_PARAMETER;
	if (POST_HEADER + message->size > room)
		return HV_INVALID_ALIGNMENT;
	memcpy(message->payload, copy + POST_HEADER, message->size);
	return HV_STATUS_SUCCESS;
}

static uint16_t take_post(struct kvm_transport *t, const struct hv_message *message)
{
	if (t->options.busy && atomic_fetch_add(&t->busy_posts, 1) % (BUSY_TIMES + 1) < BUSY_TIMES)
		return HV_STATUS_INSUFFICIENT_BUFFERS;
	return hv_machine_post(&t->machine, message);
}

static uint16_t post(struct kvm_transport *t, uint64_t input, uint64_t gpa)
{
	struct hv_message message;
	uint16_t status = input & HVCALL_FAST ? HV_INVALID_INPUT : read_post(t, gpa, &message);

	if (status) {
		count(&t->counts.bad_posts);
		return status;
	}
	status = take_post(t, &message);
	if (status == HV_STATUS_INSUFFICIENT_BUFFERS)
		count(&t->counts.refused);
	if (!status)
		note_posted(t, &message);
	return status;
}

static uint16_t signal_event(struct kvm_transport *t, uint64_t input, uint64_t parameter)
{
	uint64_t word = parameter;
	const void *at;

	count(&t->counts.signals);
	if (!(input & HVCALL_FAST)) {
		at = parameter % 8 ? NULL : memory_at(t->machine.memory, parameter, sizeof(word));
		if (!at)
			return HV_INVALID_ALIGNMENT;
		word = vmbus_load64_relaxed(at);
	}
	return hv_machine_signal(&t->machine, (uint32_t)word, (uint16_t)(word >> 32));
}

static uint16_t hypercall(struct kvm_transport *t, uint64_t input, uint64_t parameter)
{
	count(&t->counts.hypercall_exits);
	switch (input & 0xffff) {
	case HVCALL_POST_MESSAGE:
		return post(t, input, parameter);
	case HVCALL_SIGNAL_EVENT:
		return signal_event(t, input, parameter);
	default:
		return HV_INVALID_CODE;
	}
}

bool kvm_transport_exit(struct kvm_transport *t, uint32_t vp, struct kvm_run *run)
{
	struct kvm_hyperv_exit *exit = &run->hyperv;

	if (vp >= t->machine.vps)
		return false;
	switch (exit->type) {
	case KVM_EXIT_HYPERV_SYNIC:
		synic_exit(t, vp, exit);
		return true;
	case KVM_EXIT_HYPERV_HCALL:
		exit->u.hcall.result = hypercall(t, exit->u.hcall.input, exit->u.hcall.params[0]);
		return true;
	default:
		return false;
	}
}

/* ---- what KVM tells by eventfd ---- */

static bool take_event(struct kvm_transport *t, uint64_t what)
{
	uint32_t value = (uint32_t)what;
	uint64_t times;

	switch (what & ~0xffffffffull) {
	case EVENT_RESAMPLE:
		if (read(t->lines[value].resample, &times, sizeof(times)) > 0)
			count(&t->counts.resamples);
		hv_machine_look(&t->machine);
		return true;
	case EVENT_DOORBELL:
		/* One that was unbound meanwhile is unknown, and that is all. */
		count(&t->counts.doorbells);
		hv_machine_signal(&t->machine, value, 0);
		return true;
	case EVENT_CLOCK:
		look_at_clock(t);
		return true;
	default:
		return false;
	}
}

static void *watch_events(void *context)
{
	struct kvm_transport *t = context;
	struct epoll_event events[16];
	bool going = true;

	while (going) {
		int n = epoll_wait(t->epoll, events, sizeof(events) / sizeof(events[0]), -1);

		for (int i = 0; i < n; i++)
			going &= take_event(t, events[i].data.u64);
	}
	return NULL;
}

/* ---- attaching ---- */

int kvm_transport_attach(struct kvm_transport *t, int vm_fd)
{
	int own = fcntl(vm_fd, F_DUPFD_CLOEXEC, 0);
	int error;

	if (own < 0)
		return -errno;
	pthread_mutex_lock(&t->lock);
	error = t->vm_fd >= 0 ? -EBUSY : kvm_clock_start(&t->clock, own);
	if (!error)
		t->vm_fd = own;
	pthread_mutex_unlock(&t->lock);
	if (error)
		close(own);
	return error;
}

int kvm_transport_vcpu(struct kvm_transport *t, uint32_t vp, int vcpu_fd)
{
	struct kvm_enable_cap synic = {.cap = KVM_CAP_HYPERV_SYNIC2};
	union {
		struct kvm_msrs list;
		uint8_t room[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)];
	} index = {.list.nmsrs = 1};

	index.list.entries[0] = (struct kvm_msr_entry){.index = MSR_VP_INDEX, .data = vp};
	if (vp >= t->machine.vps)
		return -EINVAL;
	if (t->options.control(vcpu_fd, KVM_ENABLE_CAP, &synic))
		return -errno;
	/* How many were set. */
	if (t->options.control(vcpu_fd, KVM_SET_MSRS, &index) != 1)
		return -EINVAL;
	return 0;
}

static void legacy_routes(struct kvm_irq_routing_entry *entry)
{
	for (uint32_t pin = 0; pin < PIC_PINS; pin++, entry++) {
		entry->gsi = pin;
		entry->type = KVM_IRQ_ROUTING_IRQCHIP;
		entry->u.irqchip.irqchip = pin / 8;
		entry->u.irqchip.pin = pin % 8;
	}
	for (uint32_t pin = 0; pin < IOAPIC_PINS; pin++, entry++) {
		entry->gsi = pin;
		entry->type = KVM_IRQ_ROUTING_IRQCHIP;
		entry->u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
		entry->u.irqchip.pin = pin;
	}
}

static uint32_t gsi_of(const struct kvm_transport *t, const struct line *line)
{
	return KVM_FIRST_SINT_GSI + (uint32_t)(line - t->lines);
}

static int set_routes(struct kvm_transport *t, const struct kvm_irq_routing_entry *others,
		      uint32_t first)
{
	struct kvm_irq_routing *table;
	int error = 0;

	table = calloc(1, sizeof(*table) + (first + t->line_count) * sizeof(table->entries[0]));
	if (!table)
		return -ENOMEM;
	table->nr = first + t->line_count;
	if (others)
		memcpy(table->entries, others, first * sizeof(*others));
	else
		legacy_routes(table->entries);
	for (uint32_t i = 0; i < t->line_count; i++) {
		struct kvm_irq_routing_entry *entry = &table->entries[first + i];

		entry->gsi = gsi_of(t, &t->lines[i]);
		entry->type = KVM_IRQ_ROUTING_HV_SINT;
		entry->u.hv_sint.vcpu = t->lines[i].vp;
		entry->u.hv_sint.sint = t->lines[i].sint;
	}
	if (t->options.control(t->vm_fd, KVM_SET_GSI_ROUTING, table))
		error = -errno;
	free(table);
	return error;
}

static int set_line(struct kvm_transport *t, struct line *line, bool assign)
{
	struct kvm_irqfd request = {
		.fd = (uint32_t)line->irq,
		.gsi = gsi_of(t, line),
		.flags = assign ? KVM_IRQFD_FLAG_RESAMPLE : KVM_IRQFD_FLAG_DEASSIGN,
		.resamplefd = assign ? (uint32_t)line->resample : 0,
	};
	uint64_t stale;

	/* Of the VM before this one. */
	if (assign && read(line->irq, &stale, sizeof(stale)) < 0 && errno != EAGAIN)
		return -errno;
	if (t->options.control(t->vm_fd, KVM_IRQFD, &request))
		return -errno;
	line->assigned = assign;
	return 0;
}

int kvm_transport_connect(struct kvm_transport *t, const struct kvm_irq_routing_entry *others,
			  uint32_t count)
{
	int error;

	for (uint32_t i = 0; others && i < count; i++)
		if (others[i].gsi >= KVM_FIRST_SINT_GSI)
			return -EINVAL;
	pthread_mutex_lock(&t->lock);
	error = t->vm_fd < 0 ? -ENOTCONN : set_routes(t, others, others ? count : LEGACY_ROUTES);
	for (uint32_t i = 0; !error && i < t->line_count; i++)
		if (!t->lines[i].assigned)
			error = set_line(t, &t->lines[i], true);
	pthread_mutex_unlock(&t->lock);
	return error;
}

static void leave(struct kvm_transport *t)
{
	pthread_mutex_lock(&t->lock);
	for (uint32_t i = 0; i < t->line_count; i++)
		if (t->lines[i].assigned)
			set_line(t, &t->lines[i], false);
	while (t->doorbells)
		drop_doorbell(t, &t->doorbells);
	if (t->vm_fd >= 0) {
		kvm_clock_stop(&t->clock);
		close(t->vm_fd);
	}
	t->vm_fd = -1;
	pthread_mutex_unlock(&t->lock);
}

void kvm_transport_detach(struct kvm_transport *t)
{
	hv_machine_reset(&t->machine);
	for (uint32_t vp = 0; vp < t->machine.vps; vp++)
		hv_machine_enable_synic(&t->machine, vp, 0, 0);
	leave(t);
}

/* ---- life ---- */

static int make_line(struct kvm_transport *t, uint32_t index, uint32_t vp, uint8_t sint)
{
	struct line *line = &t->lines[index];

	line->vp = vp;
	line->sint = sint;
	line->irq = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	line->resample = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (line->irq < 0 || line->resample < 0)
		return -errno;
	return watch(t, line->resample, EVENT_RESAMPLE | index, EPOLLIN);
}

static int make_lines(struct kvm_transport *t)
{
	uint32_t lines = t->lines_a_vp * t->options.vps;
	int error = 0;

	t->lines = calloc(lines, sizeof(*t->lines));
	if (!t->lines)
		return -ENOMEM;
	for (uint32_t i = 0; i < lines; i++)
		t->lines[i].irq = t->lines[i].resample = -1;
	t->line_count = lines;
	for (uint32_t vp = 0; !error && vp < t->options.vps; vp++)
		for (uint8_t sint = 0; !error && sint < SYNIC_SINTS; sint++)
			if (t->line_of_sint[sint])
				error = make_line(t, vp * t->lines_a_vp + t->line_of_sint[sint] - 1,
						  vp, sint);
	return error;
}

static int open_events(struct kvm_transport *t)
{
	int error = kvm_clock_open(&t->clock, t->options.control, t->options.clock_ns);

	t->epoll = epoll_create1(EPOLL_CLOEXEC);
	t->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (t->epoll < 0 || t->stop < 0)
		return -errno;
	if (!error)
		error = watch(t, t->stop, EVENT_STOP, EPOLLIN);
	return error ? error : watch(t, t->clock.timer, EVENT_CLOCK, EPOLLIN);
}

static int start(struct kvm_transport *t)
{
	int error = open_events(t);

	if (!error)
		error = make_lines(t);
	if (!error)
		error = part_thread_create(&t->thread, watch_events, t, "kmcl-kvm");
	t->running = !error;
	return error;
}

static bool options_are_valid(const struct kvm_transport_options *o)
{
	return o->vps && o->vps <= SYNIC_MAX_VPS && o->control;
}

int kvm_transport_create(const struct kvm_transport_options *options,
			 const struct part_memory *memory, struct kvm_transport **transport)
{
	struct kvm_transport *t;
	int error;

	if (!options_are_valid(options))
		return -EINVAL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return -ENOMEM;
	t->ops = hv_machine_ops;
	t->ops.deliver = deliver;
	t->ops.bind_port = bind_port;
	t->ops.unbind_port = unbind_port;
	t->ops.read_clocks = read_clocks;
	t->options = *options;
	t->vm_fd = t->epoll = t->stop = t->clock.timer = -1;
	pthread_mutex_init(&t->lock, NULL);
	hv_machine_init(&t->machine, options->partition, memory, options->vps, interrupt);
	if (options->posted)
		hv_machine_limit_posted(&t->machine, options->posted);
	for (uint8_t sint = 0; sint < SYNIC_SINTS; sint++)
		if ((options->sints ? options->sints : DEFAULT_SINTS) >> sint & 1)
			t->line_of_sint[sint] = (uint8_t)++t->lines_a_vp;
	error = start(t);
	if (error) {
		kvm_transport_destroy(t);
		return error;
	}
	*transport = t;
	return 0;
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void kvm_transport_destroy(void *transport)
{
	struct kvm_transport *t = transport;
	const uint64_t one = 1;

	leave(t);
	if (t->running && write(t->stop, &one, sizeof(one)) == sizeof(one))
		pthread_join(t->thread, NULL);
	for (uint32_t i = 0; i < t->line_count; i++) {
		close_fd(t->lines[i].irq);
		close_fd(t->lines[i].resample);
	}
	close_fd(t->epoll);
	close_fd(t->stop);
	kvm_clock_close(&t->clock);
	hv_machine_destroy(&t->machine);
	pthread_mutex_destroy(&t->lock);
	free(t->lines);
	free(t);
}

void kvm_transport_count(struct kvm_transport *t, struct kvm_transport_counts *counts)
{
	struct counters *c = &t->counts;

	*counts = (struct kvm_transport_counts){
		.synic_exits = c->synic_exits,
		.hypercall_exits = c->hypercall_exits,
		.bad_pages = c->bad_pages,
		.bad_posts = c->bad_posts,
		.refused = c->refused,
		.signals = c->signals,
		.doorbells = c->doorbells,
		.resamples = c->resamples,
		.busy = c->busy,
		.interrupts = c->interrupts,
		.contact_ns = c->contact_ns,
	};
	for (uint32_t i = 0; i < KVM_MESSAGE_TYPES; i++) {
		counts->from_guest[i] = c->from_guest[i];
		counts->to_guest[i] = c->to_guest[i];
	}
}

const struct part_host_ops *kvm_transport_ops(const struct kvm_transport *t)
{
	return &t->ops;
}
