/* net_segments: cuts a net where one tensor crosses, asks recompute which parts to compute again,
 * and plans the memory of that (design 5.4). Main thread, when a net is built.
 *
 * What is computed again are nodes whose output or saved values were let go of: the tensor that
 * crosses into a segment is kept, spikes and counts are kept everywhere, so monitors see what the
 * forward pass left. Layers are functions of their inputs, weights and counters of random numbers:
 * the bits are those of the first time. */
#include "worker/nets/net_memory.h"
#include "worker/nets/recompute.h"

#include "common/mem.h"

/* Search time grows with the cube of this; of more boundaries every second (third, ...) counts. */
#define POSITIONS_MAX 128

struct cutting {
    struct net *n;
    size_t *at;       /* [intervals + 1]: node that a position lies before */
    size_t *crossing; /* [intervals + 1] */
    struct recompute_piece *keep, *again;
    size_t intervals;
    size_t fixed_bytes; /* what no choice changes: all but segments and gradients that cross */
};

/* ---- where to cut ---------------------------------------------------------------------------- */
/* Whether nothing but the output of node i is read behind it, and no view makes it another's. */
static bool is_boundary(const struct net *n, size_t i)
{
    if (n->nodes[i].needs.view || n->input_readers.last > i) return false;
    if (n->nodes[i].output_unheld || n->nodes[i].gradient_unheld) return false;
    if (n->nodes[i].walk_end > i + 1) return false; /* what comes back crosses too */
    for (size_t k = 0; k < i; k++)
        if (n->nodes[k].readers.last > i) return false;
    for (size_t k = i + 1; k <= n->nodes[i].readers.last; k++)
        if ((n->nodes[k].needs.view || n->nodes[k].output_unheld) && n->nodes[k].inputs[0] == i)
            return false;
    return true;
}

static size_t count_boundaries(const struct net *n)
{
    size_t count = 0;
    for (size_t i = 0; i + 1 < n->n_nodes; i++) count += is_boundary(n, i);
    return count;
}

size_t net_crossing_bytes(const struct net *n, size_t begin)
{
    if (begin == 0 || begin == n->n_nodes || !n->nodes[begin - 1].wants_gradient) return 0;
    return mem_align(tensor_bytes(&n->nodes[begin - 1].gradient), ARENA_ALIGN);
}

static void find_positions(struct cutting *c, size_t every)
{
    const struct net *n = c->n;
    size_t seen = 0, positions = 1;
    c->at[0] = 0;
    for (size_t i = 0; i + 1 < n->n_nodes; i++)
        if (is_boundary(n, i) && ++seen % every == 0) c->at[positions++] = i + 1;
    c->at[positions] = n->n_nodes;
    c->intervals = positions;
    for (size_t i = 0; i <= positions; i++) c->crossing[i] = net_crossing_bytes(n, c->at[i]);
}

static int cut(struct cutting *c, struct err *e)
{
    const size_t boundaries = count_boundaries(c->n), every = boundaries / POSITIONS_MAX + 1;
    const size_t most = boundaries / every + 2;
    c->at = mem_calloc(most, sizeof c->at[0]);
    c->crossing = mem_calloc(most, sizeof c->crossing[0]);
    c->keep = mem_calloc(most, sizeof c->keep[0]);
    c->again = mem_calloc(most * most, sizeof c->again[0]);
    if (c->at == NULL || c->crossing == NULL || c->keep == NULL || c->again == NULL)
        return err_set(e, ERR_NOMEM, "recomputation of %zu parts", most);
    find_positions(c, every);
    return 0;
}

static void cutting_deinit(struct cutting *c)
{
    mem_free(c->at);
    mem_free(c->crossing);
    mem_free(c->keep);
    mem_free(c->again);
}

/* ---- what a part costs ----------------------------------------------------------------------- */
/* A node of a segment that is computed again runs again when something of it was let go of. */
static bool runs_again(const struct net *n, size_t i, size_t end)
{
    const struct net_node *node = &n->nodes[i];
    if (node->needs.view) return false;
    return node->needs.saved_bytes > 0 || (!node->kept && !node->output_unheld && i + 1 != end);
}

static int measure(struct net *n, const struct net_segment *s, struct recompute_piece *out,
                   struct err *e)
{
    struct memory_plan p = { 0 };
    net_number_moments(n, s, 1);
    int rc = net_plan_segment(n, &p, s, &out->held_bytes, e);
    if (rc == 0) rc = memory_plan_solve(&p, e);
    out->peak_bytes = p.region_bytes[PLAN_ACTIVATIONS];
    out->macs = 0;
    for (size_t i = s->begin; s->again && i < s->end; i++)
        if (runs_again(n, i, s->end)) out->macs += n->nodes[i].needs.macs;
    memory_plan_deinit(&p);
    return rc;
}

