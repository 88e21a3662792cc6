/* SPDX-License-Identifier: MIT */
/*
 * A host that serves a socket. Drivers are loaded once; each guest that connects is a partition,
 * for which every driver gets a device. One thread accepts, and buries connections that are over.
 *
 * Drivers may be in processes of their own. Then the host that serves the socket has none, and each
 * process serves a feed: a socket on which it is handed a connection for each guest.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "host/internal.h"
#include "kmcl/user.h"
#include "partition/internal.h"
#include "partition/user.h"
#include "partition/user_wire.h"
#include "vmbus/bridge.h"

#define MOST_GUESTS   64u
#define MOST_DRIVERS  16u
#define LISTEN_QUEUE  64
#define OUT_OF_FDS_MS 50
#define SUBSYSTEM     "serve"

struct image {
	struct nt_driver *nt;
	struct kmcl_offer_options offer;
};

struct guest {
	struct guest *next;
	kmcl_server *server;
	unsigned int number;
	struct user_host *connection;
	kmcl_partition *partition;
	kmcl_driver drivers[MOST_DRIVERS];
	unsigned int started; /* of the drivers */
	bool there;           /* under the server's lock: `partition` may be looked at */
	atomic_bool over;
};

struct kmcl_server {
	struct kmcl_server_options options;
	struct part_options part;
	struct sockaddr_un address;
	char temporary[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int listener, wake;
	struct image images[MOST_DRIVERS];
	unsigned int image_count;
	pthread_t thread;
	bool aside; /* bound to `temporary` */
	bool running;
	atomic_bool stop;
	pthread_mutex_t lock;
	struct guest *guests;
	unsigned int count, accepted;
	struct stat socket; /* what we put at the path */
	bool fed;           /* `listener` is a feed */
	bool feed_over;
	uint32_t drivers;        /* in processes of their own */
	int feeds[MOST_DRIVERS]; /* to them, -1: not there; under the lock */
};

static void wake(kmcl_server *server)
{
	uint64_t one = 1;

	if (write(server->wake, &one, sizeof(one)) < 0)
		return; /* its counter is full: it is awake */
}

static int give_error(char **error, int code, char *text)
{
	if (error)
		*error = text;
	else
		free(text);
	return code;
}

/* ---- a guest ---- */

static bool start_drivers(struct guest *g)
{
	for (unsigned int i = 0; i < g->server->image_count; i++) {
		kmcl_driver *d = &g->drivers[i];
		char *why = NULL;

		d->partition = g->partition;
		d->end = KMCL_SERVER;
		d->nt = g->server->images[i].nt;
		d->offer_options = g->server->images[i].offer;
		if (host_pnp_start(d, &why)) {
			kmcl_log(KMCL_LOG_ERROR, SUBSYSTEM, g->number, 0, "guest %u: %s", g->number,
				 why);
			free(why);
			return false;
		}
		g->started = i + 1;
	}
	return true;
}

static void stop_drivers(struct guest *g)
{
	g->partition->ending = true;
	while (g->started)
		host_pnp_stop(&g->drivers[--g->started]);
}

static void show(struct guest *g, bool there)
{
	pthread_mutex_lock(&g->server->lock);
	g->there = there;
	pthread_mutex_unlock(&g->server->lock);
}

static bool joined(void *owner, struct part *part)
{
	struct guest *g = owner;

	g->partition = host_partition_of(part);
	if (!g->partition)
		return false;
	if (!start_drivers(g)) {
		stop_drivers(g);
		host_partition_close(g->partition);
		return false;
	}
	show(g, true);
	kmcl_log(KMCL_LOG_INFO, SUBSYSTEM, part_id(part), 0, "guest %u is here", g->number);
	return true;
}

static void left(void *owner, struct part *part)
{
	struct guest *g = owner;

	show(g, false);
	stop_drivers(g);
	host_partition_close(g->partition);
	kmcl_log(KMCL_LOG_INFO, SUBSYSTEM, part_id(part), 0, "guest %u has left", g->number);
}

static void gone(void *owner)
{
	struct guest *g = owner;
	kmcl_server *server = g->server;

	if (g->partition)
		host_partition_free(g->partition);
	atomic_store(&g->over, true);
	wake(server);
}

/* ---- drivers' processes ---- */

static int feed_guest(kmcl_server *server, uint32_t driver, int fd)
{
	struct user_packet p;
	int error;

	user_packet_init(&p, USER_FEED_GUEST, USER_FEED_SIZE);
	p.fds[0] = fd;
	p.fd_count = 1;
	error = server->feeds[driver] < 0 ? -ENOENT : user_send(server->feeds[driver], &p);
	if (error == -EPIPE) {
		close(server->feeds[driver]);
		server->feeds[driver] = -1;
	}
	return error;
}

static int connect_driver(void *owner, uint32_t driver)
{
	struct guest *g = owner;
	int pair[2], error;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
		return -EAGAIN;
	pthread_mutex_lock(&g->server->lock);
	error = feed_guest(g->server, driver, pair[1]);
	pthread_mutex_unlock(&g->server->lock);
	close(pair[1]);
	if (!error)
		return pair[0];
	close(pair[0]);
	return error;
}

/* ---- accepting ---- */

static bool may_connect(const kmcl_server *server, int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size))
		return false;
	if (server->options.any_user || peer.uid == geteuid() || !peer.uid)
		return true;
	KMCL_LOG_PEER(KMCL_LOG_WARNING, SUBSYSTEM, 0, 0, "user %u may not connect", peer.uid);
	return false;
}

