/* Masks that a network proposes (L. Chen et al., "Variance-reduced language pretraining via a mask proposal network", 2020): units whose
 * gradients are expected to be large are masked more often, and importance weights make up for it.
 *
 * The units of a mask are drawn one after the other. Of the r units that are left, the next draw takes unit i with probability
 *
 *     p_i = (1 - uniform) odds_i / (sum of the odds that are left) + uniform / r,       odds_i = exp(sharpness score_i),
 *
 * and rho = (1 / r) / p_i, at most 1 / uniform, is the ratio to a uniform draw. Independent masks are K sequences of N = tau draws,
 * disjoint ones are one sequence of N = K tau draws without replacement, cut into K pieces. What a token's loss is multiplied by:
 *
 *     exact   the product of rho over all draws from the sequence's first to the last of the token's mask, which is the probability of
 *             these ordered draws under uniform masks divided by that under this policy. Each mask's gradient times its weight is an
 *             unbiased estimate of the mean gradient of uniform masks.
 *     token   for the l-th of N draws from n units ((N - l) + (n - N) rho_l) / (n - l). Any sum over the masked tokens of numbers that
 *             do not depend on which others are masked is then unbiased: Des Raj's (1956) ordered estimators, combined so that uniform
 *             draws have weight 1. What remains is that the contexts of the masked tokens are not those of uniform masks.
 *     none    1
 *
 * With equal scores of all units all weights are 1, and masks are distributed as those of `random`, or where they are disjoint as those of
 * `fully_explored`. The score of a
 * unit of several tokens is half the logarithm of the sum of exp(2 score): norms of gradients that add up as if at right angles. Where no
 * sharpness is given it is 1, but 1 / tau with exact weights: the gradient of a mask is a sum of tau tokens' gradients, so that its norm,
 * which the probability of a mask should follow, changes by 1 / tau of what the norm of one of them changes by. */
#include "mask.h"
#include "proposal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct proposal_masker {
    km_unit_masker base;
    km_proposal draws;
    double *ratios, *weights; /* (length) of the draws of a sequence */
    int *drawn;               /* (length) their units */
} proposal_masker;

bool km_weighting_named(km_weighting *out, const char *name) {
    static const char *const names[] = {
        [KM_WEIGHTS_EXACT] = "exact", [KM_WEIGHTS_TOKEN] = "token", [KM_WEIGHTS_NONE] = "none"};
    for (size_t i = 0; i < KM_COUNT(names); i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (km_weighting)i;
            return true;
        }
    }
    return false;
}

/* ---- Drawing ---- */

static double sum_of_odds(const km_proposal *p) {
    double sum = 0;
    for (int i = 0; i < p->count; i++) {
        sum += p->taken[i] ? 0 : p->odds[i];
    }
    return sum;
}

/* The probability of a unit with these odds, of `left` units whose odds have this sum. */
static double chance_of(double odds, double sum, int left, double uniform) {
    return sum > 0 ? (1 - uniform) * odds / sum + uniform / left : 1.0 / left;
}

double km_proposal_chance(const double *odds, const uint8_t *taken, int count, int unit, double uniform) {
    double sum = 0;
    int left = 0;
    for (int i = 0; i < count; i++) {
        sum += taken[i] ? 0 : odds[i];
        left += !taken[i];
    }
    return chance_of(odds[unit], sum, left, uniform);
}

/* The unit with which the running sum of the odds that are left goes beyond `ticket`. */
static int unit_at(const km_proposal *p, double ticket) {
    int last = 0;
    for (int i = 0; i < p->count; i++) {
        if (!p->taken[i] && p->odds[i] > 0) {
            last = i;
            ticket -= p->odds[i];
            if (ticket < 0) {
                break;
            }
        }
    }
    return last;
}

static int uniform_unit(const km_proposal *p, km_rng *rng) {
    int skip = (int)km_rng_below(rng, (uint32_t)p->left), unit = 0;
    while (p->taken[unit] || skip-- > 0) {
        unit++;
    }
    return unit;
}

int km_proposal_draw(km_proposal *p, km_rng *rng, double *ratio) {
    const double sum = sum_of_odds(p);
    const bool uniform = km_rng_unit(rng) < p->uniform || !(sum > 0);
    const int unit = uniform ? uniform_unit(p, rng) : unit_at(p, km_rng_unit(rng) * sum);
    *ratio = 1 / (p->left * chance_of(p->odds[unit], sum, p->left, p->uniform));
    p->taken[unit] = 1;
    p->left--;
    return unit;
}

/* ---- Weights ---- */

void km_proposal_weigh(double *weights, const double *ratios, km_weighting weighting, int units, int tau,
                       int draws) {
    double product = 1;
    for (int l = 1; l <= draws; l++) {
        const double ratio = ratios[l - 1];
        product *= ratio;
        weights[l - 1] =
            weighting == KM_WEIGHTS_TOKEN && l < units ? ((draws - l) + (units - draws) * ratio) / (units - l) : 1;
        for (int i = l - tau; weighting == KM_WEIGHTS_EXACT && l % tau == 0 && i < l; i++) {
            weights[i] = product;
        }
    }
}

/* ---- The policy ---- */

