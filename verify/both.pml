/* SPDX-License-Identifier: MIT */
/*
 * A channel: two endpoints, each of which fills its outgoing ring as far as it goes, then reads, then
 * sleeps on the one event that means both "not empty" and "room". Nothing polls.
 */
#include "tso.h"

#define ROOM 1

/* Words of the ring that endpoint 0 writes; those of the other ring follow. */
#define IN(ring)      0 + 4 * (ring)
#define OUT(ring)     1 + 4 * (ring)
#define MASK(ring)    2 + 4 * (ring)
#define PENDING(ring) 3 + 4 * (ring)

/* `sends` packets go out, `gets` come in. */
proctype endpoint(byte me; chan queue; byte sends; byte gets)
{
	byte in, out_seen; /* our outgoing ring: index, the peer's as last loaded */
	byte out, in_seen; /* our incoming ring */
	byte word;
	bool owed, blocked;

	do
	:: in == sends && out == gets -> break
	:: else ->
		/* write */
		blocked = false;
		do
		:: in == sends -> break
		:: in < sends && in - out_seen < ROOM ->
			if
			:: blocked -> STORE(queue, PENDING(me), 0)
			:: else
			fi;
			blocked = false;
			in++;
			STORE(queue, IN(me), in);
#ifndef NO_PUBLISH_FENCE
			FENCE(queue);
#endif
			word = LOAD(MASK(me));
			out_seen = LOAD(OUT(me));
			if
			:: word == 0 && out_seen == in - 1 ->
#ifdef HOLD_SIGNALS
				owed = true
#else
				SIGNAL(1 - me)
#endif
			:: else
			fi
		:: in < sends && in - out_seen >= ROOM && !blocked ->
			out_seen = LOAD(OUT(me));
			if
			:: in - out_seen < ROOM
			:: else ->
				blocked = true;
				STORE(queue, PENDING(me), 1);
#ifndef NO_BLOCK_FENCE
				FENCE(queue);
#endif
				out_seen = LOAD(OUT(me))
			fi
		:: in < sends && in - out_seen >= ROOM && blocked -> break
		od;
		/* read */
		STORE(queue, MASK(1 - me), 1);
		in_seen = LOAD(IN(1 - me));
		do
		:: in_seen != out ->
			out++;
			STORE(queue, OUT(1 - me), out);
#ifndef NO_RELEASE_FENCE
			FENCE(queue);
#endif
			word = LOAD(PENDING(1 - me));
			in_seen = LOAD(IN(1 - me));
			if /* free was less than pending before, and is not now */
			:: word != 0 && ROOM - (in_seen - (out - 1)) < word &&
			   ROOM - (in_seen - out) >= word -> SIGNAL(1 - me)
			:: else
			fi
		:: in_seen == out -> break
		od;
		STORE(queue, MASK(1 - me), 0);
#ifndef NO_UNMASK_FENCE
		FENCE(queue);
#endif
		in_seen = LOAD(IN(1 - me));
		/* sleep */
		if
		:: in_seen != out
		:: in == sends && out == gets
		:: else ->
			WAIT(me);
			if
			:: owed ->
				owed = false;
				SIGNAL(1 - me)
			:: else
			fi;
			out_seen = LOAD(OUT(me))
		fi
	od;
	if
	:: owed -> SIGNAL(1 - me)
	:: else
	fi
}

init {
	byte back;

	atomic {
		if
		:: back = 0
		:: back = 2
		fi;
		run drain(queue_0);
		run drain(queue_1);
		run endpoint(0, queue_0, 3, back);
		run endpoint(1, queue_1, back, 3)
	}
}
