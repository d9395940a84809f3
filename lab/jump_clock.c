/* SPDX-License-Identifier: Apache-2.0
 *
 * Preloaded into a daemon of a lab host: its calendar clock is this machine's plus an offset that
 * jumps while the daemon runs. A container shares the machine's calendar clock (time namespaces
 * have only the monotonic ones), and setting that would move it for everybody.
 *
 * HA_LAB_CLOCK names a file of 8 bytes, the offset in nanoseconds, which is mapped: a write to it
 * is the jump. Monotonic clocks, sleeps and timers are left alone. (libfaketime would do, but
 * its clock_nanosleep fails for CLOCK_MONOTONIC.)
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

#define NS 1000000000LL

static const volatile int64_t *offset;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void map_offset(void)
{
	const char *path = getenv("HA_LAB_CLOCK");
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

	real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
	if (fd >= 0) {
		void *at = mmap(NULL, sizeof(*offset), PROT_READ, MAP_SHARED, fd, 0);

		if (at != MAP_FAILED)
			offset = at;
	}
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	if (!real_clock_gettime)
		real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
	int result = real_clock_gettime(clock, now);

	if (!result && offset && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
		int64_t all = now->tv_sec * NS + now->tv_nsec + *offset;

		now->tv_sec = all / NS;
		now->tv_nsec = all % NS;
	}
	return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
	struct timespec found;

	(void)zone;
	if (clock_gettime(CLOCK_REALTIME, &found))
		return -1;
	now->tv_sec = found.tv_sec;
	now->tv_usec = found.tv_nsec / 1000;
	return 0;
}

time_t time(time_t *now)
{
	struct timespec found;

	if (clock_gettime(CLOCK_REALTIME, &found))
		return -1;
	if (now)
		*now = found.tv_sec;
	return found.tv_sec;
}
