/* Shifts the wall clock of a process and its children by CLOCK_SHIFT seconds, but not the monotonic clock.
   .ci/run_under.py compiles it and sets LD_PRELOAD. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

/* A deadline is in seconds since the start of the machine (monotonic clock) or since 1970 (wall clock). */
static const time_t WALL_CLOCK_FROM = 1000000000;
static time_t shift;

__attribute__((constructor)) static void read_shift(void) {
    const char *text = getenv("CLOCK_SHIFT");
    shift = text ? atoll(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += shift;
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now) *now = precise.tv_sec;
    return precise.tv_sec;
}

int timespec_get(struct timespec *now, int base) { return clock_gettime(CLOCK_REALTIME, now) == 0 ? base : 0; }

/* The kernel's clock is not shifted, so the shift is removed from a deadline of the wall clock before the wait. */
static clockid_t unshifted(const struct timespec *deadline, struct timespec *kernel) {
    *kernel = *deadline;
    if (deadline->tv_sec < WALL_CLOCK_FROM) return CLOCK_MONOTONIC;
    kernel->tv_sec -= shift;
    return CLOCK_REALTIME;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict deadline) {
    struct timespec kernel;
    clockid_t clock = unshifted(deadline, &kernel);
    return pthread_cond_clockwait(condition, mutex, clock, &kernel);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict deadline) {
    struct timespec kernel;
    clockid_t clock = unshifted(deadline, &kernel);
    return sem_clockwait(semaphore, clock, &kernel);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict deadline) {
    struct timespec kernel;
    clockid_t clock = unshifted(deadline, &kernel);
    return pthread_mutex_clocklock(mutex, clock, &kernel);
}

/* The waits of C11, which librdkafka uses. In glibc, their types have the layout of those of POSIX. */
static int of_c11(int error) {
    if (error == ETIMEDOUT) return thrd_timedout;
    return error == 0 ? thrd_success : thrd_error;
}

int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict deadline) {
    return of_c11(pthread_cond_timedwait((pthread_cond_t *)condition, (pthread_mutex_t *)mutex, deadline));
}

int mtx_timedlock(mtx_t *restrict mutex, const struct timespec *restrict deadline) {
    return of_c11(pthread_mutex_timedlock((pthread_mutex_t *)mutex, deadline));
}
