/* SPDX-License-Identifier: MIT */
/* The message table against the protocol's own catalogue, written down again here. */
#include "control.h"

#include "vmbus/message.h"

struct expected {
	uint32_t type;
	char direction; /* C: client to server */
	uint32_t version, features;
	uint8_t sizes[3];
};

static const struct expected catalogue[] = {
	{1, 'S', 0x0000d, 0, {196}},         {2, 'S', 0x0000d, 0, {12}},
	{3, 'C', 0x0000d, 0, {8}},           {4, 'S', 0x0000d, 0, {8}},
	{5, 'C', 0x0000d, 0, {148, 156}},    {6, 'S', 0x0000d, 0, {20}},
	{7, 'C', 0x0000d, 0, {12}},          {8, 'C', 0x0000d, 0, {20}},
	{9, 'C', 0x0000d, 0, {16}},          {10, 'S', 0x0000d, 0, {20}},
	{11, 'C', 0x0000d, 0, {16}},         {12, 'S', 0x0000d, 0, {12}},
	{13, 'C', 0x0000d, 0, {12}},         {14, 'C', 0x0000d, 0, {40, 56}},
	{15, 'S', 0x0000d, 0, {16, 20, 40}}, {16, 'C', 0x0000d, 0, {8}},
	{17, 'S', 0x0000d, 0, {8}},          {18, 'C', 0x40000, 0, {28}},
	{19, 'C', 0x0000d, 0, {20}},         {20, 'S', 0x0000d, 0, {12}},
	{21, 'C', 0x40000, 0, {40, 56}},     {22, 'C', 0x40001, 0, {16}},
	{23, 'S', 0x40001, 0, {44}},         {24, 'S', 0x50003, 0, {16}},
	{25, 'C', 0x60000, 0x04, {24}},      {26, 'S', 0x60000, 0x04, {9}},
	{27, 'C', 0x60000, 0x20, {8}},       {28, 'S', 0x60000, 0x20, {8}},
	{29, 'C', 0x60000, 0x20, {8}},
};

static void table_agrees_with_the_catalogue(void **state)
{
	assert_null(vmbus_message_info(0));
	assert_null(vmbus_message_info(30));
	assert_null(vmbus_message_info(0xffffffff));
	for (size_t i = 0; i < sizeof(catalogue) / sizeof(catalogue[0]); i++) {
		const struct expected *e = &catalogue[i];
		const struct vmbus_message_info *info = vmbus_message_info(e->type);

		assert_int_equal(e->type, i + 1);
		assert_non_null(info);
		assert_int_equal(info->direction,
				 e->direction == 'C' ? VMBUS_TO_SERVER : VMBUS_TO_CLIENT);
		assert_int_equal(info->min_version, e->version);
		assert_int_equal(info->features, e->features);
		assert_memory_equal(info->sizes, e->sizes, sizeof(e->sizes));
	}
}

/* Fields lie inside the longest form, in order, and overlap only where a view is declared. */
static void fields_lie_inside_their_message(void **state)
{
	for (uint32_t type = 1; type < VMBUS_MSG_COUNT; type++) {
		const struct vmbus_message_info *info = vmbus_message_info(type);
		unsigned int end = 8, longest = 0;

		for (int i = 0; i < 3; i++)
			longest = info->sizes[i] ? info->sizes[i] : longest;
		for (unsigned int i = 0; i < info->field_count; i++) {
			const struct vmbus_field *f = &info->fields[i];

			assert_non_null(f->name);
			assert_true(f->offset + f->size <= longest);
			if (f->kind == VMBUS_FIELD_VIEW)
				continue;
			assert_true(f->offset >= end);
			end = f->offset + f->size;
		}
	}
}

static void check_finds_short_foreign_and_unknown_messages(void **state)
{
	for (uint32_t type = 1; type < VMBUS_MSG_COUNT; type++) {
		const struct vmbus_message_info *info = vmbus_message_info(type);
		enum vmbus_direction other =
			info->direction == VMBUS_TO_SERVER ? VMBUS_TO_CLIENT : VMBUS_TO_SERVER;
		struct raw r = raw(type, 240);

		assert_int_equal(vmbus_message_check(r.b, info->sizes[0], info->direction),
				 VMBUS_CHECK_OK);
		assert_int_equal(vmbus_message_check(r.b, 240, info->direction), VMBUS_CHECK_OK);
		assert_int_equal(vmbus_message_check(r.b, 241, info->direction), VMBUS_CHECK_SHORT);
		assert_int_equal(vmbus_message_check(r.b, info->sizes[0] - 1u, info->direction),
				 VMBUS_CHECK_SHORT);
		assert_int_equal(vmbus_message_check(r.b, 240, other), VMBUS_CHECK_DIRECTION);
	}
	for (size_t n = 0; n < 8; n++)
		assert_int_equal(vmbus_message_check(raw(3, 8).b, n, VMBUS_TO_SERVER),
				 VMBUS_CHECK_SHORT);
	assert_int_equal(vmbus_message_check(raw(0, 240).b, 240, VMBUS_TO_SERVER),
			 VMBUS_CHECK_TYPE);
	assert_int_equal(vmbus_message_check(raw(30, 240).b, 240, VMBUS_TO_SERVER),
			 VMBUS_CHECK_TYPE);
	assert_int_equal(vmbus_message_check(raw(0x80000003, 240).b, 240, VMBUS_TO_SERVER),
			 VMBUS_CHECK_TYPE);
}