static void receive_guest(kmcl_server *server, int fd)
{
	struct guest *g = calloc(1, sizeof(*g));
	struct user_host_options options = {
		.part = server->part,
		.memory_limit = server->options.guest_memory,
		.joined = joined,
		.left = left,
		.gone = gone,
		.owner = g,
	};

	if (!g) {
		close(fd);
		return;
	}
	g->server = server;
	g->number = ++server->accepted;
	if (server->drivers) {
		options.relay.parts = server->drivers;
		options.relay.connect = connect_driver;
		options.relay.owner = g;
	}
	if (user_host_serve(fd, &options, &g->connection)) {
		kmcl_log(KMCL_LOG_ERROR, SUBSYSTEM, 0, 0, "guest %u: out of resources", g->number);
		free(g);
		return;
	}
	pthread_mutex_lock(&server->lock);
	g->next = server->guests;
	server->guests = g;
	server->count++;
	/* a driver that was attached since it began to connect could not tell it */
	if (server->drivers)
		user_host_drivers_changed(g->connection);
	pthread_mutex_unlock(&server->lock);
}

/* Out of descriptors, say: the connection stays where it is, and poll would not wait. */
static void accept_later(kmcl_server *server, int error)
{
	struct pollfd pfd = {.fd = server->wake, .events = POLLIN};

	KMCL_LOG_PEER(KMCL_LOG_WARNING, SUBSYSTEM, 0, 0, "a guest has to wait: %s",
		      strerror(error));
	poll(&pfd, 1, OUT_OF_FDS_MS);
}

/* Who feeds us has looked who it is. */
static int take_from_feed(kmcl_server *server)
{
	struct user_packet p;
	const char *why;

	switch (user_receive(server->listener, &p, &why)) {
	case USER_RECEIVED:
		if (user_op(&p) == USER_FEED_GUEST && p.fd_count == 1)
			return p.fds[0];
		user_close_fds(&p);
		return -1;
	case USER_HUNG_UP:
		server->feed_over = true;
		return -1;
	case USER_NOTHING:
	case USER_BAD:
		break;
	}
	return -1;
}

