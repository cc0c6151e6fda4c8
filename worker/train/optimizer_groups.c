/* optimizer_groups: which weights have a rate or decay of their own, and which are frozen
 * (optimizer.h). Main thread. */
#include "common/mem.h"
#include "worker/train/optimizer.h"

struct matching {
    const struct spec_train *train;
    bool group_used[SPEC_GROUPS_MAX], freeze_used[SPEC_GROUPS_MAX];
};

/* Every glob that matches is used, also where another one decides. */
static size_t group_of(struct matching *m, const char *name)
{
    size_t group = 0;
    for (size_t i = m->train->n_groups; i-- > 0;) {
        if (!spec_glob(m->train->groups[i].match, name)) continue;
        m->group_used[i] = true;
        group = i + 1;
    }
    for (size_t i = 0; i < m->train->n_freeze; i++) {
        if (!spec_glob(m->train->freeze[i], name)) continue;
        m->freeze_used[i] = true;
        group = OPTIMIZER_FROZEN;
    }
    return group;
}

static void add_span(struct optimizer *o, const struct net_param *p, size_t group)
{
    struct optimizer_span *last = o->n_spans > 0 ? &o->spans[o->n_spans - 1] : NULL;
    if (last != NULL && last->group == group && last->at + last->floats == p->offset)
        last->floats += p->floats;
    else o->spans[o->n_spans++] = (struct optimizer_span){ p->offset, p->floats, group };
}

static int check_used(const struct matching *m, struct err *e)
{
    for (size_t i = 0; i < m->train->n_groups; i++)
        if (!m->group_used[i])
            return err_set(e, ERR_SPEC, "/train/parameter_groups/%zu/match: '%.60s' matches no "
                           "parameter", i, m->train->groups[i].match);
    for (size_t i = 0; i < m->train->n_freeze; i++)
        if (!m->freeze_used[i])
            return err_set(e, ERR_SPEC, "/train/freeze/%zu: '%.60s' matches no parameter", i,
                           m->train->freeze[i]);
    return 0;
}

static void make_groups(struct optimizer *o, const struct spec_train *train)
{
    for (size_t i = 0; i < train->n_groups; i++) {
        struct spec_optimizer *s = &o->groups[i + 1];
        *s = o->groups[0];
        if (train->groups[i].lr >= 0) s->lr = train->groups[i].lr;
        if (train->groups[i].weight_decay >= 0) s->weight_decay = train->groups[i].weight_decay;
    }
    o->n_groups = train->n_groups + 1;
}

int optimizer_group(struct optimizer *o, const struct net *n, const struct spec_train *train,
                    struct err *e)
{
    struct matching m = { .train = train };
    if (train->n_groups == 0 && train->n_freeze == 0) return 0;
    o->spans = mem_calloc(net_param_count(n) + 1, sizeof o->spans[0]);
    if (o->spans == NULL) return err_set(e, ERR_NOMEM, "parameter groups");
    make_groups(o, train);
    bool learns = false;
    for (size_t i = 0; i < net_param_count(n); i++) {
        const struct net_param *p = net_param(n, i);
        if (p->role != NET_WEIGHT) continue;
        const size_t group = group_of(&m, p->name);
        learns |= group != OPTIMIZER_FROZEN;
        add_span(o, p, group);
    }
    if (check_used(&m, e) != 0) return (int)e->code;
    return learns ? 0 : err_set(e, ERR_SPEC, "/train/freeze: no parameter is left to learn");
}
