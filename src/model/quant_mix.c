/* quant_mix: which matrix of a model gets which type.
 *
 * The mixes are those that llama.cpp's users know by name: the matrices whose error costs most (the
 * values of attention, the way down of the feed-forward block, the head) get more bits, the first
 * two in the first and the last eighth of the layers and in every third between.
 */
#include "model/quant.h"

static const struct quant_mix mixes[] = {
    {"Q4_K_M", DTYPE_Q4_K, DTYPE_Q6_K, DTYPE_Q6_K},
    {"Q5_K_M", DTYPE_Q5_K, DTYPE_Q6_K, DTYPE_Q6_K},
};

bool quant_mix_from(str name, struct quant_mix *mix)
{
    enum dtype t = dtype_from_name(name);

    for (size_t i = 0; i < sizeof mixes / sizeof *mixes; i++) {
        if (!str_ieq(str_c(mixes[i].name), name)) continue;
        *mix = mixes[i];
        return true;
    }
    if (t == DTYPE_COUNT || !quant_has(t)) return false;
    *mix = (struct quant_mix){dtype_info(t)->name, t, t, t};
    return true;
}

static bool gets_more(int64_t layer, uint32_t n_layer)
{
    uint32_t eighth = n_layer / 8;

    return layer < eighth || layer >= 7 * n_layer / 8 || (layer - eighth) % 3 == 2;
}

enum dtype quant_mix_pick(const struct quant_mix *mix, str tensor, uint32_t n_layer, bool tied,
                          uint64_t cols)
{
    enum dtype t = mix->base;
    int64_t layer;
    str role;

    if (str_eq(tensor, S("output.weight")) || (tied && str_eq(tensor, S("token_embd.weight")))) {
        t = mix->head;
    } else if (str_starts(tensor, S("blk.")) &&
               str_int(str_cut(str_sub(tensor, 4, tensor.n), '.', &role), &layer)) {
        if ((str_eq(role, S("attn_v.weight")) || str_eq(role, S("ffn_down.weight"))) &&
            gets_more(layer, n_layer))
            t = mix->more;
    }
    if (cols % dtype_info(t)->elems == 0) return t;
    return cols % dtype_info(DTYPE_Q8_0)->elems == 0 ? DTYPE_Q8_0 : DTYPE_F16;
}
