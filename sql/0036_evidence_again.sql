-- Evidence that is handed in again is the newest again, and has the reason that it comes with now.

grant update (document, early_reason, created_at) on public.evidence to authenticated;
create policy own_update on public.evidence for update to authenticated
    using (
        user_wallet = (select zmartd.caller_wallet())
        and kind = 'dispute'
        and exists (
            select from public.markets as market
            where market.id = evidence.market_id and market.state = 'DISPUTED'
                and market.dispute_initiator = evidence.user_wallet
        )
    );
