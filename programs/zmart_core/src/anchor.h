/* The checks and the error messages that Anchor's generated code would make. */
#pragma once

#define SYSTEM_PROGRAM ((const Pubkey *)SYSTEM_PROGRAM_BYTES)
static const u8 SYSTEM_PROGRAM_BYTES[32] = {0};

typedef struct {
    char text[320];
    u64 length;
} Line;

static void append(Line *line, const char *text, u64 length) {
    for (u64 i = 0; i < length && line->length < sizeof line->text; i++) line->text[line->length++] = text[i];
}
#define APPEND(line, literal) append(line, literal, sizeof(literal) - 1)

static void append_number(Line *line, u64 number) {
    char digits[20];
    u64 at = sizeof digits;
    do digits[--at] = '0' + number % 10;
    while (number /= 10);
    append(line, digits + at, sizeof digits - at);
}

/* Log an error as Anchor does, blaming an account where `blamed` names one. Clients parse this line. */
static u64 fail_for(u64 code, const char *blamed, u64 blamed_length) {
    for (u64 i = 0; i < sizeof ERROR_TEXT / sizeof *ERROR_TEXT; i++) {
        const ErrorText *error = &ERROR_TEXT[i];
        if (error->code != code) continue;
        Line line;
        line.length = 0;
        if (blamed) {
            APPEND(&line, "AnchorError caused by account: ");
            append(&line, blamed, blamed_length);
        } else {
            APPEND(&line, "AnchorError occurred");
        }
        APPEND(&line, ". Error Code: ");
        append(&line, error->name, error->name_length);
        APPEND(&line, ". Error Number: ");
        append_number(&line, code);
        APPEND(&line, ". Error Message: ");
        append(&line, error->message, error->message_length);
        APPEND(&line, ".");
        sol_log_(line.text, line.length);
        break;
    }
    return code;
}

static u64 fail(u64 code) { return fail_for(code, 0, 0); }
#define FAIL(name) fail(ERROR_##name)
#define BLAME(name, account) fail_for(ERROR_##name, account, sizeof(account) - 1)
#define REQUIRE(condition, name) \
    do {                         \
        if (!(condition)) return FAIL(name); \
    } while (0)
/* Errors of arithmetic are logged where they leave it. */
#define COMPUTE(expression)                    \
    do {                                       \
        u64 failed_ = (expression);            \
        if (failed_) return fail(failed_);     \
    } while (0)

#define NEED_SIGNER(account, name) \
    if (!(account)->is_signer) return BLAME(AccountNotSigner, name)
#define NEED_WRITABLE(account, name) \
    if (!(account)->is_writable) return BLAME(ConstraintMut, name)
#define NEED_SYSTEM_PROGRAM(account) \
    if (!same_key((account)->key, SYSTEM_PROGRAM)) return BLAME(InvalidProgramId, "system_program")

INLINE int is_empty(const Account *account) {
    return account->data_length == 0 && same_key(account->owner, SYSTEM_PROGRAM);
}

/* An account of this program's, with this discriminator and room for its fields */
static u64 check_owned(const Context *context, const Account *account, u64 discriminator, u64 size, const Slice *name) {
    u64 code = 0;
    if (same_key(account->owner, SYSTEM_PROGRAM) && *account->lamports == 0) code = ERROR_AccountNotInitialized;
    else if (!same_key(account->owner, context->program)) code = ERROR_AccountOwnedByWrongProgram;
    else if (account->data_length < 8) code = ERROR_AccountDiscriminatorNotFound;
    else if (GET64(account->data) != discriminator) code = ERROR_AccountDiscriminatorMismatch;
    else if (account->data_length < size) code = ERROR_AccountDidNotDeserialize;
    return code ? fail_for(code, name->at, name->length) : 0;
}

/* Whether `address` is what the seeds, bump included, lead to */
static int is_derived(const Context *context, const Slice *seeds, u64 count, const Pubkey *address) {
    Pubkey derived;
    return sol_create_program_address(seeds, count, context->program, &derived) == 0 && same_key(&derived, address);
}

static u64 rent_exempt_minimum(u64 size, u64 *lamports) {
    Rent rent;
    sol_get_rent_sysvar(&rent);
    u64 years = rent.exemption_threshold_bits == 0x4000000000000000ul ? 2 : 1;
    *lamports = (128 + size) * rent.lamports_per_byte_year * years;
    return 0;
}

static u64 system_call(const Context *context, const u8 *data, u64 length, const Account *from, const Account *to,
                       const Slice *seeds) {
    AccountMeta metas[2] = {{from->key, 1, 1}, {to->key, 1, 1}};
    Instruction instruction = {SYSTEM_PROGRAM, metas, 2, data, length};
    return sol_invoke_signed_c(&instruction, context->account, (int)context->count, seeds, seeds ? 1 : 0);
}

static u64 transfer(const Context *context, const Account *from, const Account *to, u64 lamports) {
    u8 data[12];
    AccountMeta metas[2] = {{from->key, 1, 1}, {to->key, 1, 0}};
    Instruction instruction = {SYSTEM_PROGRAM, metas, 2, data, sizeof data};
    SET32(data, 2);
    SET64(data + 4, lamports);
    return sol_invoke_signed_c(&instruction, context->account, (int)context->count, 0, 0);
}

/* Make the account at a derived address, paid by `payer`. An address that somebody has sent lamports to cannot be
   made by create_account, which would let anybody block it: there the three steps are taken one by one. */
static u64 create_account(const Context *context, const Account *payer, const Account *made, u64 size,
                          const Slice *seeds) {
    u8 data[52];
    u64 rent;
    TRY(rent_exempt_minimum(size, &rent));
    if (*made->lamports == 0 || made->data_length || !same_key(made->owner, SYSTEM_PROGRAM)) {
        SET32(data, 0);
        SET64(data + 4, rent);
        SET64(data + 12, size);
        *(Pubkey *)(data + 20) = *context->program;
        return system_call(context, data, 52, payer, made, seeds);
    }
    if (*made->lamports < rent) TRY(transfer(context, payer, made, rent - *made->lamports));
    AccountMeta meta = {made->key, 1, 1};
    Instruction instruction = {SYSTEM_PROGRAM, &meta, 1, data, 12};
    SET32(data, 8);
    SET64(data + 4, size);
    TRY(sol_invoke_signed_c(&instruction, context->account, (int)context->count, seeds, 1));
    SET32(data, 1);
    *(Pubkey *)(data + 4) = *context->program;
    instruction.data_length = 36;
    return sol_invoke_signed_c(&instruction, context->account, (int)context->count, seeds, 1);
}