static void accept_guest(kmcl_server *server)
{
	int fd = server->fed ? take_from_feed(server)
			     : accept4(server->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		if (!server->fed && errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
			accept_later(server, errno);
		return;
	}
	if (!server->fed && !may_connect(server, fd)) {
		close(fd);
	} else if (server->count >= server->options.guests) {
		KMCL_LOG_PEER(KMCL_LOG_WARNING, SUBSYSTEM, 0, 0, "more than %u guests",
			      server->options.guests);
		close(fd);
	} else {
		receive_guest(server, fd);
	}
}

/* Takes those out that are over; all of them at the end. */
static void bury(kmcl_server *server)
{
	struct guest **link, *over = NULL, *g;

	pthread_mutex_lock(&server->lock);
	for (link = &server->guests; (g = *link);) {
		if (!atomic_load(&g->over)) {
			link = &g->next;
			continue;
		}
		*link = g->next;
		g->next = over;
		over = g;
		server->count--;
	}
	pthread_mutex_unlock(&server->lock);
	while ((g = over)) {
		over = g->next;
		user_host_join(g->connection);
		free(g);
	}
}

static void *accept_guests(void *arg)
{
	kmcl_server *server = arg;

	while (!atomic_load(&server->stop)) {
		struct pollfd fds[2] = {
			{.fd = server->feed_over ? -1 : server->listener, .events = POLLIN},
			{.fd = server->wake, .events = POLLIN}};
		uint64_t count;

		if (poll(fds, 2, -1) < 0)
			continue;
		if (fds[1].revents && read(server->wake, &count, sizeof(count)) > 0)
			bury(server);
		if (fds[0].revents && !atomic_load(&server->stop))
			accept_guest(server);
	}
	return NULL;
}

/* ---- life ---- */

static int take_options(kmcl_server *server, const struct kmcl_server_options *options)
{
	if (!options) {
		server->options.guests = MOST_GUESTS;
		return 0;
	}
	if (options->size != sizeof(*options) || options->reserved)
		return -EINVAL;
	server->options = *options;
	if (!server->options.guests)
		server->options.guests = MOST_GUESTS;
	return host_read_options(options->partition, &server->part);
}

static int set_path(kmcl_server *server, const char *path)
{
	int size;

	server->address.sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(server->address.sun_path))
		return -ENAMETOOLONG;
	strcpy(server->address.sun_path, path);
	size = snprintf(server->temporary, sizeof(server->temporary), "%s.%d", path, (int)getpid());
	return size < (int)sizeof(server->temporary) ? 0 : -ENAMETOOLONG;
}

/* Nobody finds it before it is renamed, so nobody connects before its mode is right. */
static int listen_aside(kmcl_server *server)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	strcpy(address.sun_path, server->temporary);
	server->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	server->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (server->listener < 0 || server->wake < 0)
		return -errno;
	unlink(server->temporary);
	if (bind(server->listener, (struct sockaddr *)&address, sizeof(address)))
		return -errno;
	server->aside = true;
	if (chmod(server->temporary, 0600) || listen(server->listener, LISTEN_QUEUE) ||
	    stat(server->temporary, &server->socket))
		return -errno;
	return 0;
}

/* A socket that nobody may be listening at any more is replaced; nothing else is. */
static int check_path(const char *path)
{
	struct stat there;

	return lstat(path, &there) || S_ISSOCK(there.st_mode) ? 0 : -EEXIST;
}

static int new_server(const struct kmcl_server_options *options, kmcl_server **result, char **error)
{
	kmcl_server *server = calloc(1, sizeof(*server));

	*result = NULL;
	if (error)
		*error = NULL;
	if (!server)
		return -ENOMEM;
	server->listener = server->wake = -1;
	for (unsigned int i = 0; i < MOST_DRIVERS; i++)
		server->feeds[i] = -1;
	pthread_mutex_init(&server->lock, NULL);
	*result = server;
	return take_options(server, options);
}

