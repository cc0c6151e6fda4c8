/* A planted fault: the sanitizer group of tests/run.sh must see this program fail, or its own
 * silence proves nothing. Without the sanitizer the fault is not made and the test passes. */
#include "common/mem.h"

#include <criterion/criterion.h>

/* Goal: a read one byte behind a heap block is seen by AddressSanitizer. */
Test(planted, overflow, .timeout = 20)
{
#if defined(__SANITIZE_ADDRESS__)
    volatile char *block = mem_alloc(16);
    volatile size_t behind = 16;
    const char seen = block[behind];
    cr_expect(false, "the sanitizer let a read behind the block pass: %d", seen);
#else
    void *block = mem_alloc(16);
    cr_expect_not_null(block);
#endif
    mem_free((void *)block);
}
