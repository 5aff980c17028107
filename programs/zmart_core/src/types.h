/* Integers, texts and how a function says that it failed. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;
typedef _Bool bool;

enum { false, true };

#define INLINE static inline __attribute__((always_inline, unused))
#define CODEC static __attribute__((unused))
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* 0, or the number of the error that the transaction fails with. */
typedef u64 Error;
#define OK 0

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        Error failed_ = (call);                                                                                        \
        if (failed_) return failed_;                                                                                   \
    } while (0)
#define REQUIRE(condition, error)                                                                                      \
    do {                                                                                                               \
        if (!(condition)) return error;                                                                                \
    } while (0)

typedef struct {
    const char *chars;
    u64 length;
} Text;
#define TEXT(literal) {literal, sizeof(literal) - 1}

typedef struct {
    Text name, message;
} ErrorText;

typedef struct {
    u64 words[4];
} Pubkey;

INLINE bool same_key(const Pubkey *a, const Pubkey *b) {
    return !((a->words[0] ^ b->words[0]) | (a->words[1] ^ b->words[1]) | (a->words[2] ^ b->words[2]) |
             (a->words[3] ^ b->words[3]));
}

/* One account of an instruction, as the IDL has it. */
typedef struct {
    u8 role;
    bool signs, writable;
} Rule;
