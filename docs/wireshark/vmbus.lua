-- SPDX-License-Identifier: MIT
-- Wireshark dissector for captures of VMBus (link type USER0; docs/capture.md has the format):
--
--   wireshark -X lua_script:vmbus.lua FILE
--
-- or put it into the folder for personal Lua plugins, where it is loaded by itself.

local vmbus = Proto("vmbus", "Hyper-V VMBus")

-- The tables: scripts/check-dissector --write makes them from src/vmbus.
-- number: name, whether it goes to the client, fields: name, kind, offset, size, format, unit
local messages = {
	[1] = { name = "OFFER_CHANNEL", to_client = true, fields = {
		{ "interface_id", "GUID", 8, 16, "GUID", "" },
		{ "instance_id", "GUID", 24, 16, "GUID", "" },
		{ "reserved", "VIEW", 40, 16, "BYTES", "" },
		{ "flags", "U16", 56, 2, "OFFER_FLAGS", "" },
		{ "mmio_megabytes", "U16", 58, 2, "DEC", "MiB" },
		{ "user_data", "BYTES", 60, 120, "BYTES", "" },
		{ "subchannel", "U16", 180, 2, "DEC", "" },
		{ "mmio_megabytes_optional", "U16", 182, 2, "DEC", "MiB" },
		{ "channel_id", "U32", 184, 4, "DEC", "" },
		{ "monitor_id", "U8", 188, 1, "DEC", "" },
		{ "monitor_allocated", "U8", 189, 1, "DEC", "" },
		{ "dedicated", "U16", 190, 2, "DEC", "" },
		{ "connection_id", "U32", 192, 4, "HEX", "" },
	} },
	[2] = { name = "RESCIND_CHANNEL_OFFER", to_client = true, fields = {
		{ "channel_id", "U32", 8, 4, "DEC", "" },
	} },
	[3] = { name = "REQUEST_OFFERS", to_client = false, fields = {} },
	[4] = { name = "ALL_OFFERS_DELIVERED", to_client = true, fields = {} },
	[5] = { name = "OPEN_CHANNEL", to_client = false, fields = {
		{ "channel_id", "U32", 8, 4, "DEC", "" },
		{ "open_id", "U32", 12, 4, "HEX", "" },
		{ "ring_gpadl", "U32", 16, 4, "HEX", "" },
		{ "target_vp", "U32", 20, 4, "VP", "" },
		{ "downstream_page", "U32", 24, 4, "DEC", "pages" },
		{ "user_data", "BYTES", 28, 120, "BYTES", "" },
		{ "connection_id", "U32", 148, 4, "HEX", "" },
		{ "event_flag", "U16", 152, 2, "DEC", "" },
		{ "open_flags", "U16", 154, 2, "OPEN_FLAGS", "" },
	} },
	[6] = { name = "OPEN_CHANNEL_RESULT", to_client = true, fields = {
		{ "channel_id", "U32", 8, 4, "DEC", "" },
		{ "open_id", "U32", 12, 4, "HEX", "" },
		{ "status", "U32", 16, 4, "STATUS", "" },
	} },
	[7] = { name = "CLOSE_CHANNEL", to_client = false, fields = {
		{ "channel_id", "U32", 8, 4, "DEC", "" },
	} },
	[8] = { name = "GPADL_HEADER", to_client = false, fields = {
		{ "channel_id", "U32", 8, 4, "DEC", "" },
		{ "gpadl", "U32", 12, 4, "HEX", "" },
		{ "length", "U16", 16, 2, "DEC", "bytes" },
		{ "range_count", "U16", 18, 2, "DEC", "" },
		{ "ranges", "REST", 20, 0, "RANGES", "" },
	} },
	[9] = { name = "GPADL_BODY", to_client = false, fields = {
		{ "message_number", "U32", 8, 4, "DEC", "" },
		{ "gpadl", "U32", 12, 4, "HEX", "" },
		{ "ranges", "REST", 16, 0, "RANGES", "" },
	} },
	[10] = { name = "GPADL_CREATED", to_client = true, fields = {
		{ "channel_id", "U32", 8, 4, "DEC", "" },
		{ "gpadl", "U32", 12, 4, "HEX", "" },
		{ "status", "U32", 16, 4, "STATUS", "" },
	} },
	[11] = { name = "GPADL_TEARDOWN", to_client = false, fields = {
		{ "channel_id", "U32", 8, 4, "DEC", "" },
		{ "gpadl", "U32", 12, 4, "HEX", "" },
	} },
	[12] = { name = "GPADL_TORNDOWN", to_client = true, fields = {
		{ "gpadl", "U32", 8, 4, "HEX", "" },
	} },
	[13] = { name = "RELID_RELEASED", to_client = false, fields = {
		{ "channel_id", "U32", 8, 4, "DEC", "" },
	} },
	[14] = { name = "INITIATE_CONTACT", to_client = false, fields = {
		{ "version", "U32", 8, 4, "VERSION", "" },
		{ "target_vp", "U32", 12, 4, "VP", "" },
		{ "page_or_target", "U64", 16, 8, "HEX", "" },
		{ "sint", "VIEW", 16, 1, "DEC", "" },
		{ "vtl", "VIEW", 17, 1, "DEC", "" },
		{ "features", "VIEW", 20, 4, "FEATURES", "" },
		{ "monitor_parent_to_child", "U64", 24, 8, "HEX", "" },
		{ "monitor_child_to_parent", "U64", 32, 8, "HEX", "" },
		{ "client_id", "GUID", 40, 16, "GUID", "" },
	} },
	[15] = { name = "VERSION_RESPONSE", to_client = true, fields = {
		{ "supported", "U8", 8, 1, "DEC", "" },
		{ "state", "U8", 9, 1, "STATE", "" },
		{ "selected", "U32", 12, 4, "SELECTED", "" },
		{ "features", "U32", 16, 4, "FEATURES", "" },
		{ "monitor_parent_to_child", "U64", 24, 8, "HEX", "" },
		{ "monitor_child_to_parent", "U64", 32, 8, "HEX", "" },
	} },
	[16] = { name = "UNLOAD", to_client = false, fields = {} },
	[17] = { name = "UNLOAD_COMPLETE", to_client = true, fields = {} },
	[18] = { name = "OPEN_RESERVED_CHANNEL", to_client = false, fields = {
		{ "channel_id", "U32", 8, 4, "DEC", "" },
		{ "target_vp", "U32", 12, 4, "VP", "" },
		{ "target_sint", "U32", 16, 4, "DEC", "" },
		{ "ring_gpadl", "U32", 20, 4, "HEX", "" },
		{ "downstream_page", "U32", 24, 4, "DEC", "pages" },
	} },
	[19] = { name = "CLOSE_RESERVED_CHANNEL", to_client = false, fields = {
		{ "channel_id", "U32", 8, 4, "DEC", "" },
		{ "target_vp", "U32", 12, 4, "VP", "" },
		{ "target_sint", "U32", 16, 4, "DEC", "" },
	} },
	[20] = { name = "CLOSE_RESERVED_RESPONSE", to_client = true, fields = {
		{ "channel_id", "U32", 8, 4, "DEC", "" },
	} },
	[21] = { name = "TL_CONNECT_REQUEST", to_client = false, fields = {
		{ "endpoint_id", "GUID", 8, 16, "GUID", "" },
		{ "service_id", "GUID", 24, 16, "GUID", "" },
		{ "silo_id", "GUID", 40, 16, "GUID", "" },
	} },
	[22] = { name = "MODIFY_CHANNEL", to_client = false, fields = {
		{ "channel_id", "U32", 8, 4, "DEC", "" },
		{ "target_vp", "U32", 12, 4, "VP", "" },
	} },
	[23] = { name = "TL_CONNECT_REQUEST_RESULT", to_client = true, fields = {
		{ "endpoint_id", "GUID", 8, 16, "GUID", "" },
		{ "service_id", "GUID", 24, 16, "GUID", "" },
		{ "status", "U32", 40, 4, "STATUS", "" },
	} },
	[24] = { name = "MODIFY_CHANNEL_RESPONSE", to_client = true, fields = {
		{ "channel_id", "U32", 8, 4, "DEC", "" },
		{ "status", "U32", 12, 4, "STATUS", "" },
	} },
	[25] = { name = "MODIFY_CONNECTION", to_client = false, fields = {
		{ "monitor_parent_to_child", "U64", 8, 8, "HEX", "" },
		{ "monitor_child_to_parent", "U64", 16, 8, "HEX", "" },
	} },
	[26] = { name = "MODIFY_CONNECTION_RESPONSE", to_client = true, fields = {
		{ "state", "U8", 8, 1, "STATE", "" },
	} },
	[27] = { name = "PAUSE", to_client = false, fields = {} },
	[28] = { name = "PAUSE_RESPONSE", to_client = true, fields = {} },
	[29] = { name = "RESUME", to_client = false, fields = {} },
}

