#include "throttle/credit.h"

#include <math.h>

void credit_measure(struct credit *credit, double backlog, double limit, double position)
{
    credit->limited = true;
    credit->backlog = backlog > 0 ? backlog : 0;
    credit->limit = limit;
    /* Back in the log: another server has become the primary. */
    if (position < credit->measured)
        credit->seen = position;
    credit->measured = position;
    credit_seen(credit, position);
}

void credit_unlimited(struct credit *credit)
{
    credit->limited = false;
}

void credit_seen(struct credit *credit, double position)
{
    if (position > credit->seen)
        credit->seen = position;
}

double credit_owed(const struct credit *credit)
{
    return credit->backlog + (credit->seen - credit->measured);
}

double credit_left(const struct credit *credit)
{
    return credit->limited ? credit->limit - credit_owed(credit) - credit->in_flight : INFINITY;
}

bool credit_allows(const struct credit *credit, double bytes)
{
    double left = credit_left(credit);

    return left > 0 && left >= fmin(bytes, credit->limit / 4);
}

bool credit_wants_measure(const struct credit *credit)
{
    return credit->limited && credit_left(credit) < (credit->limit - credit->backlog) / 2;
}

void credit_begin(struct credit *credit, double bytes)
{
    credit->in_flight += bytes;
}

void credit_end(struct credit *credit, double bytes)
{
    credit->in_flight -= bytes;
    if (credit->in_flight < 0)
        credit->in_flight = 0;
}
