/* SPDX-License-Identifier: MIT */
#include "control.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <kmcl/kmcl.h>

#include "kmcl.h"

#define LINE_BYTES    65536u
#define MOST_CHANNELS 4096u
#define PATIENCE_MS   10000
#define IN_TURN_MS    1000 /* for a client that says nothing while another waits */
#define RETRY_MS      50

struct control {
	char *path;
	int listener, wake;
	bool bound, running;
	pthread_t thread;
	atomic_bool stop;
	control_answer *answer;
	void *ctx;
};

json_t *control_error(const char *format, ...)
{
	va_list args;
	json_t *text;

	va_start(args, format);
	text = json_vsprintf(format, args);
	va_end(args);
	return json_pack("{s:o}", "error", text);
}

static json_t *channel_json(const struct kmcl_channel_stats *s)
{
	return json_pack("{s:s,s:I,s:b,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}",
			 "name", s->name, "channel", (json_int_t)s->channel_id, "server",
			 (int)s->server, "packets_sent", (json_int_t)s->packets_sent, "bytes_sent",
			 (json_int_t)s->bytes_sent, "packets_received",
			 (json_int_t)s->packets_received, "bytes_received",
			 (json_int_t)s->bytes_received, "signals_sent", (json_int_t)s->signals_sent,
			 "signals_saved", (json_int_t)s->signals_saved, "no_room",
			 (json_int_t)s->no_room, "dropped_completions",
			 (json_int_t)s->dropped_completions, "bounced", (json_int_t)s->bounced,
			 "outstanding_in", (json_int_t)s->outstanding_in, "outstanding_out",
			 (json_int_t)s->outstanding_out, "queued", (json_int_t)s->queued, "state",
			 (json_int_t)s->state);
}

json_t *control_channels(kmcl_partition *partition)
{
	struct kmcl_channel_stats *stats = calloc(MOST_CHANNELS, sizeof(*stats));
	json_t *list = json_array();
	size_t count = stats ? kmcl_partition_stats(partition, stats, MOST_CHANNELS) : 0;

	for (size_t i = 0; i < count && i < MOST_CHANNELS; i++)
		json_array_append_new(list, channel_json(&stats[i]));
	free(stats);
	return list;
}

/* ---- answering ---- */

static json_t *answer_line(struct control *c, const char *line, size_t size)
{
	json_error_t error;
	json_t *request = json_loadb(line, size, 0, &error);
	const char *command = json_string_value(json_object_get(request, "command"));
	json_t *answer;

	if (!request)
		return control_error("not JSON: %s", error.text);
	answer = command ? c->answer(c->ctx, command, request)
			 : control_error("a request is an object with a \"command\"");
	json_decref(request);
	return answer;
}

/* False: in vain, or `wake` says that it is over. */
static bool wait_for(int fd, short events, int wake, int timeout_ms)
{
	struct pollfd fds[2] = {{.fd = fd, .events = events}, {.fd = wake, .events = POLLIN}};

	return poll(fds, 2, timeout_ms) > 0 && !fds[1].revents;
}

static bool send_all(int fd, int wake, const char *text, size_t size)
{
	while (size) {
		ssize_t sent = send(fd, text, size, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0 && (errno != EAGAIN || !wait_for(fd, POLLOUT, wake, PATIENCE_MS)))
			return false;
		if (sent > 0) {
			text += sent;
			size -= (size_t)sent;
		}
	}
	return true;
}

/* `wake` may be -1. */
static bool send_line(int fd, int wake, json_t *answer)
{
	char *text = json_dumps(answer, JSON_COMPACT);
	bool sent = text && send_all(fd, wake, text, strlen(text)) && send_all(fd, wake, "\n", 1);

	free(text);
	json_decref(answer);
	return sent;
}

/* A client may take its time while nobody else wants to be heard. False: it is over. */
static bool wait_to_read(const struct control *c, int fd)
{
	struct pollfd fds[3] = {{.fd = fd, .events = POLLIN},
				{.fd = c->wake, .events = POLLIN},
				{.fd = c->listener, .events = POLLIN}};

	if (poll(fds, 3, -1) < 0 || fds[1].revents)
		return false;
	return fds[0].revents || wait_for(fd, POLLIN, c->wake, IN_TURN_MS);
}

/* Reads a line into `line`, without its end. -1: none comes, or it is too long. */
static ssize_t read_line(const struct control *c, int fd, char *line, size_t room)
{
	size_t used = 0;

	while (used < room) {
		ssize_t got;
		char *end;

		if (!wait_to_read(c, fd))
			return -1;
		got = recv(fd, line + used, room - used, MSG_DONTWAIT);
		if (got <= 0)
			return -1;
		end = memchr(line + used, '\n', (size_t)got);
		if (end)
			return end - line;
		used += (size_t)got;
	}
	return -1;
}