local feature_bits = {
	{ 0x1, "guest-signal" },
	{ 0x2, "redirect" },
	{ 0x4, "modify-connection" },
	{ 0x8, "client-id" },
	{ 0x10, "confidential" },
	{ 0x20, "pause" },
	{ 0x40, "server-monitor" },
	{ 0x80, "pinning" },
}

local offer_flag_bits = {
	{ 0x1, "device-interface" },
	{ 0x2, "encrypted-ring" },
	{ 0x4, "encrypted-memory" },
	{ 0x8, "pinned-memory" },
	{ 0x10, "pipe" },
	{ 0x100, "loopback" },
	{ 0x200, "parent" },
	{ 0x400, "monitor-requested" },
	{ 0x2000, "hvsock" },
}

local open_flag_bits = {
	{ 0x1, "redirect" },
}

local status_names = {
	[0x0] = "success",
	[0x8000ffff] = "failure",
	[0xc0000236] = "connection refused",
}

local state_names = {
	[0x0] = "success",
	[0x1] = "low resources",
	[0x2] = "failure",
}

local packet_type_names = {
	[0x6] = "in-band",
	[0x7] = "transfer-pages",
	[0x9] = "GPA-direct",
	[0xb] = "completion",
	[0x1] = "synch",
	[0x2] = "add transfer page set",
	[0x3] = "remove transfer page set",
	[0x4] = "establish GPADL",
	[0x5] = "tear down GPADL",
	[0x8] = "data using GPADL",
	[0xa] = "cancel request",
	[0xc] = "additional packets",
	[0xd] = "additional data",
}

