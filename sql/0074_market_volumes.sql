-- The order of markets by volume, kept beside them in the same transaction. Every trade moves a market's volume; while an
-- index of `markets` had it, every trade wrote an entry into each index of the market's row, those of its texts included.

create table public.market_volumes (
    market_id zmartd.market_id primary key,
    state zmartd.market_state not null,
    -- Lamports.
    total_volume numeric not null
);
comment on table public.market_volumes is 'A market''s state and volume, for lists by volume.';
create index market_volumes_in_order on public.market_volumes (total_volume desc, market_id desc);
create index market_volumes_by_state on public.market_volumes (state, total_volume desc, market_id desc);

alter table public.market_volumes enable row level security;
alter table public.market_volumes force row level security;
revoke all on public.market_volumes from public, anon, authenticated;
grant select, insert, update, delete on public.market_volumes to service_role;
grant select on public.market_volumes to anon, authenticated;
create policy service on public.market_volumes to service_role using (true) with check (true);
create policy public_read on public.market_volumes for select to anon, authenticated using (true);

create function zmartd.keep_volume() returns trigger
    language plpgsql set search_path = public, pg_temp set plan_cache_mode = force_generic_plan as $$
begin
    if tg_op = 'DELETE' then
        delete from market_volumes where market_id = old.id;
        return null;
    end if;
    insert into market_volumes (market_id, state, total_volume)
    values (new.id, new.state, new.total_volume)
    on conflict (market_id) do update set state = excluded.state, total_volume = excluded.total_volume;
    return null;
end $$;

create trigger keep_volume after insert or delete on public.markets for each row execute function zmartd.keep_volume();
create trigger keep_moved_volume after update of state, total_volume on public.markets for each row
    when (old.state <> new.state or old.total_volume <> new.total_volume) execute function zmartd.keep_volume();

-- Room for the next version of a row on its page, without which it would need entries in all indexes after all.
alter table public.markets set (fillfactor = 70);

-- The triggers' lock keeps markets as they are until this is committed.
set local role service_role;
insert into public.market_volumes (market_id, state, total_volume)
select id, state, total_volume from public.markets;
reset role;
