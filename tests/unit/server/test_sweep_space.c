/* Members of sweeps: grids, draws that are always the same, and faults at their places. */
#include "server/api/sweep_space.h"

#include "common/mem.h"
#include "tests/support/service.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

struct made {
    cJSON *body;
    struct sweep_plan plan;
    struct json_faults faults;
    struct err err;
    struct queue_row *rows;
};

/* space and strategy as JSON text; the base is a small spec. */
static void make(struct made *m, const char *space, const char *strategy)
{
    char *base = small_spec(2, NULL);
    char *text = mem_printf("{\"name\": \"s\", \"base\": %s, \"space\": %s, \"strategy\": %s}",
                            base, space, strategy);
    *m = (struct made){ 0 };
    cr_assert_eq(json_parse(text, strlen(text), &m->body, &m->err), 0, "%s: %s", m->err.text, text);
    const struct queue_actor who = { .user = "ada" };
    if (sweep_plan_read(m->body, &m->plan, &m->faults, &m->err) == 0)
        (void)sweep_members(&m->plan, &who, &m->rows, &m->faults, &m->err);
    mem_free(text);
    mem_free(base);
}

static void drop(struct made *m)
{
    for (int64_t i = 0; m->rows != NULL && i < m->plan.n; i++) queue_row_deinit(&m->rows[i]);
    mem_free(m->rows);
    cJSON_Delete(m->body);
}

static void expect_fault(const char *space, const char *strategy, const char *pointer,
                         const char *words)
{
    static struct made m;
    make(&m, space, strategy);
    cr_assert(m.err.code != ERR_OK && m.faults.total > 0, "%s is taken", space);
    cr_assert(strcmp(m.faults.items[0].pointer, pointer) == 0 &&
                  strstr(m.faults.items[0].detail, words) != NULL,
              "%s: %s", m.faults.items[0].pointer, m.faults.items[0].detail);
    drop(&m);
}

/* Goal: a grid has every combination once, the last pointer turning fastest. */
Test(sweep_space, a_grid_has_every_combination)
{
    static struct made m;
    make(&m,
         "{\"/train/optimizer\": {\"values\": [{\"type\": \"sgd\", \"lr\": 0.1}, {\"type\": "
         "\"adam\", \"lr\": 0.001}]}, \"/seed\": {\"min\": 1, \"max\": 3, \"integer\": true},"
         " \"/train/ema/decay\": {\"min\": 0.5, \"max\": 0.9, \"steps\": 3}}",
         "{\"type\": \"grid\"}");
    cr_assert(m.err.code == ERR_OK && m.plan.n == 18, "%s %s", m.err.text,
              m.faults.items[0].detail);
    cr_assert_str_eq(m.rows[4].parameters, "{\"/train/ema/decay\":0.7,\"/seed\":2,"
                                           "\"/train/optimizer\":{\"type\":\"sgd\",\"lr\":0.1}}");
    cr_assert_str_eq(m.rows[17].x.name, "s-18");
    for (int i = 0; i < 18; i++)
        for (int k = 0; k < i; k++) cr_assert_str_neq(m.rows[i].parameters, m.rows[k].parameters);
    drop(&m);
}

/* Goal: what is drawn depends on the seed alone and lies in its range. */
Test(sweep_space, draws_are_always_the_same)
{
    static struct made a, b, c;
    const char *space = "{\"/train/optimizer/lr\": {\"min\": 0.0001, \"max\": 0.1, \"log\": true},"
                        " \"/seed\": {\"min\": 5, \"max\": 9, \"integer\": true}}";
    make(&a, space, "{\"type\": \"random\", \"n\": 200, \"seed\": 4}");
    make(&b, space, "{\"type\": \"random\", \"n\": 200, \"seed\": 4}");
    make(&c, space, "{\"type\": \"random\", \"n\": 200, \"seed\": 5}");
    int same = 0, low = 0, seeds = 0;
    for (int i = 0; i < 200; i++) {
        cr_assert_str_eq(a.rows[i].parameters, b.rows[i].parameters);
        same += strcmp(a.rows[i].parameters, c.rows[i].parameters) == 0;
        cJSON *p = sweep_parameters(&a.plan, i);
        const double lr = json_get_number(p, "/train/optimizer/lr", 0);
        const int64_t seed = json_get_int(p, "/seed", 0);
        cr_assert(lr >= 0.0001 && lr <= 0.1 && seed >= 5 && seed <= 9);
        low += lr < 0.00316;
        seeds |= 1 << seed;
        cJSON_Delete(p);
    }
    cr_assert(same == 0 && low > 70 && low < 130, "%d same, %d below the middle", same, low);
    cr_assert_eq(seeds, 0x3e0, "some seed was never drawn");
    cr_assert_str_eq(a.rows[0].parameters, "{\"/seed\":8,\"/train/optimizer/lr\":0.000881536}");
    drop(&a);
    drop(&b);
    drop(&c);
}

/* Goal: every fault says where in the space it is, and of which member. */
Test(sweep_space, faults_name_their_place)
{
    expect_fault("{\"/train/epochs\": {\"values\": [1, 0]}}", "{\"type\": \"grid\"}",
                 "/space/~1train~1epochs", "member 2 with 0");
    expect_fault("{\"/train/epoch\": {\"values\": [1, 2]}}", "{\"type\": \"grid\"}",
                 "/space/~1train~1epoch", "did you mean");
    expect_fault("{\"/seed/deep\": {\"values\": [1]}}", "{\"type\": \"grid\"}",
                 "/space/~1seed~1deep", "whole number");
    expect_fault("{\"/network/layers/99/p\": {\"values\": [1]}}", "{\"type\": \"grid\"}",
                 "/space/~1network~1layers~199~1p", "no place");
    expect_fault("{\"seed\": {\"values\": [1]}}", "{\"type\": \"grid\"}", "/space/seed", "pointer");
    expect_fault("{\"/seed\": {\"min\": 0.5, \"max\": 2}}", "{\"type\": \"grid\"}", "/space/~1seed",
                 "a grid needs");
    expect_fault("{\"/seed\": {\"min\": 1, \"max\": 2000, \"integer\": true}}",
                 "{\"type\": \"grid\"}", "/space", "more than 1000");
    expect_fault("{\"/seed\": {\"min\": 0, \"max\": 2, \"log\": true}}",
                 "{\"type\": \"random\", \"n\": 2}", "/space/~1seed", "above 0 with log");
    expect_fault("{\"/seed\": {\"values\": [1]}}", "{\"type\": \"random\"}", "/strategy/n",
                 "must be given");
    expect_fault("{\"/seed\": {\"values\": [1]}}", "{\"type\": \"grip\"}", "/strategy/type",
                 "grid");
    expect_fault("{\"/train/epochs\": {\"values\": [1]}}",
                 "{\"type\": \"asha\", \"n\": 2, \"metric\": \"val/loss\", \"max\": 4}", "/space",
                 "budget");
    expect_fault("{\"/seed\": {\"values\": [1]}}",
                 "{\"type\": \"asha\", \"n\": 2, \"metric\": \"val/loss\", \"min\": 4, \"max\": 4}",
                 "/strategy/max", "above min");
}