local pipe_type_names = {
	[0x1] = "data",
	[0x2] = "partial",
	[0x3] = "GPA-direct setup",
	[0x4] = "GPA-direct teardown",
	[0x5] = "indication complete",
}

local interface_names = {
	["f8615163-df3e-46c5-913f-f2d2f965ed0e"] = "network",
	["ba6163d9-04a1-4d29-b605-72e2ffb1dc7f"] = "SCSI",
	["32412632-86cb-44a2-9b5c-50d1417354f5"] = "IDE",
	["2f9bcc4a-0069-4af3-b76b-6fd0be528cda"] = "fibre channel",
	["8c2eaf3d-32a7-4b09-ab99-bd1f1c86b501"] = "network direct",
	["44c4f61d-4444-4400-9d52-802e27ede19f"] = "PCI",
	["da0a7802-e377-4aac-8e77-0558eb1073f8"] = "video",
	["f912ad6d-2b17-48ea-bd65-f927a61c7684"] = "keyboard",
	["cfa8b69e-5b4a-4cc0-b98b-8ba1a1f3f95a"] = "mouse",
	["57164f39-9115-4e78-ab55-382f3bd5422d"] = "heartbeat",
	["a9a0f4e7-5a45-4d96-b827-8a841e8c03e6"] = "key-value pairs",
	["0e0b6031-5213-4934-818b-38d90ced39db"] = "shutdown",
	["9527e630-d0ae-497b-adce-e80ab0175caf"] = "time sync",
	["35fa2e29-ea23-4236-96ae-3a6ebacba440"] = "backup",
	["34d14be3-dee4-41c8-9ae7-6b174977c192"] = "file copy",
	["525074dc-8985-46e2-8057-a307dc18a502"] = "dynamic memory",
	["8b60ccf6-709f-4c11-90b5-229c959a9e6a"] = "serial",
	["8dedd1aa-9056-49e4-bfd6-1bf90dc38ef0"] = "GET",
	["c376c1c3-d276-48d2-90a9-c04748072c60"] = "vmbfs",
	["276aacf4-ac15-426c-98dd-7521ad3f01fe"] = "remote desktop",
	["f8e65716-3cb3-4a06-9a60-1889c5cccab5"] = "RD control",
	["f9e9c0d3-b511-4a48-8046-d38079a8830c"] = "RD data",
	["3375baf4-9e15-4b30-b765-67acb10d607b"] = "activation",
	["8d7f2a6e-4c0b-4f2e-9a53-6b1c0e5d9f01"] = "echo",
}

