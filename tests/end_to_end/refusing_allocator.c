// An allocator that really refuses: preloaded, it lets a process hold so many bytes of large aligned
// blocks (what torch and oneDNN allocate on a CPU) and answers ENOMEM beyond, as a full machine would.
//   cc -O2 -shared -fPIC -o refusing.so refusing_allocator.c
//   LD_PRELOAD=./refusing.so REFUSE_ABOVE_BYTES=100000000 python ...
// Blocks under LARGE bytes are let through uncounted. most_bytes_held() tells the peak.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

enum { LARGE = 65536, SLOTS = 1 << 16 };

static struct { void *block; size_t bytes; } held[SLOTS];
static size_t bytes_held, most_held;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int (*real_memalign)(void **, size_t, size_t);
static void (*real_free)(void *);

static size_t slot_of(void *block) { return ((uintptr_t)block >> 6) * 2654435761u % SLOTS; }

__attribute__((constructor)) static void find_real(void) {
    real_memalign = dlsym(RTLD_NEXT, "posix_memalign");
    real_free = dlsym(RTLD_NEXT, "free");
}

static size_t cap(void) {
    const char *text = getenv("REFUSE_ABOVE_BYTES");
    return text ? strtoull(text, NULL, 10) : SIZE_MAX;
}

size_t most_bytes_held(void) { return most_held; }
size_t bytes_held_now(void) { return bytes_held; }

int posix_memalign(void **block, size_t alignment, size_t bytes) {
    if (!real_memalign) find_real();
    if (bytes < LARGE) return real_memalign(block, alignment, bytes);
    pthread_mutex_lock(&lock);
    int error = bytes_held + bytes > cap() ? ENOMEM : real_memalign(block, alignment, bytes);
    if (!error) {
        size_t slot = slot_of(*block);
        while (held[slot].block) slot = (slot + 1) % SLOTS;
        held[slot].block = *block;
        held[slot].bytes = bytes;
        bytes_held += bytes;
        if (bytes_held > most_held) most_held = bytes_held;
    }
    pthread_mutex_unlock(&lock);
    return error;
}

static void forget(void *block) {
    size_t slot = slot_of(block);
    while (held[slot].block && held[slot].block != block) slot = (slot + 1) % SLOTS;
    if (!held[slot].block) return;
    bytes_held -= held[slot].bytes;
    // Close the gap: whatever follows in this run of slots must stay within reach of its own first slot.
    for (size_t next = (slot + 1) % SLOTS; held[next].block; next = (next + 1) % SLOTS) {
        size_t wanted = slot_of(held[next].block);
        if ((next - wanted + SLOTS) % SLOTS >= (next - slot + SLOTS) % SLOTS) {
            held[slot] = held[next];
            slot = next;
        }
    }
    held[slot].block = NULL;
}

void free(void *block) {
    if (!real_free) find_real();
    // Large aligned blocks lie on 64-byte borders: most pointers need no look.
    if (block && ((uintptr_t)block & 63) == 0 && bytes_held) {
        pthread_mutex_lock(&lock);
        forget(block);
        pthread_mutex_unlock(&lock);
    }
    real_free(block);
}