/* One request a line, one line at a time: what follows a line in the same packet is dropped. */
static void serve_client(struct control *c, int fd, char *line)
{
	ssize_t size;

	while ((size = read_line(c, fd, line, LINE_BYTES)) >= 0)
		if (!send_line(fd, c->wake, answer_line(c, line, (size_t)size)))
			return;
}

static void *serve(void *arg)
{
	struct control *c = arg;
	char *line = malloc(LINE_BYTES);

	while (line && !atomic_load(&c->stop)) {
		struct pollfd fds[2] = {{.fd = c->listener, .events = POLLIN},
					{.fd = c->wake, .events = POLLIN}};
		int fd;

		if (poll(fds, 2, -1) < 0 || !fds[0].revents)
			continue;
		fd = accept4(c->listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0) {
			/* Out of descriptors, say: the client stays where it is. */
			poll(&fds[1], 1, RETRY_MS);
			continue;
		}
		serve_client(c, fd, line);
		close(fd);
	}
	free(line);
	return NULL;
}

/* ---- life ---- */

static bool set_address(struct sockaddr_un *address, const char *path)
{
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	if (strlen(path) < sizeof(address->sun_path)) {
		strcpy(address->sun_path, path);
		return true;
	}
	complain("%s: %s", path, strerror(ENAMETOOLONG));
	return false;
}

/* What a socket of the same name has left is replaced; nothing else is. */
static bool clear_path(const char *path)
{
	struct stat there;

	if (lstat(path, &there) || (S_ISSOCK(there.st_mode) && !unlink(path)))
		return true;
	complain("%s: %s", path, strerror(S_ISSOCK(there.st_mode) ? errno : EEXIST));
	return false;
}

static bool listen_at(struct control *c)
{
	struct sockaddr_un address;
	mode_t mask;

	if (!set_address(&address, c->path) || !clear_path(c->path))
		return false;
	c->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	mask = umask(0177);
	c->bound = c->listener >= 0 && c->wake >= 0 &&
		   !bind(c->listener, (struct sockaddr *)&address, sizeof(address));
	umask(mask);
	if (c->bound && !listen(c->listener, 4))
		return true;
	complain("%s: %s", c->path, strerror(errno));
	return false;
}

static void release(struct control *c)
{
	if (c->bound)
		unlink(c->path);
	if (c->listener >= 0)
		close(c->listener);
	if (c->wake >= 0)
		close(c->wake);
	free(c->path);
	free(c);
}

struct control *control_open(const char *path, control_answer *answer, void *ctx)
{
	struct control *c = calloc(1, sizeof(*c));

	if (!c) {
		complain("out of memory");
		return NULL;
	}
	c->path = strdup(path);
	c->listener = c->wake = -1;
	c->answer = answer;
	c->ctx = ctx;
	if (c->path && listen_at(c))
		return c;
	release(c);
	return NULL;
}

bool control_run(struct control *c)
{
	int error = pthread_create(&c->thread, NULL, serve, c);

	c->running = !error;
	if (error)
		complain("%s: %s", c->path, strerror(error));
	return !error;
}

struct control *control_start(const char *path, control_answer *answer, void *ctx)
{
	struct control *c = control_open(path, answer, ctx);

	if (!c || control_run(c))
		return c;
	release(c);
	return NULL;
}

void control_stop(struct control *c)
{
	uint64_t one = 1;

	if (!c)
		return;
	atomic_store(&c->stop, true);
	if (c->running && write(c->wake, &one, sizeof(one)) == sizeof(one))
		pthread_join(c->thread, NULL);
	release(c);
}

/* ---- asking ---- */

static char *read_answer(int fd)
{
	FILE *in = fdopen(fd, "r");
	char *line = NULL;
	size_t room = 0;

	if (!in) {
		close(fd);
		return NULL;
	}
	if (getline(&line, &room, in) <= 0) {
		free(line);
		line = NULL;
	}
	fclose(in);
	return line;
}

json_t *control_ask(const char *path, json_t *request)
{
	struct sockaddr_un address;
	json_t *answer = NULL;
	char *line = NULL;
	int fd;

	if (!set_address(&address, path)) {
		json_decref(request);
		return NULL;
	}
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		complain("%s: %s", path, strerror(errno));
		json_decref(request);
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	if (send_line(fd, -1, request))
		line = read_answer(fd);
	else
		close(fd);
	answer = line ? json_loads(line, 0, NULL) : NULL;
	free(line);
	if (!answer)
		complain("%s: no answer", path);
	return answer;
}