local versions = {
	[0x0000000d] = "0.13",
	[0x00010001] = "1.1",
	[0x00020004] = "2.4",
	[0x00030000] = "3.0",
	[0x00040000] = "4.0",
	[0x00040001] = "4.1",
	[0x00050000] = "5.0",
	[0x00050001] = "5.1",
	[0x00050002] = "5.2",
	[0x00050003] = "5.3",
	[0x00060000] = "6.0",
}
-- The end of the tables.

local HEADER = 32
local KIND_MESSAGE, KIND_PACKET, KIND_SIGNAL = 1, 2, 3
local INITIATE_CONTACT, GPADL_BODY, OFFER_CHANNEL = 14, 9, 1
local PACKET_TRANSFER_PAGES, PACKET_GPA_DIRECT, PACKET_COMPLETION = 7, 9, 11
local VERSION_5_0 = 0x00050000

---- fields ----

local f = {}

local kind_names = { "control message", "ring packet", "signal" }
local direction_names = { [0] = "to server", [1] = "to client" }
local end_names = { [0] = "server", [1] = "client" }

local function field(name, make, ...)
	f[name] = make("vmbus." .. name, ...)
end

field("header_length", ProtoField.uint8, "Pseudo-header length")
field("kind", ProtoField.uint8, "Kind", base.DEC, kind_names)
field("direction", ProtoField.uint8, "Direction", base.DEC, direction_names)
field("end", ProtoField.uint8, "Recorded by", base.DEC, end_names)
field("record_flags", ProtoField.uint16, "Record flags", base.HEX)
field("record_flags.repeated", ProtoField.bool, "Made before the capture", 16, nil, 0x1)
field("record_flags.refused", ProtoField.bool, "Refused by its reader", 16, nil, 0x2)
field("record_flags.pipe", ProtoField.bool, "Pipe", 16, nil, 0x4)
field("record_flags.monitor", ProtoField.bool, "In a monitor page", 16, nil, 0x8)
field("record_flags.shared", ProtoField.bool, "In the interrupt page", 16, nil, 0x10)
field("synic.sint", ProtoField.uint8, "SINT")
field("synic.connection_id", ProtoField.uint32, "Connection", base.HEX)
field("synic.vp", ProtoField.uint32, "VP")
field("synic.event_flag", ProtoField.uint16, "Event flag")
field("channel", ProtoField.uint32, "Channel")
field("interface", ProtoField.string, "Interface")

field("type", ProtoField.uint32, "Message type")
field("name", ProtoField.string, "Message")
field("message_reserved", ProtoField.uint32, "Reserved", base.HEX)

field("packet.type", ProtoField.uint16, "Packet type", base.HEX, packet_type_names)
field("packet.offset8", ProtoField.uint16, "Payload at, in 8 bytes")
field("packet.length8", ProtoField.uint16, "Length, in 8 bytes")
field("packet.flags", ProtoField.uint16, "Flags", base.HEX)
field("packet.flags.completion", ProtoField.bool, "Wants a completion", 16, nil, 0x1)
field("packet.transaction_id", ProtoField.uint64, "Transaction", base.HEX)
field("packet.request_in", ProtoField.framenum, "Request in", base.NONE, frametype.REQUEST)
field("packet.completion_in", ProtoField.framenum, "Completed in", base.NONE, frametype.RESPONSE)
field("packet.extra_reserved", ProtoField.bytes, "Reserved")
field("packet.payload", ProtoField.bytes, "Payload, padded")
field("packet.range_count", ProtoField.uint32, "Ranges")
field("packet.set", ProtoField.uint16, "Transfer page set")

field("range", ProtoField.bytes, "Range")
field("range.byte_count", ProtoField.uint32, "Bytes")
field("range.byte_offset", ProtoField.uint32, "Offset")
field("range.pfn", ProtoField.uint64, "Page", base.HEX)

field("pipe.type", ProtoField.uint32, "Pipe packet", base.DEC, pipe_type_names)
field("pipe.length", ProtoField.uint32, "Length")
field("pipe.data", ProtoField.bytes, "Data")

