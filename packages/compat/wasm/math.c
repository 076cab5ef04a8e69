/* math: log, exp and pow in a few lines, for the tables of RoPE that a plan holds. A verdict reads
 * nothing of those tables, and the C library's versions bring 12 kB of tables of their own. Good to
 * some units in the last place; what is shown to people is made without them.
 */
#include <math.h>

#define LN2 0.693147180559945309417

double log(double x)
{
    int e;
    double m, t, t2, sum = 0;
    if (!(x > 0)) return x < 0 ? NAN : -INFINITY;
    if (x > 1.7976931348623157e308) return x;
    m = frexp(x, &e);
    if (m < 0.70710678118654752) {
        m *= 2;
        e--;
    }
    t = (m - 1) / (m + 1); /* log m = 2 atanh t, |t| < 0.172 */
    t2 = t * t;
    for (int k = 21; k > 0; k -= 2)
        sum = sum * t2 + 1.0 / k;
    return 2 * t * sum + e * LN2;
}

double exp(double x)
{
    double sum = 1, n = floor(x / LN2 + 0.5), r = x - n * LN2;
    if (!(x > -745)) return x <= -745 ? 0 : x;
    if (x > 709.7) return INFINITY;
    for (int k = 17; k > 0; k--) /* |r| < 0.35 */
        sum = 1 + sum * r / k;
    return ldexp(sum, (int)n);
}

double pow(double x, double y)
{
    return y == 0 || x == 1 ? 1 : exp(y * log(x));
}

float powf(float x, float y)
{
    return (float)pow((double)x, (double)y);
}
