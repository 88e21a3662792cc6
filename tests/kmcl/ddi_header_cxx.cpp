/* SPDX-License-Identifier: MIT */
/* The header as a C++ driver sees it: same types, same layout. */
#include <type_traits>

#include <vmbuskernelmodeclientlibapi.h>

#define DDI_FUNCTION(offset, name, stem, result, parameters)                              \
	static_assert(std::is_same<decltype(&name), result(*) parameters>::value, #name); \
	static_assert(std::is_same<PFN_##stem, result(*) parameters>::value, #name);      \
	static_assert(std::is_same<FN_##stem *, PFN_##stem>::value, #name);               \
	static_assert(offsetof(KMCL_SERVER_INTERFACE_V1, name) == (offset), #name);
#define DDI_CALLBACK(stem, result, parameters)                                       \
	static_assert(std::is_same<PFN_##stem, result(*) parameters>::value, #stem); \
	static_assert(std::is_same<EVT_##stem *, PFN_##stem>::value, #stem);
#include "ddi_list.h"
#undef DDI_FUNCTION
#undef DDI_CALLBACK

static_assert(!std::is_convertible<VMBCHANNEL, VMBPACKET>::value, "distinct handles");
static_assert(!std::is_convertible<VMBPACKET, VMBPACKETCOMPLETION>::value, "distinct handles");
static_assert(!std::is_convertible<VMBPACKETCOMPLETION, VMBCHANNEL>::value, "distinct handles");

extern "C" unsigned int kt_cxx_callbacks_size(void);
extern "C" unsigned int kt_cxx_callbacks_size(void)
{
	VMB_CHANNEL_STATE_CHANGE_CALLBACKS callbacks;

	VMB_CHANNEL_STATE_CHANGE_CALLBACKS_INIT(&callbacks);
	return callbacks.Size;
}
