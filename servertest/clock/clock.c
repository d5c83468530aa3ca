// Copyright The locker Authors
// SPDX-License-Identifier: Apache-2.0

// Preloaded into a server, this moves the wall clock that it sees by the number
// of milliseconds that stands in the file /clock: a sign and 15 digits. The
// monotonic clocks stay as they are.

#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const char *text; // the file, as others write it

__attribute__((constructor)) static void init(void) {
	int fd = open("/clock", O_RDONLY | O_CLOEXEC);
	void *at = fd < 0 ? MAP_FAILED : mmap(0, 16, PROT_READ, MAP_SHARED, fd, 0);
	if (fd >= 0)
		close(fd);
	if (at != MAP_FAILED)
		text = at;
}

static long long milliseconds(void) {
	long long n = 0;
	if (!text)
		return 0;
	for (int i = 1; i < 16; i++)
		n = 10 * n + (((volatile const char *)text)[i] - '0');
	return text[0] == '-' ? -n : n;
}

int clock_gettime(clockid_t id, struct timespec *ts) {
	int err = syscall(SYS_clock_gettime, id, ts);
	if (err || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE))
		return err;
	long long ns = ts->tv_nsec + milliseconds() % 1000 * 1000000;
	ts->tv_sec += milliseconds() / 1000 + (ns >= 1000000000) - (ns < 0);
	ts->tv_nsec = (ns + 1000000000) % 1000000000;
	return 0;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone) {
	struct timespec ts;
	int err = clock_gettime(CLOCK_REALTIME, &ts);
	(void)zone;
	if (!err && tv) {
		tv->tv_sec = ts.tv_sec;
		tv->tv_usec = ts.tv_nsec / 1000;
	}
	return err;
}

time_t time(time_t *out) {
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	if (out)
		*out = ts.tv_sec;
	return ts.tv_sec;
}
