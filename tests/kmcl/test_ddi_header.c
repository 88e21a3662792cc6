/* SPDX-License-Identifier: MIT */
/* What a driver sees of the DDI before it runs: names, types, values, layout; in C and in C++. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vmbuskernelmodeclientlibapi.h>

unsigned int kt_cxx_callbacks_size(void);

#define IS(expression, type) _Generic((expression), type : 1, default : 0)

/* Whether the compiler takes `body` inside a function, after the header. */
static bool compiles(const char *compiler, const char *body)
{
	char command[2048], path[] = "/tmp/kmcl-header-XXXXXX";
	int fd = mkstemp(path), status;
	FILE *f;

	assert_true(fd >= 0);
	f = fdopen(fd, "w");
	assert_non_null(f);
	fprintf(f,
		"#include <vmbuskernelmodeclientlibapi.h>\n"
		"void probe(VMBCHANNEL c, VMBPACKET p, VMBPACKETCOMPLETION i);\n"
		"void probe(VMBCHANNEL c, VMBPACKET p, VMBPACKETCOMPLETION i)\n"
		"{\n\t(void)c; (void)p; (void)i;\n\t%s\n}\n",
		body);
	fclose(f);
	snprintf(command, sizeof(command),
		 "%s -Wall -Wextra -Werror -fsyntax-only -I%s %s >/dev/null 2>&1", compiler,
		 KT_INCLUDE, path);
	status = system(command);
	unlink(path);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status) == 0;
}

static const char *const languages[] = {
	KT_CC " -std=c11 -xc",
	KT_CC " -std=c17 -xc",
	KT_CXX " -std=c++17 -xc++",
};
#define LANGUAGES (sizeof(languages) / sizeof(languages[0]))

static void ddi_001_handles_of_different_kinds_do_not_mix(void **state)
{
	static const char *const wrong[] = {
		"VmbChannelStart(p);",
		"VmbPacketFree(c);",
		"VmbPacketFree(i);",
		"VmbChannelPacketComplete(p, NULL, 0);",
		"VmbChannelPacketFail(c);",
		"c = p;",
		"i = p;",
		"p = i;",
	};

	(void)state;
	for (size_t l = 0; l < LANGUAGES; l++) {
		assert_true(compiles(languages[l], "VmbChannelStart(c); VmbPacketFree(p); "
						   "VmbChannelPacketComplete(i, NULL, 0);"));
		for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
			assert_false(compiles(languages[l], wrong[i]));
	}
	assert_int_equal(sizeof(VMBCHANNEL), sizeof(void *));
	assert_int_equal(sizeof(VMBPACKET), sizeof(void *));
	assert_int_equal(sizeof(VMBPACKETCOMPLETION), sizeof(void *));
}

static void ddi_004_packet_format_flags(void **state)
{
	(void)state;
	assert_int_equal(VMBUS_CHANNEL_FORMAT_FLAG_WAIT_FOR_COMPLETION, 0x1);
	assert_int_equal(VMBUS_CHANNEL_FORMAT_FLAG_FORCE_MDL_LENGTH, 0x2);
	assert_int_equal(VMBUS_CHANNEL_FORMAT_FLAG_PAGED_BUFFER, 0x4);
	assert_int_equal(VMBUS_CHANNEL_FORMAT_FLAGS, 0x7);
}

static void ddi_005_gpadl_flags_under_both_names(void **state)
{
	(void)state;
	assert_int_equal(VMBUS_CHANNEL_GPADL_FLAG_READ_ONLY, 0x1);
	assert_int_equal(VMBUS_CHANNEL_GPADL_READ_ONLY, 0x1);
	assert_int_equal(VMBUS_CHANNEL_GPADL_FLAGS, 0x1);
}

static void channel_flag_values(void **state)
{
	(void)state;
	assert_int_equal(VMBUS_CHANNEL_INIT_FLAG_IS_PIPE, 0x1);
	assert_int_equal(VMBUS_CHANNEL_INIT_FLAGS, 0x1);
	assert_int_equal(VMBUS_SERVER_CHANNEL_INIT_FLAG_LOOPBACK_OFFER, 0x1);
	assert_int_equal(VMBUS_SERVER_CHANNEL_INIT_FLAG_ENUMERATE_DEVICE_INTERFACE, 0x2);
	assert_int_equal(VMBUS_SERVER_CHANNEL_INIT_FLAG_OFFER_AS_PIPE, 0x4);
	assert_int_equal(VMBUS_SERVER_CHANNEL_INIT_FLAG_FORCE_NEW_CHANNEL, 0x8);
	assert_int_equal(VMBUS_SERVER_CHANNEL_INIT_FLAG_TLNPI_PROVIDER_OFFER, 0x10);
	assert_int_equal(VMBUS_SERVER_CHANNEL_INIT_FLAGS, 0x1f);
}