int kmcl_server_create(const char *path, const struct kmcl_server_options *options,
		       kmcl_server **result, char **error)
{
	kmcl_server *server;
	int code = new_server(options, &server, error);

	*result = NULL;
	if (!server)
		return code;
	if (!code)
		code = set_path(server, path);
	if (!code)
		code = check_path(path);
	if (!code)
		code = listen_aside(server);
	if (code) {
		kmcl_server_destroy(server);
		return give_error(error, code,
				  sentence("%s: cannot serve: %s", path, strerror(-code)));
	}
	*result = server;
	return 0;
}

/* Part of a host: its offers have the channel ids that are this driver's, whatever else there is.
 */
static void take_range(kmcl_server *server, uint32_t driver, uint32_t drivers)
{
	struct vmbus_bridge_range range = vmbus_bridge_range(driver, drivers);
	uint32_t *channels = &server->part.limits.channels;

	server->part.first_channel = range.first;
	server->part.channel_range = range.count;
	if (!*channels || *channels > range.count)
		*channels = range.count;
}

int kmcl_server_create_fed(int feed, uint32_t driver, uint32_t drivers,
			   const struct kmcl_server_options *options, kmcl_server **result,
			   char **error)
{
	kmcl_server *server;
	int code = new_server(options, &server, error);

	*result = NULL;
	if (!server) {
		close(feed);
		return code;
	}
	server->fed = true;
	server->listener = feed;
	server->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!code && server->wake < 0)
		code = -errno;
	if (!code && (!drivers || drivers > MOST_DRIVERS || driver >= drivers))
		code = -EINVAL;
	if (code) {
		kmcl_server_destroy(server);
		return give_error(error, code, sentence("cannot serve: %s", strerror(-code)));
	}
	take_range(server, driver, drivers);
	*result = server;
	return 0;
}

int kmcl_server_expect(kmcl_server *server, uint32_t drivers)
{
	if (server->running || server->image_count)
		return -EBUSY;
	if (!drivers || drivers > MOST_DRIVERS || server->fed)
		return -EINVAL;
	server->drivers = drivers;
	/* no channel is served here */
	server->part.server_dispatchers = 1;
	return 0;
}

int kmcl_server_attach(kmcl_server *server, uint32_t driver, int feed)
{
	if (driver >= server->drivers) {
		close(feed);
		return -EINVAL;
	}
	pthread_mutex_lock(&server->lock);
	if (server->feeds[driver] >= 0)
		close(server->feeds[driver]);
	server->feeds[driver] = feed;
	for (struct guest *g = server->guests; g; g = g->next)
		user_host_drivers_changed(g->connection);
	pthread_mutex_unlock(&server->lock);
	return 0;
}

int kmcl_server_load(kmcl_server *server, const char *text, char **error)
{
	struct nt_driver_config config = {0};
	struct image *image = &server->images[server->image_count];
	struct host_spec spec;
	char *why = NULL;
	int code;

	if (error)
		*error = NULL;
	if (server->running || server->drivers || server->image_count == MOST_DRIVERS)
		return give_error(error, server->running ? -EBUSY : -E2BIG,
				  sentence("%s: too late, or too many drivers", text));
	code = host_spec_parse(text, &spec, &why);
	if (code)
		return give_error(error, code, why);
	config.name = spec.name;
	config.path = spec.path;
	config.parameters = (const char *const *)spec.parameters;
	code = host_errno(nt_driver_load(&config, &image->nt, &why));
	image->offer = spec.offer;
	server->image_count += !code;
	host_spec_free(&spec);
	return code ? give_error(error, code, why) : 0;
}

/* If nobody listens any more, the feed is over, which is seen elsewhere. */
static void say_ready(kmcl_server *server)
{
	struct user_packet p;

	user_packet_init(&p, USER_FEED_READY, USER_FEED_SIZE);
	user_send(server->listener, &p);
}

