/* tls: see tls.h. A handshake under way may still read the certificate it began with, so an old one
 * is freed only when it was replaced OLD_MS ago: no handshake takes that long (connections.c). */
#include "server/http/tls.h"

#include "common/clock.h"
#include "common/list.h"
#include "common/mem.h"

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <string.h>

#define CHAIN_MAX 8
#define KEY_ID_MAX 64
#define OLD_MS 120000

struct tls_certificate {
    struct tls_certificate *older;
    int64_t replaced_ms;
    gnutls_pcert_st chain[CHAIN_MAX];
    unsigned chain_length;
    gnutls_privkey_t key;
};
static struct tls_certificate *current;

void tls_free(struct tls_certificate *c)
{
    for (unsigned i = 0; i < c->chain_length; i++) gnutls_pcert_deinit(&c->chain[i]);
    if (c->key != NULL) gnutls_privkey_deinit(c->key);
    mem_free(c);
}

/* ---- reading --------------------------------------------------------------------------------- */
static int fault(struct err *e, const char *option, const char *file, int rc)
{
    return err_set(e, rc == GNUTLS_E_FILE_ERROR ? ERR_IO : ERR_INVALID, "%s %.120s: %s", option,
                   file, gnutls_strerror(rc));
}

static int read_chain(struct tls_certificate *c, const char *file, struct err *e)
{
    gnutls_datum_t pem = { 0 };
    unsigned n = CHAIN_MAX;
    int rc = gnutls_load_file(file, &pem);
    if (rc == 0) rc = gnutls_pcert_list_import_x509_raw(c->chain, &n, &pem, GNUTLS_X509_FMT_PEM, 0);
    gnutls_free(pem.data);
    if (rc < 0) return fault(e, "--tls-cert", file, rc);
    c->chain_length = n;
    return n > 0 ? 0 : err_set(e, ERR_INVALID, "--tls-cert %.120s holds no certificate", file);
}

static int read_key(struct tls_certificate *c, const char *file, struct err *e)
{
    gnutls_datum_t pem = { 0 };
    int rc = gnutls_privkey_init(&c->key);
    if (rc == 0) rc = gnutls_load_file(file, &pem);
    if (rc == 0) rc = gnutls_privkey_import_x509_raw(c->key, &pem, GNUTLS_X509_FMT_PEM, NULL, 0);
    if (pem.data != NULL) gnutls_memset(pem.data, 0, pem.size);
    gnutls_free(pem.data);
    return rc < 0 ? fault(e, "--tls-key", file, rc) : 0;
}

static bool belong_together(const struct tls_certificate *c)
{
    unsigned char of_cert[KEY_ID_MAX], of_key[KEY_ID_MAX];
    size_t n = sizeof of_cert, m = sizeof of_key;
    gnutls_pubkey_t public;
    if (gnutls_pubkey_init(&public) != 0) return false;
    const bool same = gnutls_pubkey_import_privkey(public, c->key, 0, 0) == 0 &&
                      gnutls_pubkey_get_key_id(public, GNUTLS_KEYID_USE_SHA256, of_key, &m) == 0 &&
                      gnutls_pubkey_get_key_id(c->chain[0].pubkey, GNUTLS_KEYID_USE_SHA256, of_cert,
                                               &n) == 0 &&
                      n == m && memcmp(of_cert, of_key, n) == 0;
    gnutls_pubkey_deinit(public);
    return same;
}

int tls_read(struct tls_certificate **out, const char *cert_file, const char *key_file,
             struct err *e)
{
    struct tls_certificate *c = mem_calloc(1, sizeof *c);
    if (c == NULL) return err_set(e, ERR_NOMEM, "certificate");
    int rc = read_chain(c, cert_file, e);
    if (rc == 0) rc = read_key(c, key_file, e);
    if (rc == 0 && !belong_together(c))
        rc = err_set(e, ERR_INVALID, "--tls-key %.80s is not the key of --tls-cert %.80s", key_file,
                     cert_file);
    if (rc != 0) tls_free(c);
    else *out = c;
    return rc;
}

/* ---- using ----------------------------------------------------------------------------------- */
static void free_older(struct tls_certificate *c, bool all)
{
    const int64_t now = clock_mono_ms();
    while (c->older != NULL) {
        struct tls_certificate *old = c->older;
        if (all || now - old->replaced_ms > OLD_MS) {
            c->older = old->older;
            tls_free(old);
        } else {
            c = old;
        }
    }
}

void tls_use(struct tls_certificate *c)
{
    if (current != NULL) current->replaced_ms = clock_mono_ms();
    c->older = current;
    current = c;
    free_older(c, false);
}

void tls_end(void)
{
    if (current == NULL) return;
    free_older(current, true);
    tls_free(current);
    current = NULL;
}

static int choose(gnutls_session_t session, const gnutls_datum_t *names, int names_count,
                  const gnutls_pk_algorithm_t *algorithms, int algorithms_count,
                  gnutls_pcert_st **chain, unsigned *chain_length, gnutls_privkey_t *key)
{
    (void)session;
    (void)names;
    (void)names_count;
    (void)algorithms;
    (void)algorithms_count;
    if (current == NULL) return -1;
    *chain = current->chain;
    *chain_length = current->chain_length;
    *key = current->key;
    return 0;
}

/* Options of MHD are passed as object pointers. */
void *tls_callback(void)
{
    gnutls_certificate_retrieve_function2 *f = choose;
    void *p;
    memcpy(&p, &f, sizeof p);
    return p;
}
