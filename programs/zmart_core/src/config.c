/* The protocol's configuration. */
#include "admit.h"
#include "lmsr.h"

static Error require_admin(Context *c, u8 role) { return require_key(c, role, &c->config.admin, E_Unauthorized); }

static Error require_backend_authority(Context *c) {
    return require_key(c, ROLE_backend_authority, &c->config.backend_authority, E_Unauthorized);
}

static void seeds_of_config(const Context *c, Seeds *out) {
    (void)c;
    *out = *CONFIG_SEEDS();
}

static Error initialize_global_config(Context *c) {
    TRY(create_account(c, ROLE_admin, ROLE_global_config, CONFIG_BYTES));
    c->config = (GlobalConfig){
        .admin = *key_of(c, ROLE_admin),
        .backend_authority = c->arguments.initialize_global_config.backend_authority,
        .protocol_fee_wallet = *key_of(c, ROLE_protocol_fee_wallet),
        .protocol_fee_bps = 300,
        .resolver_reward_bps = 200,
        .liquidity_provider_fee_bps = 500,
        .proposal_approval_threshold = 7000,
        .dispute_success_threshold = 6000,
        .min_resolution_delay = 86400,
        .dispute_period = 259200,
        .min_resolver_reputation = 8000,
        .bump = c->made.bump,
    };
    save_config(c);
    emit_GlobalConfigInitialized(&(GlobalConfigInitialized){
        .admin = c->config.admin,
        .backend_authority = c->config.backend_authority,
        .protocol_fee_bps = c->config.protocol_fee_bps,
        .timestamp = c->now,
    });
    return OK;
}

static Error update_global_config(Context *c) {
    const update_global_config_arguments *wanted = &c->arguments.update_global_config;
    GlobalConfig *config = &c->config;
    TRY(require_admin(c, ROLE_admin));
    REQUIRE(wanted->protocol_fee_bps + wanted->resolver_reward_bps + wanted->liquidity_provider_fee_bps <= BASIS_POINTS,
            E_InvalidFeeStructure);
    REQUIRE(wanted->proposal_approval_threshold <= BASIS_POINTS, E_InvalidThreshold);
    REQUIRE(wanted->dispute_success_threshold <= BASIS_POINTS, E_InvalidThreshold);
    REQUIRE(!wanted->min_resolution_delay.is_some || wanted->min_resolution_delay.value > 0, E_InvalidTimeLimit);
    REQUIRE(!wanted->dispute_period.is_some || wanted->dispute_period.value > 0, E_InvalidTimeLimit);
    config->protocol_fee_bps = wanted->protocol_fee_bps;
    config->resolver_reward_bps = wanted->resolver_reward_bps;
    config->liquidity_provider_fee_bps = wanted->liquidity_provider_fee_bps;
    config->proposal_approval_threshold = wanted->proposal_approval_threshold;
    config->dispute_success_threshold = wanted->dispute_success_threshold;
    if (wanted->min_resolution_delay.is_some) config->min_resolution_delay = wanted->min_resolution_delay.value;
    if (wanted->dispute_period.is_some) config->dispute_period = wanted->dispute_period.value;
    save_config(c);
    emit_ConfigUpdated(&(ConfigUpdated){
        .protocol_fee_bps = config->protocol_fee_bps,
        .resolver_reward_bps = config->resolver_reward_bps,
        .liquidity_provider_fee_bps = config->liquidity_provider_fee_bps,
        .proposal_approval_threshold = config->proposal_approval_threshold,
        .dispute_success_threshold = config->dispute_success_threshold,
        .min_resolution_delay = config->min_resolution_delay,
        .dispute_period = config->dispute_period,
        .timestamp = c->now,
    });
    return OK;
}

/* Sent twice, the protocol runs again. */
static Error emergency_pause(Context *c) {
    TRY(require_admin(c, ROLE_admin));
    c->config.is_paused = !c->config.is_paused;
    save_config(c);
    emit_ProtocolPauseStatusChanged(&(ProtocolPauseStatusChanged){
        .is_paused = c->config.is_paused,
        .paused_by = c->config.admin,
        .timestamp = c->now,
    });
    return OK;
}