-- One field for each of the messages' fields: a name has one meaning wherever it is.
local function label(name)
	local text = name:gsub("_", " "):gsub("^%l", string.upper)
	return (text:gsub("gpadl", "GPADL"):gsub("Gpadl", "GPADL"):gsub("vp$", "VP"):gsub("sint$", "SINT")
		:gsub("^Vtl", "VTL"):gsub("^Sint", "SINT"):gsub("^Mmio", "MMIO"))
end

local function number_field(name, size, format)
	local make = ({ ProtoField.uint8, ProtoField.uint16, [4] = ProtoField.uint32,
		[8] = ProtoField.uint64 })[size]
	local shown = base.DEC
	local values = nil

	if format == "STATUS" then
		shown, values = base.HEX, status_names
	elseif format == "STATE" then
		values = state_names
	elseif format == "HEX" or format:find("FLAGS") or format == "FEATURES" then
		shown = base.HEX
	elseif format == "VERSION" or format == "SELECTED" then
		shown, values = base.HEX, versions
	end
	field(name, make, label(name), shown, values)
end

local function declare(name, kind, size, format)
	if f[name] then
		return
	end
	if format == "GUID" then
		field(name, ProtoField.guid, label(name))
	elseif format == "BYTES" or format == "RANGES" then
		field(name, ProtoField.bytes, label(name))
	else
		number_field(name, size, format)
	end
end

local flag_bits = {
	FEATURES = { "features", feature_bits, 32 },
	OFFER_FLAGS = { "flags", offer_flag_bits, 16 },
	OPEN_FLAGS = { "open_flags", open_flag_bits, 16 },
}

for _, message in pairs(messages) do
	for _, row in ipairs(message.fields) do
		declare(row[1], row[2], row[4], row[5])
	end
end
for _, flags in pairs(flag_bits) do
	for _, bit_name in ipairs(flags[2]) do
		field(flags[1] .. "." .. bit_name[2]:gsub("-", "_"), ProtoField.bool,
			label((bit_name[2]:gsub("-", " "))), flags[3], nil, bit_name[1])
	end
end

