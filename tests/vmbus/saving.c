/* SPDX-License-Identifier: MIT */
#include "saving.h"

struct saved save(struct bench *t)
{
	struct saved s;

	assert_int_equal(vmbus_server_save(t->s, NULL, 0, &s.b, &s.n), VMBUS_OK);
	return s;
}

void drop(struct bench *t, struct saved *s)
{
	t->config.allocator.free(t->config.allocator.ctx, s->b, s->n);
}

void restore(struct bench *t, const struct saved *s)
{
	struct vmbus_saved_error error;
	struct vmbus_server *made;
	enum vmbus_status status = vmbus_server_restore(&t->config, s->b, s->n, &made, &error);

	if (status)
		fail_msg("%s at %u: %s", error.field, (unsigned int)error.offset, error.why);
	vmbus_server_destroy(t->s);
	t->s = made;
	check_at(t, __LINE__);
}

void live_on(struct bench *t)
{
	struct saved s = save(t);

	restore(t, &s);
	drop(t, &s);
	if (vmbus_server_version(t->s))
		assert_int_equal(expect(t, VMBUS_SERVER_RESTORED)->connect.version,
				 vmbus_server_version(t->s));
}

void claim(struct bench *t, int device, bool resume)
{
	struct vmbus_offer o = an_offer(device);

	o.resume = resume;
	assert_int_equal(vmbus_server_offer(t->s, &o, &t->device[device], &t->offer[device]), 0);
	check_at(t, __LINE__);
}
