/* weight_standard: see weight_standard.h. */
#include "worker/layers/weight_standard.h"

#include <math.h>

struct row {
    double mean, d, spread; /* d as in the header; spread = n / (n - 1), 0 for one weight */
};

static struct row row_of(const float *w, size_t n)
{
    double sum = 0.0, square = 0.0;
    for (size_t i = 0; i < n; i++) sum += (double)w[i];
    const double mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) square += ((double)w[i] - mean) * ((double)w[i] - mean);
    const double spread = n > 1 ? (double)n / (double)(n - 1) : 0.0;
    return (struct row){ mean, sqrt(square * spread + WEIGHT_STANDARD_EPS), spread };
}

void weight_standard(const float *w, const float *gain, size_t k, size_t n, float *out)
{
    for (size_t i = 0; i < k; i++) {
        const struct row r = row_of(w + i * n, n);
        for (size_t j = 0; j < n; j++)
            out[i * n + j] = (float)((double)gain[i] * ((double)w[i * n + j] - r.mean) / r.d);
    }
}

/* dL/du = gain/d * g - gain/d^3 * spread * u * (g . u); dL/dw is that less its mean. */
void weight_standard_backward(const float *w, const float *gain, const float *g, size_t k, size_t n,
                              float *dw, float *dgain)
{
    for (size_t i = 0; i < k; i++) {
        const float *wi = w + i * n, *gi = g + i * n;
        const struct row r = row_of(wi, n);
        const double a = (double)gain[i];
        double dot = 0.0, mean = 0.0;
        for (size_t j = 0; j < n; j++) {
            dot += (double)gi[j] * ((double)wi[j] - r.mean);
            mean += (double)gi[j] / (double)n;
        }
        const double back = a / (r.d * r.d * r.d) * r.spread * dot;
        for (size_t j = 0; j < n; j++) /* the mean of u is 0 */
            dw[i * n + j] = (float)(a / r.d * ((double)gi[j] - mean) -
                                    back * ((double)wi[j] - r.mean));
        dgain[i] = (float)(dot / r.d);
    }
}