static void versions_match_exactly(void **state)
{
	static const uint32_t known[] = {0x0000d, 0x10001, 0x20004, 0x30000, 0x40000, 0x40001,
					 0x50000, 0x50001, 0x50002, 0x50003, 0x60000};

	assert_int_equal(vmbus_version_count, 11);
	for (size_t i = 0; i < 11; i++) {
		assert_true(vmbus_version_known(known[i]));
		assert_int_equal(vmbus_version_below(known[i]), i ? known[i - 1] : 0);
		assert_int_equal(vmbus_version_below(known[i] + 1), known[i]);
	}
	assert_false(vmbus_version_known(0));
	assert_false(vmbus_version_known(0x50004));
	assert_false(vmbus_version_known(0x30001));
	assert_false(vmbus_version_known(0xffffffff));
}

static void gates_are_version_and_feature(void **state)
{
	assert_true(vmbus_message_allowed(22, 0x40001, 0));
	assert_false(vmbus_message_allowed(22, 0x40000, 0xff));
	assert_true(vmbus_message_allowed(25, 0x60000, 0x04));
	assert_false(vmbus_message_allowed(25, 0x60000, 0xfb));
	assert_false(vmbus_message_allowed(25, 0x50003, 0x04));
	assert_false(vmbus_message_allowed(0, 0x60000, 0xff));
}

/* Bytes written out by hand, read by the codec. */
static void decode_reads_what_the_wire_says(void **state)
{
	struct raw r = from_hex("0500000000000000 28000000 2a000000 121e0e00 07000000 20000000");
	struct vmbus_message m;

	r.n = 156;
	put8(&r, 28, 0xaa);
	put8(&r, 147, 0xbb);
	put32(&r, 148, 0x2028);
	put16(&r, 152, 40);
	put16(&r, 154, 1);
	vmbus_message_decode(&m, r.b, 156);
	assert_int_equal(m.type, 5);
	assert_int_equal(m.open_channel.channel_id, 40);
	assert_int_equal(m.open_channel.open_id, 42);
	assert_int_equal(m.open_channel.ring_gpadl, 0xe1e12);
	assert_int_equal(m.open_channel.target_vp, 7);
	assert_int_equal(m.open_channel.downstream_page, 32);
	assert_int_equal(m.open_channel.user_data[0], 0xaa);
	assert_int_equal(m.open_channel.user_data[119], 0xbb);
	assert_int_equal(m.open_channel.connection_id, 0x2028);
	assert_int_equal(m.open_channel.event_flag, 40);
	assert_int_equal(m.open_channel.open_flags, 1);

	vmbus_message_decode(&m, r.b, 148);
	assert_int_equal(m.open_channel.user_data[119], 0xbb);
	assert_int_equal(m.open_channel.connection_id, 0);
	assert_int_equal(m.open_channel.event_flag, 0);
}

/* Every message, each byte different, out and in again; bytes of no field come back as zero. */
static void encode_undoes_decode(void **state)
{
	for (uint32_t type = 1; type < VMBUS_MSG_COUNT; type++) {
		const struct vmbus_message_info *info = vmbus_message_info(type);

		for (int form = 0; form < 3 && info->sizes[form]; form++) {
			struct raw r = raw(type, info->sizes[form]), want = r;
			uint8_t back[VMBUS_MAX_MESSAGE];
			struct vmbus_message m;

			for (size_t i = 8; i < r.n; i++)
				put8(&r, i, (uint8_t)(i * 7 + type));
			for (unsigned int i = 0; i < info->field_count; i++) {
				const struct vmbus_field *f = &info->fields[i];

				if (f->kind == VMBUS_FIELD_VIEW || f->offset + f->size > r.n)
					continue;
				memcpy(want.b + f->offset, r.b + f->offset, f->size);
			}
			vmbus_message_decode(&m, r.b, r.n);
			vmbus_message_encode(&m, back, r.n);
			assert_memory_equal(back, want.b, r.n);
		}
	}
}

static void contact_bytes_have_two_meanings(void **state)
{
	struct raw r = raw_contact(0x60000);
	struct vmbus_message m;

	put8(&r, 16, 3);
	put8(&r, 17, 2);
	put32(&r, 20, 0x89abcdef);
	vmbus_message_decode(&m, r.b, r.n);
	assert_int_equal(vmbus_contact_sint(m.initiate_contact.page_or_target), 3);
	assert_int_equal(vmbus_contact_vtl(m.initiate_contact.page_or_target), 2);
	assert_int_equal(vmbus_contact_features(m.initiate_contact.page_or_target), 0x89abcdef);
	assert_int_equal(vmbus_contact_target(3, 2, 0x89abcdef), m.initiate_contact.page_or_target);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(table_agrees_with_the_catalogue),
		cmocka_unit_test(fields_lie_inside_their_message),
		cmocka_unit_test(check_finds_short_foreign_and_unknown_messages),
		cmocka_unit_test(versions_match_exactly),
		cmocka_unit_test(gates_are_version_and_feature),
		cmocka_unit_test(decode_reads_what_the_wire_says),
		cmocka_unit_test(encode_undoes_decode),
		cmocka_unit_test(contact_bytes_have_two_meanings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
