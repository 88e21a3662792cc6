/* SPDX-License-Identifier: MIT */
/** @file What is asked of a guest through its integration components, as requests of a control
 * socket. */
#ifndef TOOLS_GUEST_CONTROL_H
#define TOOLS_GUEST_CONTROL_H

#include <jansson.h>
#include <stdbool.h>

#include <kmcl/kmcl.h>

struct guest_command {
	const char *name, *members, *summary;
	json_t *(*run)(kmcl_driver *driver, const json_t *request);
};
extern const struct guest_command guest_commands[];
extern const unsigned int guest_command_count;

/** Whether that driver is the one of the integration components. */
bool guest_driver_is(kmcl_driver *driver);

#endif