local all = {}
for _, one in pairs(f) do
	all[#all + 1] = one
end
vmbus.fields = all

local expert = {
	unknown = ProtoExpert.new("vmbus.unknown", "Unknown", expert.group.UNDECODED,
		expert.severity.WARN),
	malformed = ProtoExpert.new("vmbus.malformed", "Malformed", expert.group.MALFORMED,
		expert.severity.ERROR),
	direction = ProtoExpert.new("vmbus.wrong_direction", "Goes the other way",
		expert.group.PROTOCOL, expert.severity.WARN),
	refused = ProtoExpert.new("vmbus.refused", "Refused by its reader",
		expert.group.PROTOCOL, expert.severity.WARN),
	failed = ProtoExpert.new("vmbus.failed", "The server refused", expert.group.RESPONSE_CODE,
		expert.severity.NOTE),
}
vmbus.experts = { expert.unknown, expert.malformed, expert.direction, expert.refused, expert.failed }

---- what earlier records told ----

-- By frame, so that it stays true whatever is looked at first, and again.
local interfaces = {} -- channel id: { { frame, name }, ... }
local requests = {}   -- key: { frames }
local answers = {}    -- frame: frame, both ways

function vmbus.init()
	interfaces, requests, answers = {}, {}, {}
end

local function learn_interface(channel, guid, frame)
	local list = interfaces[channel] or {}

	interfaces[channel] = list
	list[#list + 1] = { frame, interface_names[guid] or guid }
end

local function interface_of(channel, frame)
	local found = nil

	for _, entry in ipairs(interfaces[channel] or {}) do
		if entry[1] <= frame then
			found = entry[2]
		end
	end
	return found
end

-- A completion answers the latest open request of its id that went the other way.
local function match(record, id, frame, completion)
	local asked = completion and 1 - record.direction or record.direction
	local key = record.channel .. "/" .. asked .. "/" .. id

	if not completion then
		requests[key] = frame
	elseif requests[key] then
		answers[frame] = requests[key]
		answers[requests[key]] = frame
		requests[key] = nil
	end
end

---- pieces ----

local function guid_text(range)
	local last = range:range(8, 8):bytes():tohex():lower()

	return string.format("%08x-%04x-%04x-%s-%s", range:range(0, 4):le_uint(),
		range:range(4, 2):le_uint(), range:range(6, 2):le_uint(), last:sub(1, 4), last:sub(5))
end

-- The part of `tvb` that is there.
local function rest(tvb, at)
	return tvb:range(at, tvb:len() - at)
end

local function add_pages(tree, tvb, at, count)
	for i = 0, count - 1 do
		tree:add_le(f["range.pfn"], tvb:range(at + 8 * i, 8))
	end
end

-- Ranges that begin at `at` and end before `last`. What is cut off is left out.
local function add_ranges(tree, tvb, at, last)
	while at + 8 <= last do
		local bytes, offset = tvb:range(at, 4):le_uint(), tvb:range(at + 4, 4):le_uint()
		local pages = math.floor((bytes + offset + 4095) / 4096)
		local kept = math.min(pages, math.floor((last - at - 8) / 8))
		local item = tree:add(f["range"], tvb:range(at, 8 + 8 * kept))

		item:set_text(string.format("Range: %u bytes at 0x%x of %u pages", bytes, offset, pages))
		item:add_le(f["range.byte_count"], tvb:range(at, 4))
		item:add_le(f["range.byte_offset"], tvb:range(at + 4, 4))
		add_pages(item, tvb, at + 8, kept)
		at = at + 8 + 8 * kept
	end
end

local function add_flags(tree, format, range)
	local flags = flag_bits[format]
	local item = tree:add_le(f[flags[1]], range)

	for _, bit_name in ipairs(flags[2]) do
		item:add_le(f[flags[1] .. "." .. bit_name[2]:gsub("-", "_")], range)
	end
end

---- control messages ----

-- From 5.0 on SINT, VTL and features are where the interrupt page's address was.
local function means_another(type, row, tvb)
	local at = row[3]

	if type ~= INITIATE_CONTACT or at < 16 or at >= 24 then
		return false
	end
	return (tvb:range(8, 4):le_uint() >= VERSION_5_0) ~= (row[2] == "VIEW")
end

local function add_field(tree, row, tvb, type)
	local name, at, size, format, unit = row[1], row[3], row[4], row[5], row[6]
	local range, item

	if row[2] == "REST" then
		if tvb:len() <= at then
			return
		end
		item = tree:add(f[name], rest(tvb, at))
		if type == GPADL_BODY then
			add_pages(item, tvb, at, math.floor((tvb:len() - at) / 8))
		else
			add_ranges(item, tvb, at, tvb:len())
		end
		return
	end
	range = tvb:range(at, size)
	if flag_bits[format] then
		add_flags(tree, format, range)
		return
	end
	if format == "BYTES" then
		tree:add(f[name], range)
		return
	end
	item = tree:add_le(f[name], range)
	if unit ~= "" then
		item:append_text(" " .. unit)
	elseif format == "GUID" and interface_names[guid_text(range)] then
		item:append_text(" (" .. interface_names[guid_text(range)] .. ")")
	elseif format == "STATUS" and range:le_uint() ~= 0 then
		item:add_proto_expert_info(expert.failed)
	end
end

-- The offset of a field of the message; nil: it has none of that name.
local function offset_of(message, name)
	for _, row in ipairs(message.fields) do
		if row[1] == name then
			return row[3]
		end
	end
	return nil
end

local function describe_message(message, type, tvb, record, pinfo)
	local at = offset_of(message, "channel_id")
	local text = message.name

	if type == OFFER_CHANNEL and tvb:len() >= 188 and not pinfo.visited then
		learn_interface(tvb:range(184, 4):le_uint(), guid_text(tvb:range(8, 16)), pinfo.number)
	end
	if at and tvb:len() >= at + 4 then
		local channel = tvb:range(at, 4):le_uint()
		local name = interface_of(channel, pinfo.number)

		text = text .. " channel " .. channel .. (name and " (" .. name .. ")" or "")
		record.named = channel
	end
	return text
end

local function dissect_message(tvb, pinfo, tree, record)
	local type, message, item

	if tvb:len() < 8 then
		tree:add_proto_expert_info(expert.malformed, "Shorter than a message's head")
		return "Malformed message"
	end
	type = tvb:range(0, 4):le_uint()
	message = messages[type]
	item = tree:add_le(f["type"], tvb:range(0, 4))
	if not message then
		item:add_proto_expert_info(expert.unknown, "Unknown message")
		return "Unknown message " .. type
	end
	item:append_text(" (" .. message.name .. ")")
	tree:add(f["name"], tvb:range(0, 4), message.name)
	tree:add_le(f["message_reserved"], tvb:range(4, 4))
	if message.to_client ~= (record.direction == 1) then
		item:add_proto_expert_info(expert.direction)
	end
	for _, row in ipairs(message.fields) do
		if row[3] + row[4] <= tvb:len() and not (row[3] >= 16 and means_another(type, row, tvb)) then
			add_field(tree, row, tvb, type)
		end
	end
	return describe_message(message, type, tvb, record, pinfo)
end

---- packets ----

local function dissect_extra(tvb, tree, type, last)
	if type == PACKET_GPA_DIRECT and last >= 24 then
		tree:add(f["packet.extra_reserved"], tvb:range(16, 4))
		tree:add_le(f["packet.range_count"], tvb:range(20, 4))
		add_ranges(tree, tvb, 24, last)
	elseif type == PACKET_TRANSFER_PAGES and last >= 24 then
		tree:add_le(f["packet.set"], tvb:range(16, 2))
		tree:add(f["packet.extra_reserved"], tvb:range(18, 2))
		tree:add_le(f["packet.range_count"], tvb:range(20, 4))
		for at = 24, last - 8, 8 do
			local item = tree:add(f["range"], tvb:range(at, 8))

			item:add_le(f["range.byte_count"], tvb:range(at, 4))
			item:add_le(f["range.byte_offset"], tvb:range(at + 4, 4))
		end
	elseif last > 16 then
		tree:add(f["packet.extra_reserved"], tvb:range(16, last - 16))
	end
end

local function dissect_pipe(tvb, tree)
	local type = tvb:range(0, 4):le_uint()
	local item = tree:add_le(f["pipe.type"], tvb:range(0, 4))

	if not pipe_type_names[type] then
		item:add_proto_expert_info(expert.unknown, "Unknown pipe packet")
	end
	tree:add_le(f["pipe.length"], tvb:range(4, 4))
	if tvb:len() > 8 then
		tree:add(f["pipe.data"], rest(tvb, 8))
	end
	return string.format(", pipe %s", pipe_type_names[type] or type)
end

local function dissect_payload(tvb, tree, record)
	if tvb:len() == 0 then
		return ""
	end
	tree:add(f["packet.payload"], tvb:range(0, tvb:len()))
	if record.pipe and tvb:len() >= 8 then
		return dissect_pipe(tvb, tree)
	end
	return ""
end

local function link(tree, frame, completion)
	if answers[frame] then
		tree:add(f[completion and "packet.request_in" or "packet.completion_in"],
			answers[frame]):set_generated()
	end
end

local function dissect_descriptor(tvb, pinfo, tree, record)
	local type, flags = tvb:range(0, 2):le_uint(), tvb:range(6, 2):le_uint()
	local wanted = flags % 2 == 1
	local item = tree:add_le(f["packet.type"], tvb:range(0, 2))

	if not packet_type_names[type] then
		item:add_proto_expert_info(expert.unknown, "Unknown packet")
	end
	tree:add_le(f["packet.offset8"], tvb:range(2, 2))
	tree:add_le(f["packet.length8"], tvb:range(4, 2))
	item = tree:add_le(f["packet.flags"], tvb:range(6, 2))
	item:add_le(f["packet.flags.completion"], tvb:range(6, 2))
	tree:add_le(f["packet.transaction_id"], tvb:range(8, 8))
	if type == PACKET_COMPLETION or wanted then
		if not pinfo.visited then
			match(record, tostring(tvb:range(8, 8):le_uint64()), pinfo.number,
				type == PACKET_COMPLETION)
		end
		link(tree, pinfo.number, type == PACKET_COMPLETION)
	end
	return type, wanted
end

local function dissect_packet(tvb, pinfo, tree, record)
	local name = interface_of(record.channel, pinfo.number)
	local type, wanted, offset, text

	if tvb:len() < 16 then
		tree:add_proto_expert_info(expert.malformed, "Shorter than a descriptor")
		return "Malformed packet"
	end
	type, wanted = dissect_descriptor(tvb, pinfo, tree, record)
	offset = tvb:range(2, 2):le_uint() * 8
	if record.refused then
		tree:add_proto_expert_info(expert.refused)
	elseif offset < 16 then
		tree:add_proto_expert_info(expert.malformed, "The payload begins in the descriptor")
		offset = 16
	end
	offset = math.min(offset, tvb:len())
	dissect_extra(tvb, tree, type, offset)
	text = offset < tvb:len() and dissect_payload(tvb:range(offset):tvb(), tree, record) or ""
	return string.format("channel %u%s: %s, transaction 0x%s%s%s", record.channel,
		name and " (" .. name .. ")" or "", packet_type_names[type] or "unknown packet",
		tvb:range(8, 8):le_uint64():tohex(), wanted and ", wants completion" or "", text)
end

---- records ----

local function dissect_header(tvb, tree, record)
	local flags
	local header = tree:add(tvb:range(0, record.header), "Pseudo-header")

	header:add(f["header_length"], tvb:range(4, 1))
	header:add(f["kind"], tvb:range(5, 1))
	header:add(f["direction"], tvb:range(6, 1))
	header:add(f["end"], tvb:range(7, 1))
	flags = header:add_le(f["record_flags"], tvb:range(8, 2))
	for _, name in ipairs({ "repeated", "refused", "pipe", "monitor", "shared" }) do
		flags:add_le(f["record_flags." .. name], tvb:range(8, 2))
	end
	if record.kind ~= KIND_MESSAGE then
		header:add_le(f["channel"], tvb:range(12, 4))
	end
	if record.kind == KIND_PACKET then
		return
	end
	if record.direction == 0 then
		header:add_le(f["synic.connection_id"], tvb:range(16, 4))
		return
	end
	header:add(f["synic.sint"], tvb:range(10, 1))
	header:add_le(f["synic.vp"], tvb:range(20, 4))
	if record.kind == KIND_SIGNAL then
		header:add_le(f["synic.event_flag"], tvb:range(24, 2))
	end
end

local function dissect_signal(record)
	return string.format("Signal for channel %u %s", record.channel,
		record.direction ~= record.by and "sent" or "taken")
end

local function take_header(tvb)
	local flags = tvb:range(8, 2):le_uint()

	return {
		header = tvb:range(4, 1):uint(),
		kind = tvb:range(5, 1):uint(),
		direction = tvb:range(6, 1):uint() % 2,
		by = tvb:range(7, 1):uint() % 2,
		refused = math.floor(flags / 2) % 2 == 1,
		pipe = math.floor(flags / 4) % 2 == 1,
		channel = tvb:range(12, 4):le_uint(),
	}
end

local dissectors = {
	[KIND_MESSAGE] = dissect_message,
	[KIND_PACKET] = dissect_packet,
}

local function dissect_body(tvb, pinfo, tree, record)
	if record.kind == KIND_SIGNAL then
		return dissect_signal(record)
	end
	if not dissectors[record.kind] then
		tree:add_proto_expert_info(expert.unknown, "Unknown kind of record")
		return "Unknown record"
	end
	if tvb:len() == record.header then
		tree:add_proto_expert_info(expert.malformed, "Nothing behind the pseudo-header")
		return "Malformed record"
	end
	return dissectors[record.kind](tvb:range(record.header):tvb(), pinfo, tree, record)
end

function vmbus.dissector(tvb, pinfo, root)
	local record, tree, channel, name

	if tvb:len() < HEADER or tvb:range(0, 4):string() ~= "VMB1" then
		return 0
	end
	record = take_header(tvb)
	if record.header < HEADER or record.header > tvb:len() then
		return 0
	end
	pinfo.cols.protocol = "VMBus"
	pinfo.cols.src = record.direction == 0 and "client" or "server"
	pinfo.cols.dst = record.direction == 0 and "server" or "client"
	tree = root:add(vmbus, tvb())
	dissect_header(tvb, tree, record)
	pinfo.cols.info = dissect_body(tvb, pinfo, tree, record)
	channel = record.named or (record.kind ~= KIND_MESSAGE and record.channel)
	name = channel and interface_of(channel, pinfo.number)
	if name then
		tree:add(f["interface"], name):set_generated()
	end
	return tvb:len()
end

DissectorTable.get("wtap_encap"):add((wtap_encaps or wtap).USER0, vmbus)
