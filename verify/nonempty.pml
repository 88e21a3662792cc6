/* SPDX-License-Identifier: MIT */
/*
 * "Became non-empty": a writer that publishes against a reader that goes idle (vmbus_ring_publish()
 * and vmbus_ring_unmask()). Packets are counted, not stored.
 */
#include "tso.h"

#define PACKETS 4

#define IN   0
#define OUT  1
#define MASK 2

#define WRITER queue_0
#define READER queue_1

proctype write()
{
	byte in, old, mask, out;

	do
	:: in == PACKETS -> break
	:: in < PACKETS ->
		old = in;
		in++;
		if /* a batch of one or of two */
		:: in < PACKETS -> in++
		:: true
		fi;
		STORE(WRITER, IN, in);
#ifndef NO_WRITERS_FENCE
		FENCE(WRITER);
#endif
		mask = LOAD(MASK);
		out = LOAD(OUT);
		if
		:: mask == 0 && out == old ->
			SIGNAL(1)
		:: else
		fi
	od
}

proctype read()
{
	byte in, out;

	do
	:: out == PACKETS -> break
	:: out < PACKETS ->
		STORE(READER, MASK, 1);
		in = LOAD(IN);
		do
		:: in != out ->
			out++;
			STORE(READER, OUT, out);
			FENCE(READER); /* that of the release, before it loads pending */
			if
			:: in == out -> in = LOAD(IN)
			:: else
			fi
		:: in == out -> break
		od;
#ifdef RESET_EVENT_LATE
		skip;
#else
		event[1] = false;
#endif
		STORE(READER, MASK, 0);
#ifndef NO_READERS_FENCE
		FENCE(READER);
#endif
#ifdef NO_RECHECK
		skip;
#else
		in = LOAD(IN);
#endif
#ifdef RESET_EVENT_LATE
		event[1] = false;
#endif
		if
		:: in != out || out == PACKETS
		:: else -> WAIT(1)
		fi
	od
}

init {
	atomic {
		run drain(WRITER);
		run drain(READER);
		run write();
		run read()
	}
}
