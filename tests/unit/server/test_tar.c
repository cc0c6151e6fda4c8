/* tar: what is written is what GNU tar reads and what is read back. */
#include "server/backup/tar_stream.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct err e;

/* Goal: names up to the limits of the format and sizes beyond eleven octal digits come back. */
Test(tar, headers_come_back, .timeout = 5)
{
    static const uint64_t sizes[] = { 0, 1, 511, 512, (1ull << 33) - 1, 1ull << 33, 1ull << 60 };
    char longest[TAR_NAME_MAX + 1];
    unsigned char block[TAR_BLOCK];
    struct tar_entry m;
    memset(longest, 'x', sizeof longest);
    longest[155] = '/';
    longest[TAR_NAME_MAX] = '\0';
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        cr_assert(tar_header(block, longest, sizes[i], 1700000000, &e) == 0, "%s", e.text);
        cr_assert(tar_parse(block, &m, &e) == 1, "%s", e.text);
        cr_expect_str_eq(m.name, longest);
        cr_expect_eq(m.bytes, sizes[i]);
    }
    longest[155] = 'x';
    cr_expect_eq(tar_header(block, longest, 1, 0, &e), ERR_INVALID, "it cannot be cut anywhere");
}

/* Goal: no bit of a header may flip unseen. */
Test(tar, a_flipped_bit_is_seen, .timeout = 5)
{
    unsigned char block[TAR_BLOCK];
    struct tar_entry m;
    cr_assert(tar_header(block, "files/a/spool", 12345, 1700000000, &e) == 0, "%s", e.text);
    for (size_t bit = 0; bit < 8 * TAR_BLOCK; bit++) {
        block[bit / 8] ^= (unsigned char)(1 << bit % 8);
        const bool same = tar_parse(block, &m, &e) == 1 &&
                          (strcmp(m.name, "files/a/spool") != 0 || m.bytes != 12345);
        cr_expect(!same, "bit %zu", bit);
        block[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
}

/* ---- whole archives -------------------------------------------------------------------------- */
struct two {
    struct tar_stream tar;
    FILE *file;
    int n;
};

static int next_of_two(struct tar_stream *t, struct tar_member *m, bool *more, struct err *err)
{
    struct two *x = (struct two *)t;
    (void)err;
    *more = x->n < 2;
    if (x->n++ == 0) {
        m->fd = -1;
        m->text = "hello";
        m->bytes = 5;
        (void)snprintf(m->name, sizeof m->name, "a");
    } else if (*more) {
        m->fd = dup(fileno(x->file));
        m->bytes = 1000; /* it has 600 left: the rest is zeros */
        (void)snprintf(m->name, sizeof m->name, "deep/b");
    }
    return 0;
}

/* Goal: an archive read in parts of any size is the same, of whole blocks, and GNU tar takes it. */
Test(tar, parts_of_any_size_make_one_archive, .timeout = 20)
{
    static const size_t parts[] = { 4096, 1, 511, 700 };
    static unsigned char whole[8192], again[8192];
    size_t length = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        struct two x = { .file = tmpfile() };
        cr_assert(x.file != NULL && ftruncate(fileno(x.file), 600) == 0);
        tar_stream_init(&x.tar);
        x.tar.next = next_of_two;
        size_t n = 0, got;
        do {
            cr_assert(tar_stream_read(&x.tar, (i == 0 ? whole : again) + n, parts[i], &got, &e) ==
                      0);
            n += got;
            cr_assert(n < sizeof whole);
        } while (got > 0);
        tar_stream_deinit(&x.tar);
        (void)fclose(x.file);
        if (i == 0) length = n;
        cr_expect_eq(n, length);
        cr_expect(i == 0 || memcmp(whole, again, n) == 0, "parts of %zu", parts[i]);
    }
    cr_expect_eq(length, 512 + 512 + 512 + 1024 + 1024);
    FILE *list = popen("tar tvf - | awk '{ print $3, $6 }' >/tmp/spiked-tar-list-$PPID", "w");
    cr_assert(list != NULL && fwrite(whole, 1, length, list) == length && pclose(list) == 0);
    char command[160];
    (void)snprintf(
        command, sizeof command,
        "f=/tmp/spiked-tar-list-%d; echo \"5 a\n1000 deep/b\" | cmp - $f; rc=$?; rm -f $f;"
        " exit $rc",
        (int)getpid());
    cr_expect_eq(system(command), 0);
}
