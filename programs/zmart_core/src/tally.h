/* Shares of votes, in basis points. */
#pragma once
#include "lmsr.h"

static Error sum_of_votes(u32 yes, u32 no, u32 *out) { return __builtin_add_overflow(yes, no, out) ? E_OverflowError : OK; }

/* Whether `yes` of `total` votes are at least the threshold; no votes at all never are. */
static bool reaches(u16 threshold_bps, u32 yes, u32 total) {
    return total && (u64)yes * BASIS_POINTS / total >= threshold_bps;
}

static u8 percentage(u32 yes, u32 total) { return total ? (u8)((u64)yes * 100 / total) : 0; }