/* Half the logarithm of the sum of exp(2 score) over the tokens of a unit. */
static double score_of(const float *scores, km_range range) {
    double most = -INFINITY, sum = 0;
    for (int p = range.begin; p < range.end; p++) {
        most = KM_MAX(most, (double)scores[p]);
    }
    for (int p = range.begin; p < range.end; p++) {
        sum += exp(2 * ((double)scores[p] - most));
    }
    return most + 0.5 * log(sum);
}

static void begin_sequence(proposal_masker *self, const km_units *units, const float *scores, int tau) {
    const km_mask_spec *spec = &self->base.masker.spec;
    const double usual = spec->weighting == KM_WEIGHTS_EXACT ? 1.0 / KM_MAX(tau, 1) : 1;
    const double sharpness = spec->sharpness > 0 ? spec->sharpness : usual;
    km_proposal *draws = &self->draws;
    double most = -INFINITY;
    for (int u = 0; u < units->count; u++) {
        draws->odds[u] = sharpness * score_of(scores, units->ranges[u]);
        draws->taken[u] = 0;
        most = KM_MAX(most, draws->odds[u]);
    }
    for (int u = 0; u < units->count; u++) {
        draws->odds[u] = exp(draws->odds[u] - most);
    }
    draws->count = draws->left = units->count;
    draws->uniform = spec->uniform;
}

/* Draws a sequence, and hides its units in masks from k on, tau in each. */
static void draw_sequence(proposal_masker *self, const km_units *units, int tau, int draws, int k, km_masks *out) {
    for (int l = 0; l < draws; l++) {
        self->drawn[l] = km_proposal_draw(&self->draws, &self->base.rng, &self->ratios[l]);
    }
    km_proposal_weigh(self->weights, self->ratios, self->base.masker.spec.weighting, units->count, tau, draws);
    for (int l = 0; l < draws; l++) {
        const km_range range = units->ranges[self->drawn[l]];
        const size_t at = (size_t)(k + l / tau) * (size_t)out->stride;
        for (int p = range.begin; p < range.end; p++) {
            out->masks[at + (size_t)p] = KM_HIDDEN;
            out->weights[at + (size_t)p] = (float)self->weights[l];
        }
    }
}

static km_status check_scores(const km_masker *masker, const km_row *row, const float *scores) {
    if (scores == NULL) {
        return km_fail(
            KM_USAGE,
            "mask.policy %s: its masks are drawn by a network that is trained together with a model, and "
            "there is none here. `kmask pretrain` trains one, and `kmask variance` measures it.",
            masker->policy->name);
    }
    for (int p = 0; p < row->length; p++) {
        if (!isfinite(scores[p])) {
            return km_fail(KM_FAILED,
                           "mask.policy %s: the network's score of token %d in row %llu is not finite. Lower "
                           "proposal.lr.",
                           masker->policy->name, p, (unsigned long long)row->number);
        }
    }
    return KM_OK;
}

static km_status draw(km_masker *masker, const km_row *row, const km_mask_visit *visit, km_masks *out) {
    proposal_masker *self = (proposal_masker *)masker;
    const km_mask_spec *spec = &masker->spec;
    KM_TRY(check_scores(masker, row, visit->scores));
    KM_TRY(km_unit_masker_begin(&self->base, row, visit));
    const int each = spec->disjoint ? spec->splits : 1; /* masks of a sequence */
    for (int k = 0; k < spec->splits; k += each) {
        const km_units *units = km_unit_masker_units(&self->base);
        const int tau = km_mask_tau(spec, units->count);
        begin_sequence(self, units, visit->scores, tau);
        draw_sequence(self, units, tau, each * tau, k, out);
        if (k == 0) {
            out->units = units->count;
            out->tau = tau;
        }
    }
    return KM_OK;
}

static km_status create(km_masker **out, const km_mask_spec *spec, const km_corpus *corpus, int length) {
    (void)corpus;
    proposal_masker *self = km_new(1, sizeof *self);
    const size_t units = (size_t)length;
    km_unit_masker_prepare(&self->base, spec, length);
    self->draws.odds = km_new(units, sizeof *self->draws.odds);
    self->draws.taken = km_new(units, sizeof *self->draws.taken);
    self->ratios = km_new(units, sizeof *self->ratios);
    self->weights = km_new(units, sizeof *self->weights);
    self->drawn = km_new(units, sizeof *self->drawn);
    *out = &self->base.masker;
    return KM_OK;
}

static void destroy(km_masker *masker) {
    proposal_masker *self = (proposal_masker *)masker;
    free(self->draws.odds);
    free(self->draws.taken);
    free(self->ratios);
    free(self->weights);
    free(self->drawn);
    km_unit_masker_destroy(masker);
}

static km_status check(const km_mask_spec *spec) {
    return spec->disjoint ? km_mask_disjoint_check(spec) : KM_OK;
}

const km_mask_policy km_mask_proposal = {
    .name = "proposal",
    .help = "units with large gradients, by a network that is trained beside the model",
    .splits = 4,
    .ratio = 0.15,
    .live = true,
    .weighted = true,
    .check = check,
    .most_hidden = km_most_hidden_units,
    .create = create,
    .draw = draw,
    .destroy = destroy};
