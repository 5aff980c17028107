/* Errors of the Anchor framework, and the log line from which clients learn an error's name. */
#pragma once
#include "interface.h"

/* Numbers, names and messages are Anchor's. */
#define FRAMEWORK_ERRORS(entry)                                                                                        \
    entry(101, InstructionFallbackNotFound, "Fallback functions are not supported")                                    \
    entry(102, InstructionDidNotDeserialize, "The program could not deserialize the given instruction")                \
    entry(2000, ConstraintMut, "A mut constraint was violated")                                                        \
    entry(2006, ConstraintSeeds, "A seeds constraint was violated")                                                    \
    entry(2012, ConstraintAddress, "An address constraint was violated")                                               \
    entry(3001, AccountDiscriminatorNotFound, "No discriminator was found on the account")                             \
    entry(3002, AccountDiscriminatorMismatch, "Account discriminator did not match what was expected")                 \
    entry(3003, AccountDidNotDeserialize, "Failed to deserialize the account")                                         \
    entry(3005, AccountNotEnoughKeys, "Not enough account keys given to the instruction")                              \
    entry(3007, AccountOwnedByWrongProgram, "The given account is owned by a different program than expected")         \
    entry(3008, InvalidProgramId, "Program ID was not as expected")                                                    \
    entry(3010, AccountNotSigner, "The given account did not sign")                                                    \
    entry(3012, AccountNotInitialized, "The program expected this account to be already initialized")

#define AS_NUMBER(number, name, message) E_##name = number,
enum { FRAMEWORK_ERRORS(AS_NUMBER) };

#define AS_TEXT(number, name, message) {number, {TEXT(#name), TEXT(message)}},
static const struct {
    Error error;
    ErrorText text;
} FRAMEWORK_ERROR_TEXTS[] = {FRAMEWORK_ERRORS(AS_TEXT)};

static const ErrorText *error_text(Error error) {
    u64 custom = error - FIRST_CUSTOM_ERROR;
    if (custom < COUNT(CUSTOM_ERRORS)) return &CUSTOM_ERRORS[custom];
    for (u64 i = 0; i < COUNT(FRAMEWORK_ERROR_TEXTS); i++)
        if (FRAMEWORK_ERROR_TEXTS[i].error == error) return &FRAMEWORK_ERROR_TEXTS[i].text;
    return 0;
}

#define LONGEST_LINE 320

typedef struct {
    char chars[LONGEST_LINE];
    u64 length;
} Line;

static void append(Line *line, const Text *text) {
    u64 room = LONGEST_LINE - line->length;
    u64 count = text->length < room ? text->length : room;
    copy_bytes((u8 *)line->chars + line->length, (const u8 *)text->chars, count);
    line->length += count;
}

#define APPEND(line, literal) append(line, &(Text)TEXT(literal))

static void append_number(Line *line, u64 number) {
    char digits[20];
    u64 first = sizeof digits;
    do digits[--first] = (char)('0' + number % 10);
    while (number /= 10);
    append(line, &(Text){digits + first, sizeof digits - first});
}

/* An error that is neither ours nor Anchor's came from another program, which has logged it. */
static void log_error(Error error, const Text *account) {
    const ErrorText *text = error_text(error);
    if (!text) return;
    Line line;
    line.length = 0;
    if (account) {
        APPEND(&line, "AnchorError caused by account: ");
        append(&line, account);
    } else {
        APPEND(&line, "AnchorError occurred");
    }
    APPEND(&line, ". Error Code: ");
    append(&line, &text->name);
    APPEND(&line, ". Error Number: ");
    append_number(&line, error);
    APPEND(&line, ". Error Message: ");
    append(&line, &text->message);
    APPEND(&line, ".");
    sol_log_(line.chars, line.length);
}