/* Costs of all parts. */
static int measure_parts(struct cutting *c, struct err *e)
{
    const size_t n = c->intervals;
    int rc = 0;
    for (size_t p = 0; rc == 0 && p < n; p++) {
        const struct net_segment one = { .begin = c->at[p], .end = c->at[p + 1] };
        rc = measure(c->n, &one, &c->keep[p], e);
        for (size_t q = p + 1; rc == 0 && q <= n; q++) {
            const struct net_segment s = { c->at[p], c->at[q], true, 0 };
            rc = measure(c->n, &s, &c->again[p * (n + 1) + q], e);
        }
    }
    return rc;
}

/* ---- choice ---------------------------------------------------------------------------------- */
static int use(struct net *n, const struct cutting *c, const struct recompute_choice *choice,
               struct err *e)
{
    mem_free(n->segments);
    n->n_segments = 0;
    n->segments = mem_calloc(choice->n_segments, sizeof n->segments[0]);
    if (n->segments == NULL) return err_set(e, ERR_NOMEM, "recomputation");
    n->n_segments = choice->n_segments;
    for (size_t k = 0; k < choice->n_segments; k++) {
        const struct recompute_segment *s = &choice->segments[k];
        n->segments[k] = (struct net_segment){ c->at[s->begin], c->at[s->end], s->again, 0 };
        for (size_t i = c->at[s->begin]; i < c->at[s->end]; i++)
            n->nodes[i].runs_again = s->again && runs_again(n, i, c->at[s->end]);
    }
    return 0;
}

/* Bytes below all segments. */
static size_t kept_bytes(const struct net *n)
{
    size_t sum = 0;
    for (size_t i = 0; i < n->n_nodes; i++)
        if (n->nodes[i].kept && !n->nodes[i].needs.view)
            sum += mem_align(net_kept_bytes(n, i), ARENA_ALIGN);
    return sum;
}

static int too_little(size_t needed, size_t limit, struct err *e)
{
    return err_set(e, ERR_OUT_OF_PLAN,
                   "the net needs %zu MiB even where it computes again what it can, the limit is "
                   "%zu MiB; a smaller batch or fewer time-steps need less",
                   (needed >> 20) + 1, limit >> 20);
}

static int choose(struct net *n, struct cutting *c, struct err *e)
{
    const bool least = n->options.recompute == NET_RECOMPUTE_LEAST;
    const size_t limit = n->options.memory_bytes_max;
    const struct recompute_problem p = { c->intervals, c->keep, c->again, c->crossing };
    struct recompute_choice choice = { 0 };
    choice.segments = mem_calloc(c->intervals, sizeof choice.segments[0]);
    if (choice.segments == NULL) return err_set(e, ERR_NOMEM, "recomputation");
    size_t fewest;
    int rc = recompute_least(&p, &fewest, e);
    fewest += c->fixed_bytes;
    const size_t allowed = limit != 0 && !least ? limit : fewest;
    if (rc == 0 && limit != 0 && fewest > limit) rc = too_little(fewest, limit, e);
    if (rc == 0) rc = recompute_search(&p, allowed - c->fixed_bytes, &choice, e);
    if (rc == 0) rc = use(n, c, &choice, e);
    mem_free(choice.segments);
    return rc;
}

/* Small nets need the fewest bytes when nothing is computed again. */
static int plan_without_segments(struct net *n, struct err *e)
{
    n->n_segments = 0;
    for (size_t i = 0; i < n->n_nodes; i++) n->nodes[i].runs_again = false;
    return net_plan_blocks(n, e);
}

static int plan_with_segments(struct net *n, struct err *e)
{
    const struct net_plan before = n->plan;
    struct cutting c = {
        .n = n, .fixed_bytes = before.total_bytes - before.activations_bytes - before.saved_bytes
    };
    net_mark_kept(n);
    c.fixed_bytes += kept_bytes(n);
    int rc = cut(&c, e);
    if (rc == 0) rc = measure_parts(&c, e);
    if (rc == 0) rc = choose(n, &c, e);
    if (rc == 0) rc = net_plan_blocks(n, e);
    if (rc == 0 && n->plan.total_bytes >= before.total_bytes) rc = plan_without_segments(n, e);
    cutting_deinit(&c);
    n->plan.without_recompute_bytes = before.total_bytes;
    return rc;
}

int net_plan_memory(struct net *n, struct err *e)
{
    const size_t limit = n->options.memory_bytes_max;
    if (net_plan_blocks(n, e) != 0) return (int)e->code;
    n->plan.without_recompute_bytes = n->plan.total_bytes;
    const bool fits = limit == 0 || n->plan.total_bytes <= limit;
    const enum net_recompute how = n->options.training ? n->options.recompute : NET_RECOMPUTE_OFF;
    if (how == NET_RECOMPUTE_LEAST || (how == NET_RECOMPUTE_AUTO && !fits))
        return plan_with_segments(n, e);
    if (fits) return 0;
    return err_set(e, ERR_OUT_OF_PLAN,
                   "the net needs %zu MiB, the limit is %zu MiB; a smaller batch or fewer "
                   "time-steps need less",
                   (n->plan.total_bytes >> 20) + 1, limit >> 20);
}
