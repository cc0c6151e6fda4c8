/* serve_tls: see serve_tls.h. The files are read in the pool; connections that are open keep the
 * certificate they began with, and a pair that does not fit leaves the old one in use. */
#include "server/serve_tls.h"

#include "common/list.h"
#include "common/log.h"
#include "common/mem.h"
#include "server/http/tls.h"

#include <signal.h>
#include <stdbool.h>

struct serve_tls {
    uv_signal_t hangup;
    uv_work_t work;
    const char *cert_file, *key_file;
    struct tls_certificate *read;
    struct err err;
    bool reading, again, closing;
};

static void hangup_closed(uv_handle_t *handle)
{
    mem_free(container_of((uv_signal_t *)handle, struct serve_tls, hangup));
}

static void read_files(uv_work_t *work)
{
    struct serve_tls *t = container_of(work, struct serve_tls, work);
    err_clear(&t->err);
    t->read = NULL;
    (void)tls_read(&t->read, t->cert_file, t->key_file, &t->err);
}

static void use_files(uv_work_t *work, int status);

static void begin_reading(struct serve_tls *t)
{
    t->reading = uv_queue_work(t->hangup.loop, &t->work, read_files, use_files) == 0;
}

static void use_files(uv_work_t *work, int status)
{
    struct serve_tls *t = container_of(work, struct serve_tls, work);
    (void)status;
    t->reading = false;
    if (t->read != NULL) {
        tls_use(t->read);
        log_info("server", "the certificate was read again: %s", t->cert_file);
    } else {
        log_error("server", "the certificate stays as it was: %s", t->err.text);
    }
    if (t->closing) {
        tls_end();
        uv_close((uv_handle_t *)&t->hangup, hangup_closed);
    } else if (t->again) {
        t->again = false;
        begin_reading(t);
    }
}

static void on_hangup(uv_signal_t *s, int number)
{
    struct serve_tls *t = container_of(s, struct serve_tls, hangup);
    (void)number;
    if (t->reading) t->again = true;
    else begin_reading(t);
}

int serve_tls_open(struct serve_tls **out, uv_loop_t *loop, const char *cert_file,
                   const char *key_file, struct err *e)
{
    struct serve_tls *t = mem_calloc(1, sizeof *t);
    if (t == NULL) return err_set(e, ERR_NOMEM, "certificate");
    t->cert_file = cert_file;
    t->key_file = key_file;
    const int rc = tls_read(&t->read, cert_file, key_file, e);
    if (rc != 0) {
        mem_free(t);
        return rc;
    }
    tls_use(t->read);
    (void)uv_signal_init(loop, &t->hangup);
    (void)uv_signal_start(&t->hangup, on_hangup, SIGHUP);
    *out = t;
    return 0;
}

int serve_tls_check(const char *cert_file, const char *key_file, struct err *e)
{
    struct tls_certificate *c;
    const int rc = tls_read(&c, cert_file, key_file, e);
    if (rc == 0) tls_free(c);
    return rc;
}

void serve_tls_close(struct serve_tls *t)
{
    if (t == NULL) return;
    t->closing = true;
    if (t->reading) return; /* use_files goes on */
    tls_end();
    uv_close((uv_handle_t *)&t->hangup, hangup_closed);
}