static void ddi_008_process_packet_flags(void **state)
{
	(void)state;
	assert_int_equal(VMBUS_CHANNEL_PROCESS_PACKET_FLAG_EXTERNAL_DATA, 0x1);
	assert_int_equal(VMBUS_CHANNEL_PROCESS_PACKET_FLAGS, 0x1);
}

static void ddi_009_external_data_flags(void **state)
{
	(void)state;
	assert_int_equal(VMBUS_CHANNEL_PACKET_EXTERNAL_DATA_FLAG_READ_ONLY, 0x1);
	assert_int_equal(VMBUS_CHANNEL_PACKET_EXTERNAL_DATA_FLAGS, 0x1);
}

static void ddi_010_user_defined_offer_data(void **state)
{
	(void)state;
	assert_int_equal(VMBUS_SERVER_CHANNEL_INIT_MAXIMUM_OFFER_DATA, 120);
}

static void ddi_012_function_types_match_the_functions(void **state)
{
	unsigned int count = 0;

	(void)state;
#define DDI_FUNCTION(offset, name, stem, result, parameters)  \
	assert_true(IS(&name, result(*) parameters));         \
	assert_true(IS((PFN_##stem)0, result(*) parameters)); \
	assert_true(IS((FN_##stem *)0, PFN_##stem));          \
	count++;
#define DDI_CALLBACK(stem, result, parameters)
#include "ddi_list.h"
#undef DDI_FUNCTION
#undef DDI_CALLBACK
	assert_int_equal(count, 55);
	for (size_t l = 0; l < LANGUAGES; l++)
		assert_true(compiles(languages[l], "extern FN_VMB_PACKET_FREE mine; "
						   "PFN_VMB_PACKET_FREE f = mine; (void)f;"));
}

static void ddi_013_callback_types_match_the_callbacks(void **state)
{
	unsigned int count = 0;

	(void)state;
#define DDI_FUNCTION(offset, name, stem, result, parameters)
#define DDI_CALLBACK(stem, result, parameters)                \
	assert_true(IS((PFN_##stem)0, result(*) parameters)); \
	assert_true(IS((EVT_##stem *)0, PFN_##stem));         \
	count++;
#include "ddi_list.h"
#undef DDI_FUNCTION
#undef DDI_CALLBACK
	assert_int_equal(count, 11);
}

static void ddi_014_state_change_callbacks_layout(void **state)
{
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS c;

	(void)state;
	assert_int_equal(sizeof(struct _VMB_CHANNEL_STATE_CHANGE_CALLBACKS), 48);
	assert_int_equal(offsetof(VMB_CHANNEL_STATE_CHANGE_CALLBACKS, Version), 0);
	assert_int_equal(offsetof(VMB_CHANNEL_STATE_CHANGE_CALLBACKS, Size), 4);
	assert_int_equal(offsetof(VMB_CHANNEL_STATE_CHANGE_CALLBACKS, EvtChannelOpened), 8);
	assert_int_equal(offsetof(VMB_CHANNEL_STATE_CHANGE_CALLBACKS, EvtChannelClosed), 16);
	assert_int_equal(offsetof(VMB_CHANNEL_STATE_CHANGE_CALLBACKS, EvtChannelSuspend), 24);
	assert_int_equal(offsetof(VMB_CHANNEL_STATE_CHANGE_CALLBACKS, EvtChannelStarted), 32);
	assert_int_equal(offsetof(VMB_CHANNEL_STATE_CHANGE_CALLBACKS, EvtChannelPostStarted), 40);
	assert_true(IS(c.Version, ULONG) && IS(c.Size, ULONG));
	assert_true(IS(c.EvtChannelOpened, PFN_VMB_CHANNEL_OPENED));
	assert_true(IS(c.EvtChannelClosed, PFN_VMB_CHANNEL_CLOSED));
	assert_true(IS(c.EvtChannelSuspend, PFN_VMB_CHANNEL_SUSPEND));
	assert_true(IS(c.EvtChannelStarted, PFN_VMB_CHANNEL_STARTED));
	assert_true(IS(c.EvtChannelPostStarted, PFN_VMB_CHANNEL_POST_STARTED));
	assert_true(IS(&c, PVMB_CHANNEL_STATE_CHANGE_CALLBACKS));
}

/* Members of a table: where they are, and that they hold what their name says. */
static void ddi_015_016_017_interface_tables_layout(void **state)
{
	KMCL_CLIENT_INTERFACE_V1 client;
	KMCL_SERVER_INTERFACE_V1 server;
	unsigned int shared = 0, only = 0;

	(void)state;
#define DDI_FUNCTION(offset, name, stem, result, parameters)                \
	assert_int_equal(offsetof(KMCL_SERVER_INTERFACE_V1, name), offset); \
	assert_true(IS(server.name, PFN_##stem));                           \
	if ((offset) < 360)                                                 \
		shared++;                                                   \
	else                                                                \
		only++;
#define DDI_CALLBACK(stem, result, parameters)
#include "ddi_list.h"
#undef DDI_FUNCTION
#undef DDI_CALLBACK
	assert_int_equal(shared, 41);
	assert_int_equal(only, 14);
	assert_int_equal(sizeof(INTERFACE), 32);
	assert_int_equal(sizeof(struct _KMCL_CLIENT_INTERFACE_V1), 360);
	assert_int_equal(sizeof(struct _KMCL_SERVER_ONLY_METHODS), 112);
	assert_int_equal(sizeof(struct _KMCL_SERVER_INTERFACE_V1), 472);
	assert_true(IS(&client, PKMCL_CLIENT_INTERFACE_V1));
	assert_true(IS(&server, PKMCL_SERVER_INTERFACE_V1));
	assert_int_equal(offsetof(KMCL_CLIENT_INTERFACE_V1, Size), offsetof(INTERFACE, Size));
	assert_int_equal(offsetof(KMCL_CLIENT_INTERFACE_V1, Version), 2);
	assert_int_equal(offsetof(KMCL_CLIENT_INTERFACE_V1, Context), 8);
	assert_int_equal(offsetof(KMCL_CLIENT_INTERFACE_V1, InterfaceReference), 16);
	assert_int_equal(offsetof(KMCL_SERVER_INTERFACE_V1, InterfaceDereference), 24);
	assert_int_equal(offsetof(KMCL_CLIENT_INTERFACE_V1, VmbChannelAllocate), 32);
	assert_int_equal(offsetof(KMCL_CLIENT_INTERFACE_V1, VmbPacketSetPointer), 352);
	assert_int_equal(offsetof(KMCL_SERVER_ONLY_METHODS, VmbChannelMapGpadl), 0);
	assert_int_equal(offsetof(KMCL_SERVER_ONLY_METHODS, VmbPacketRestore), 56);
	assert_int_equal(offsetof(KMCL_SERVER_ONLY_METHODS, VmbServerChannelInitSetVmbusHandle),
			 104);
}

static void interface_versions(void **state)
{
	(void)state;
	assert_int_equal(KMCL_CLIENT_INTERFACE_VERSION_V1, 1);
	assert_int_equal(KMCL_CLIENT_INTERFACE_VERSION_LATEST, KMCL_CLIENT_INTERFACE_VERSION_V1);
	assert_int_equal(KMCL_SERVER_INTERFACE_VERSION_V1, 1);
}

static void ddi_019_state_change_callbacks_init(void **state)
{
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS c, expected = {.Version = 1, .Size = 48};

	(void)state;
	memset(&c, 0xff, sizeof(c));
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(&c);
	assert_memory_equal(&c, &expected, sizeof(c));
	assert_int_equal(kt_cxx_callbacks_size(), 48);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(ddi_001_handles_of_different_kinds_do_not_mix),
		cmocka_unit_test(ddi_004_packet_format_flags),
		cmocka_unit_test(ddi_005_gpadl_flags_under_both_names),
		cmocka_unit_test(channel_flag_values),
		cmocka_unit_test(ddi_008_process_packet_flags),
		cmocka_unit_test(ddi_009_external_data_flags),
		cmocka_unit_test(ddi_010_user_defined_offer_data),
		cmocka_unit_test(ddi_012_function_types_match_the_functions),
		cmocka_unit_test(ddi_013_callback_types_match_the_callbacks),
		cmocka_unit_test(ddi_014_state_change_callbacks_layout),
		cmocka_unit_test(ddi_015_016_017_interface_tables_layout),
		cmocka_unit_test(interface_versions),
		cmocka_unit_test(ddi_019_state_change_callbacks_init),
	};

	return cmocka_run_group_tests_name("kmcl-ddi-header", tests, NULL, NULL);
}
