/* The protocol's configuration. */

static u64 initialize_global_config(Context *context) {
    LOG("Instruction: InitializeGlobalConfig");
    ARGUMENTS(32);
    ACCOUNTS(4);
    const Account *admin = &account[0], *made = &account[1], *fee_wallet = &account[2];
    NEED_SIGNER(admin, "admin");
    NEED_WRITABLE(admin, "admin");
    NEED_WRITABLE(made, "global_config");
    NEED_SYSTEM_PROGRAM(&account[3]);
    Config config;
    sol_memset_(&config, 0, sizeof config);
    Pubkey derived;
    Slice seeds[2] = {NAME("global-config"), {&config.bump, 1}};
    sol_try_find_program_address(seeds, 1, context->program, &derived, &config.bump);
    if (!same_key(&derived, made->key)) return BLAME(ConstraintSeeds, "global_config");
    Slice signer = {seeds, 2};
    TRY(create_account(context, admin, made, CONFIG_SIZE, &signer));
    config.admin = *admin->key;
    config.backend_authority = *(const Pubkey *)arguments;
    config.fee_wallet = *fee_wallet->key;
    config.fee_bps[0] = 300;
    config.fee_bps[1] = 200;
    config.fee_bps[2] = 500;
    config.approval_threshold = 7000;
    config.dispute_threshold = 6000;
    config.min_resolution_delay = 86400;
    config.dispute_period = 259200;
    config.min_resolver_reputation = 8000;
    store_config(made, &config);
    Event event;
    begin(&event, EVENT_GlobalConfigInitialized);
    put_key(&event, &config.admin);
    put_key(&event, &config.backend_authority);
    put8(&event, config.fee_bps[0] & 0xff);
    put8(&event, config.fee_bps[0] >> 8);
    put64(&event, now());
    return emit(&event);
}

static u64 update_global_config(Context *context) {
    LOG("Instruction: UpdateGlobalConfig");
    ARGUMENTS(12);
    u16 wanted[5];
    u64 end = context->data_length - 8, at = 10;
    for (u64 i = 0; i < 5; i++) wanted[i] = GET16(arguments + 2 * i);
    i64 times[2];
    u8 given[2];
    for (u64 i = 0; i < 2; i++) {
        if (at >= end || arguments[at] > 1) return FAIL(InstructionDidNotDeserialize);
        given[i] = arguments[at++];
        times[i] = 0;
        if (given[i]) {
            if (at + 8 > end) return FAIL(InstructionDidNotDeserialize);
            times[i] = GET64(arguments + at);
            at += 8;
        }
    }
    ACCOUNTS(2);
    NEED_SIGNER(&account[0], "admin");
    NEED_WRITABLE(&account[1], "global_config");
    Config config;
    TRY(load_config(context, &account[1], &config));
    REQUIRE(same_key(&config.admin, account[0].key), Unauthorized);
    REQUIRE((u64)wanted[0] + wanted[1] + wanted[2] <= BPS, InvalidFeeStructure);
    REQUIRE(wanted[3] <= BPS && wanted[4] <= BPS, InvalidThreshold);
    REQUIRE((!given[0] || times[0] > 0) && (!given[1] || times[1] > 0), InvalidTimeLimit);
    for (u64 i = 0; i < 3; i++) config.fee_bps[i] = wanted[i];
    config.approval_threshold = wanted[3];
    config.dispute_threshold = wanted[4];
    if (given[0]) config.min_resolution_delay = times[0];
    if (given[1]) config.dispute_period = times[1];
    store_config(&account[1], &config);
    Event event;
    begin(&event, EVENT_ConfigUpdated);
    for (u64 i = 0; i < 5; i++) {
        put8(&event, wanted[i] & 0xff);
        put8(&event, wanted[i] >> 8);
    }
    put64(&event, config.min_resolution_delay);
    put64(&event, config.dispute_period);
    put64(&event, now());
    return emit(&event);
}

static u64 emergency_pause(Context *context) {
    LOG("Instruction: EmergencyPause");
    ACCOUNTS(2);
    NEED_SIGNER(&account[0], "admin");
    NEED_WRITABLE(&account[1], "global_config");
    Config config;
    TRY(load_config(context, &account[1], &config));
    REQUIRE(same_key(&config.admin, account[0].key), Unauthorized);
    config.is_paused = !config.is_paused;
    store_config(&account[1], &config);
    Event event;
    begin(&event, EVENT_ProtocolPauseStatusChanged);
    put8(&event, config.is_paused);
    put_key(&event, account[0].key);
    put64(&event, now());
    return emit(&event);
}
