/* Tests of the text that Prometheus reads: families, labels, histograms. */
#include "common/mem.h"
#include "server/meter/exposition.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

/* Goal: help, type and value stand as the format asks; whole numbers have no exponent. */
Test(exposition, a_family_of_one_sample)
{
    struct exposition x = { 0 };
    exposition_one(&x, "a_total", "counter", "Things.", 12345678901.0);
    exposition_one(&x, "b", "gauge", "Parts.", 0.25);
    cr_assert_str_eq(x.text, "# HELP a_total Things.\n# TYPE a_total counter\n"
                             "a_total 12345678901\n"
                             "# HELP b Parts.\n# TYPE b gauge\nb 0.25\n");
    cr_assert_eq(x.length, strlen(x.text));
    mem_free(x.text);
}

/* Goal: what would end a label's value early is escaped; infinities have their words. */
Test(exposition, labels_are_escaped)
{
    struct exposition x = { 0 };
    const char *const labels[] = { "path", "a\"b\\c\nd", "n", "1", NULL };
    exposition_family(&x, "f", "gauge", "F.");
    exposition_sample(&x, labels, INFINITY);
    exposition_sample(&x, labels, NAN);
    cr_assert(strstr(x.text, "\nf{path=\"a\\\"b\\\\c\\nd\",n=\"1\"} +Inf\n") != NULL, "%s", x.text);
    cr_assert(strstr(x.text, " NaN\n") != NULL, "%s", x.text);
    mem_free(x.text);
}

/* Goal: buckets are cumulative, a bound belongs to its bucket, the last one has everything. */
Test(exposition, histograms_are_cumulative)
{
    static const double bounds[] = { 1, 2 };
    struct histogram h = { .bounds = bounds, .n_bounds = 2 };
    const double values[] = { 0.5, 1, 1.5, 9, -3 };
    for (size_t i = 0; i < 5; i++) histogram_add(&h, values[i]);
    struct exposition x = { 0 };
    const char *const labels[] = { "db", "m", NULL };
    exposition_family(&x, "h_seconds", "histogram", "H.");
    exposition_histogram(&x, labels, &h);
    cr_assert(strstr(x.text, "h_seconds_bucket{db=\"m\",le=\"1\"} 3\n"
                             "h_seconds_bucket{db=\"m\",le=\"2\"} 4\n"
                             "h_seconds_bucket{db=\"m\",le=\"+Inf\"} 5\n"
                             "h_seconds_sum{db=\"m\"} 12\nh_seconds_count{db=\"m\"} 5\n") != NULL,
              "%s", x.text);
    cr_assert_eq(histogram_total(&h), 5);
    mem_free(x.text);
}

/* Goal: without memory there is no text rather than half of one. */
Test(exposition, no_memory_gives_no_text)
{
    struct exposition x = { 0 };
    mem_fail_after(1);
    exposition_one(&x, "a", "gauge", "A.", 1);
    exposition_one(&x, "b", "gauge", "B.", 1);
    cr_assert(x.text == NULL && x.failed);
}
