/* SPDX-License-Identifier: MIT */
/* Prints the tables of the Wireshark dissector from those of the bus. scripts/check-dissector
 * builds and runs it. */
#include <inttypes.h>
#include <stdio.h>

#include "vmbus/message.h"
#include "vmbus/names.h"

static const char *const kinds[] = {
	[VMBUS_FIELD_U8] = "U8",     [VMBUS_FIELD_U16] = "U16",   [VMBUS_FIELD_U32] = "U32",
	[VMBUS_FIELD_U64] = "U64",   [VMBUS_FIELD_GUID] = "GUID", [VMBUS_FIELD_BYTES] = "BYTES",
	[VMBUS_FIELD_VIEW] = "VIEW", [VMBUS_FIELD_REST] = "REST",
};

static const struct {
	const char *field, *format, *unit;
} formats[] = {
#define ROW(field, format, unit) {#field, #format, unit},
	VMBUS_FIELD_FORMATS(ROW)
#undef ROW
};

static int put_field(const struct vmbus_field *f)
{
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		if (strcmp(formats[i].field, f->name) != 0)
			continue;
		printf("\t\t{ \"%s\", \"%s\", %u, %u, \"%s\", \"%s\" },\n", f->name, kinds[f->kind],
		       f->offset, f->size, formats[i].format, formats[i].unit);
		return 0;
	}
	fprintf(stderr, "%s: vmbus/names.h does not say how the field is shown\n", f->name);
	return 1;
}

static int put_messages(void)
{
	int wrong = 0;

	puts("-- number: name, whether it goes to the client, fields: name, kind, offset, size, "
	     "format, "
	     "unit");
	puts("local messages = {");
	for (uint32_t type = 0; type < VMBUS_MSG_COUNT; type++) {
		const struct vmbus_message_info *info = vmbus_message_info(type);

		if (!info)
			continue;
		printf("\t[%" PRIu32 "] = { name = \"%s\", to_client = %s, fields = {", type,
		       info->name, info->direction == VMBUS_TO_CLIENT ? "true" : "false");
		if (info->field_count)
			putchar('\n');
		for (unsigned int i = 0; i < info->field_count; i++)
			wrong |= put_field(&info->fields[i]);
		puts(info->field_count ? "\t} }," : "} },");
	}
	puts("}\n");
	return wrong;
}

#define NAME(value, name) printf("\t[0x%x] = \"%s\",\n", (unsigned int)(value), name);
#define BIT(value, name)  printf("\t{ 0x%x, \"%s\" },\n", (unsigned int)(value), name);
#define INTERFACE(first, second, third, last, name)                                            \
	printf("\t[\"%08x-%04x-%04x-%04x-%012" PRIx64 "\"] = \"%s\",\n", first, second, third, \
	       (unsigned int)((uint64_t)last >> 48), (uint64_t)last & 0xffffffffffff, name);

#define TABLE(name, rows, row)              \
	do {                                \
		puts("local " name " = {"); \
		rows(row) puts("}\n");      \
	} while (0)

int main(void)
{
	int wrong = put_messages();

	TABLE("feature_bits", VMBUS_FEATURE_NAMES, BIT);
	TABLE("offer_flag_bits", VMBUS_OFFER_FLAG_NAMES, BIT);
	TABLE("open_flag_bits", VMBUS_OPEN_FLAG_NAMES, BIT);
	TABLE("status_names", VMBUS_STATUS_NAMES, NAME);
	TABLE("state_names", VMBUS_STATE_NAMES, NAME);
	TABLE("packet_type_names", VMBUS_PACKET_TYPE_NAMES, NAME);
	TABLE("pipe_type_names", VMBUS_PIPE_TYPE_NAMES, NAME);
	TABLE("interface_names", VMBUS_INTERFACE_NAMES, INTERFACE);
	puts("local versions = {");
	for (unsigned int i = 0; i < vmbus_version_count; i++)
		printf("\t[0x%08x] = \"%u.%u\",\n", vmbus_versions[i], vmbus_versions[i] >> 16,
		       vmbus_versions[i] & 0xffff);
	puts("}");
	return wrong;
}
