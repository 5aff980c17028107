/* Borsh: little-endian integers one after the other, a tag byte before an option's value.
 *
 * A reader refuses what no writer makes: data that ends early, and a bool or a tag other than 0 and 1. */
#pragma once
#include "types.h"

typedef struct {
    const u8 *at, *end;
} Reader;

/* Its owner provides room enough. */
typedef struct {
    u8 *at;
} Writer;

/* Eight bytes at any address. The virtual machine takes unaligned access; a compiler that is told of it would load
 * and put together single bytes. */
typedef u64 __attribute__((may_alias)) raw_u64;

INLINE void copy_bytes(u8 *to, const u8 *from, u64 count) {
    u64 done = 0;
    for (; done + 8 <= count; done += 8) *(raw_u64 *)(to + done) = *(const raw_u64 *)(from + done);
    for (; done < count; done++) to[done] = from[done];
}

INLINE bool read_bytes(Reader *in, void *out, u64 count) {
    if ((u64)(in->end - in->at) < count) return false;
    copy_bytes(out, in->at, count);
    in->at += count;
    return true;
}

INLINE void write_bytes(Writer *out, const void *value, u64 count) {
    copy_bytes(out->at, value, count);
    out->at += count;
}

#define PLAIN_CODEC(name, type)                                                                                        \
    INLINE bool read_##name(Reader *in, type *out) { return read_bytes(in, out, sizeof *out); }                        \
    INLINE void write_##name(Writer *out, const type *value) { write_bytes(out, value, sizeof *value); }

PLAIN_CODEC(u8, u8)
PLAIN_CODEC(u16, u16)
PLAIN_CODEC(u32, u32)
PLAIN_CODEC(u64, u64)
PLAIN_CODEC(i64, i64)
PLAIN_CODEC(pubkey, Pubkey)

INLINE bool read_bool(Reader *in, bool *out) {
    u8 byte;
    if (!read_u8(in, &byte) || byte > 1) return false;
    *out = byte;
    return true;
}

INLINE void write_bool(Writer *out, const bool *value) { write_u8(out, &(u8){*value}); }