int kmcl_server_start(kmcl_server *server, char **error)
{
	int code = 0;

	if (error)
		*error = NULL;
	if (server->running)
		return give_error(error, -EBUSY, sentence("the server runs"));
	if (!server->fed && rename(server->temporary, server->address.sun_path))
		code = -errno;
	else
		code = part_thread_create(&server->thread, accept_guests, server, "kmcl-serve");
	server->running = !code;
	if (code)
		return give_error(error, code,
				  sentence("%s: cannot serve: %s", server->address.sun_path,
					   strerror(-code)));
	if (server->fed)
		say_ready(server);
	return 0;
}

static void end_guests(kmcl_server *server)
{
	pthread_mutex_lock(&server->lock);
	for (struct guest *g = server->guests; g; g = g->next)
		user_host_end(g->connection);
	pthread_mutex_unlock(&server->lock);
	while (server->guests) {
		struct pollfd pfd = {.fd = server->wake, .events = POLLIN};
		uint64_t count;

		if (poll(&pfd, 1, -1) > 0 && read(server->wake, &count, sizeof(count)) > 0)
			bury(server);
	}
}

/* The path is another's if another host has taken it over meanwhile. */
static void remove_socket(const kmcl_server *server)
{
	struct stat now;

	if (!server->aside)
		return;
	if (!server->running)
		unlink(server->temporary);
	if (!stat(server->address.sun_path, &now) && now.st_ino == server->socket.st_ino &&
	    now.st_dev == server->socket.st_dev)
		unlink(server->address.sun_path);
}

void kmcl_server_destroy(kmcl_server *server)
{
	if (!server)
		return;
	if (server->running) {
		atomic_store(&server->stop, true);
		wake(server);
		pthread_join(server->thread, NULL);
	}
	remove_socket(server);
	if (server->listener >= 0)
		close(server->listener);
	end_guests(server);
	while (server->image_count)
		nt_driver_unload(server->images[--server->image_count].nt);
	for (unsigned int i = 0; i < MOST_DRIVERS; i++)
		if (server->feeds[i] >= 0)
			close(server->feeds[i]);
	if (server->wake >= 0)
		close(server->wake);
	pthread_mutex_destroy(&server->lock);
	free(server);
}

unsigned int kmcl_server_guests(kmcl_server *server)
{
	unsigned int count = 0;

	pthread_mutex_lock(&server->lock);
	for (struct guest *g = server->guests; g; g = g->next)
		count += g->there;
	pthread_mutex_unlock(&server->lock);
	return count;
}

int kmcl_server_each(kmcl_server *server,
		     int (*each)(void *ctx, unsigned int guest, kmcl_partition *partition),
		     void *ctx)
{
	int result = 0;

	pthread_mutex_lock(&server->lock);
	for (struct guest *g = server->guests; g && !result; g = g->next)
		if (g->there)
			result = each(ctx, g->number, g->partition);
	pthread_mutex_unlock(&server->lock);
	return result;
}

/* ---- a guest's end ---- */

int kmcl_partition_create_user(const char *path, const struct kmcl_guest_options *options,
			       kmcl_partition **partition, char **error)
{
	struct user_guest_options guest = {0};
	const char *why = "wrong options";
	struct part *part;
	int code = 0;

	*partition = NULL;
	if (error)
		*error = NULL;
	if (options && (options->size != sizeof(*options) || options->reserved))
		code = -EINVAL;
	if (!code)
		code = host_read_options(options ? options->partition : NULL, &guest.part);
	if (options) {
		guest.wait_ms = options->wait_ms;
		guest.reconnect = options->reconnect;
	}
	if (!code)
		code = user_guest_create(path, &guest, &part, &why);
	if (code)
		return give_error(error, code, sentence("%s: %s (%s)", path, why, strerror(-code)));
	*partition = host_partition_of(part);
	if (*partition)
		return 0;
	part_destroy(part);
	return -ENOMEM;
}
