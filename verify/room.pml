/* SPDX-License-Identifier: MIT */
/*
 * "There is room": a writer that blocks on a full ring against a reader that gives back space
 * (vmbus_ring_writer_block() and vmbus_ring_release()). Sizes are in units; the ring holds ROOM.
 */
#include "tso.h"

#define TOTAL 6
#define ROOM  3

#define IN      0
#define OUT     1
#define PENDING 3

#define WRITER queue_0
#define READER queue_1

byte asked, signals;

proctype write()
{
	byte in, out, need;

	do
	:: in == TOTAL -> break
	:: in < TOTAL ->
		if /* packets of one and of two units */
		:: need = 1
		:: in + 2 <= TOTAL -> need = 2
		fi;
		do
		:: ROOM - (in - out) >= need -> break
		:: else ->
			out = LOAD(OUT);
			if
			:: ROOM - (in - out) >= need -> break
			:: else
			fi;
			asked++;
			STORE(WRITER, PENDING, need);
#ifndef NO_WRITERS_FENCE
			FENCE(WRITER);
#endif
#ifndef NO_RECHECK
			out = LOAD(OUT);
#endif
			if
			:: ROOM - (in - out) >= need -> STORE(WRITER, PENDING, 0)
			:: else -> WAIT(0)
			fi
		od;
		in = in + need;
		STORE(WRITER, PENDING, 0);
		STORE(WRITER, IN, in);
		FENCE(WRITER) /* that of the publish */
	od
}

proctype read()
{
	byte in, out, old, pending;

	do
	:: out == TOTAL -> break
	:: out < TOTAL ->
		atomic { LOAD(IN) != out -> in = LOAD(IN) }; /* it polls and never sleeps */
		old = out;
		out++;
		if /* everything at once, or one unit */
		:: out = in
		:: true
		fi;
		STORE(READER, OUT, out);
#ifndef NO_READERS_FENCE
		FENCE(READER);
#endif
		pending = LOAD(PENDING);
		in = LOAD(IN);
		if
		:: pending != 0 && ROOM - (in - old) < pending && ROOM - (in - out) >= pending ->
			signals++;
			SIGNAL(0)
		:: else
		fi
	od;
	/* one for each need, and one for a need that was withdrawn while its release was under way */
	assert(signals <= 2 * asked)
}

init {
	atomic {
		run drain(WRITER);
		run drain(READER);
		run write();
		run read()
	}
}
