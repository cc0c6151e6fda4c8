/* fuzz_safetensors: any bytes as a file of tensors. What is accepted must lie inside the file, be
 * aligned and be found by its name again. Run by libFuzzer. */
#include "common/mem.h"
#include "worker/nets/safetensors.c" /* the fuzzers are linked with common/ only */

#include <stdlib.h>

static void check(const struct safetensors *s)
{
    size_t bytes = 0;
    for (size_t i = 0; i < s->count; i++) {
        const struct safetensors_entry *t = &s->entries[i];
        const size_t size = safetensors_element_bytes(t->type);
        const unsigned char *at = t->data;
        if (at < s->file + s->data_begin || at + t->elements * size > s->file + s->bytes) abort();
        if ((size_t)(at - s->file) % size != 0) abort();
        if (safetensors_find(s, t->name) == NULL) abort();
        bytes += t->elements * size;
    }
    if (bytes != s->bytes - s->data_begin) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct safetensors s;
    struct err e = { 0 };
    unsigned char *file = mem_alloc(size + 1);
    if (file == NULL) return 0;
    if (size > 0) memcpy(file, data, size);
    if (safetensors_parse("file", file, size, &s, &e) == 0) {
        check(&s);
        safetensors_deinit(&s);
    }
    return 0;
}
