"""The events of instructions that configure the program."""

from __future__ import annotations

from zmartd.chain.events import ConfigUpdated, GlobalConfigInitialized, ProtocolPauseStatusChanged
from zmartd.chain.interface import EmergencyPause, InitializeGlobalConfig, UpdateGlobalConfig
from zmartd.indexer.truncation.step import Inferences, Step, required
from zmartd.market.fees import INITIAL_RATES


def _initialize(step: Step, given: InitializeGlobalConfig) -> GlobalConfigInitialized:
    """The fees are the program's own."""
    return GlobalConfigInitialized(
        step.key("admin"), given.backend_authority, INITIAL_RATES.protocol_bps, step.at
    )


def _update(step: Step, given: UpdateGlobalConfig) -> ConfigUpdated:
    """A time that is not given is the one before."""
    before = step.known.configuration
    delay, period = given.min_resolution_delay, given.dispute_period
    if delay is None:
        delay = required(before.min_resolution_delay, "the resolution delay before")
    if period is None:
        period = required(before.dispute_period, "the dispute period before")
    return ConfigUpdated(
        given.protocol_fee_bps,
        given.resolver_reward_bps,
        given.liquidity_provider_fee_bps,
        given.proposal_approval_threshold,
        given.dispute_success_threshold,
        delay,
        period,
        step.at,
    )


def _pause(step: Step, _: EmergencyPause) -> ProtocolPauseStatusChanged:
    """The pause before, turned round."""
    was_paused = required(step.known.configuration.is_paused, "whether the program was paused")
    return ProtocolPauseStatusChanged(not was_paused, step.key("admin"), step.at)


INFERENCES: Inferences = {
    InitializeGlobalConfig: _initialize,
    UpdateGlobalConfig: _update,
    EmergencyPause: _pause,
}
