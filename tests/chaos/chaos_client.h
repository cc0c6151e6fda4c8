/* chaos_client: the client of a fault campaign: submits experiments, pauses, resumes, cancels, and
 * keeps a log of what was acknowledged (tests/chaos/judge.h). It never believes that something
 * happened because it asked for it: what has no answer is asked again with the same key. */
#ifndef TESTS_CHAOS_CLIENT_H
#define TESTS_CHAOS_CLIENT_H

#include "tests/support/service.h"

#include <stdio.h>

#define CLIENT_SENT_MAX 1000
#define CLIENT_SPECS 3

struct client_sent {
    char key[40];
    size_t spec;
    int64_t id; /* 0 = not acknowledged yet */
    bool cancel;
    bool sweep; /* of two members; id: the first one's */
};
struct chaos_client {
    const struct service *s;
    uint32_t *random;
    FILE *log;
    int season;
    struct client_sent sent[CLIENT_SENT_MAX];
    size_t n_sent;
    int64_t answers_lost; /* thrown away by this client */
};
/* What the daemon shows now; 0 everywhere when it does not answer. */
struct client_view {
    bool answered;
    size_t live, final;              /* experiments */
    int64_t running, paused, failed; /* an id each; 0 = none */
};

uint32_t random_next(uint32_t *state, uint32_t below);
/* Specs by number: their names, and their text with the experiment's name; caller frees. */
extern const char *const client_spec_names[CLIENT_SPECS];
char *client_spec(size_t number, const char *name);

void client_open(struct chaos_client *c, const struct service *s, const char *log_path, int season,
                 uint32_t *random);
void client_close(struct chaos_client *c);
/* A new experiment; now and then its answer is thrown away. */
void client_submit(struct chaos_client *c);
/* A sweep with successive halving. */
void client_sweep(struct chaos_client *c);
/* Asks again for what was never acknowledged; true when nothing of that kind is left. */
bool client_settle(struct chaos_client *c);
struct client_view client_look(const struct chaos_client *c);
/* POST /experiments/ID/ACTION; the status, 0 = no answer. */
long client_act(struct chaos_client *c, int64_t id, const char *action);
/* Keeps `live` experiments under way; resumes and retries what stands still. */
void client_feed(struct chaos_client *c, size_t live);
/* Pauses, resumes or cancels one. */
void client_meddle(struct chaos_client *c);

#endif
