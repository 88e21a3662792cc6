/* SPDX-License-Identifier: MIT */
/*
 * Two processors with store buffers, as x86 has them: a store waits in its processor's queue and
 * reaches memory some time later, in order; a load goes straight to memory; a fence waits until the
 * queue is empty. No process here loads what it stores itself, so nothing is forwarded.
 *
 * A process that waits for an event for ever is an invalid end state, which the verifier reports.
 */
#define STORES 4

byte mem[8];
chan queue_0 = [STORES] of { byte, byte };
chan queue_1 = [STORES] of { byte, byte };

#define STORE(queue, word, value) queue !word, value
#define LOAD(word)                mem[word]
#define FENCE(queue)              empty(queue)

proctype drain(chan queue)
{
	byte word, value;
end:
	do
		::atomic{queue ? word, value->mem[word] = value } od
}

/* An event is a bit: set by a signal, taken by whoever waits for it. */
bool event[2];

#define SIGNAL(who) event[who] = true
#define WAIT(who)                              \
	atomic                                 \
	{                                      \
		event[who]->event[who] = false \
	}
