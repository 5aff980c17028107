-- Requests and votes name the resolution that they are about, and shelved rows fit into tables that have got
-- other columns meanwhile.

alter table public.dispute_votes add column resolution zmartd.signature;
comment on column public.dispute_votes.resolution is
    'The markets.resolved_in at which a vote through the API was cast; null for votes on the chain.';
alter table public.dispute_requests add column resolution zmartd.signature;
comment on column public.dispute_requests.resolution is 'The markets.resolved_in at which it was requested.';

set local role service_role;
update public.dispute_votes as vote set resolution = market.resolved_in
  from public.markets as market where market.id = vote.market_id and vote.source = 'api';
update public.dispute_requests as request set resolution = market.resolved_in
  from public.markets as market where market.id = request.market_id;
update public.shelved_opinions set content = content || jsonb_build_object('resolution', resolution)
 where source in ('dispute_votes', 'dispute_requests');
reset role;

create function zmartd.note_resolution() returns trigger
    language plpgsql
    as $$
    begin
        new.resolution := (select resolved_in from public.markets where id = new.market_id);
        return new;
    end
    $$;
-- Triggers fire in the order of their names: this one before any that waits.
create trigger about_resolution before insert on public.dispute_votes
    for each row when (new.source = 'api' and pg_trigger_depth() = 0) execute function zmartd.note_resolution();
create trigger about_resolution before insert on public.dispute_requests
    for each row when (pg_trigger_depth() = 0) execute function zmartd.note_resolution();

-- The check of the foreign key waits for a rebuild of the market; then the market may be in the same state, but
-- with another resolution.
create or replace function zmartd.refuse_outdated_opinion() returns trigger
    language plpgsql
    as $$
    declare
        expected_state constant text := tg_argv[0];
        error_code constant text := tg_argv[1];
        found_state text;
        found_resolution text;
    begin
        select state, resolved_in into found_state, found_resolution
          from public.markets where id = new.market_id;
        if found_state is distinct from expected_state then
            raise exception using
                errcode = error_code,
                message = format('the market is %s, not %s', coalesce(found_state, 'unknown'), expected_state),
                detail = coalesce(found_state, '');
        end if;
        if found_resolution is distinct from new.resolution then
            raise exception using errcode = 'ZM003', message = 'another resolution has replaced this one';
        end if;
        return null;
    end
    $$;

create or replace function zmartd.exchange_opinions() returns trigger
    language plpgsql
    as $$
    declare
        source text;
        written text;
        defaults text;
    begin
        foreach source in array array[
            'dispute_requests', 'dispute_votes', 'vote_tallies', 'settled_disputes', 'market_decisions'
        ] loop
            if old.resolved_in is not null then
                execute format(
                    'with taken as (delete from public.%I as opinion where market_id = $1 and %s
                                    returning to_jsonb(opinion.*) as content)
                     insert into public.shelved_opinions (market_id, resolution, source, content)
                     select $1, $2, $3, content from taken',
                    source,
                    case source
                        when 'dispute_votes' then 'opinion.source = ''api'''
                        when 'vote_tallies' then 'kind = ''dispute'''
                        else 'true'
                    end
                ) using old.id, old.resolved_in, source;
            end if;
            if new.resolved_in is null then
                continue;
            end if;
            -- A wallet's first vote counts, and a vote that comes back was cast before any on the chain.
            if source = 'dispute_votes' then
                delete from public.dispute_votes as vote using public.shelved_opinions as shelved
                 where vote.market_id = new.id and vote.source = 'chain' and shelved.market_id = new.id
                   and shelved.resolution = new.resolved_in and shelved.source = 'dispute_votes'
                   and shelved.content ->> 'user_wallet' = vote.user_wallet;
            end if;
            -- A column that a row was shelved without gets its default, and one that is gone is left out.
            select string_agg(quote_ident(attname), ', ' order by attnum) filter (where attgenerated = ''),
                   string_agg(case when attgenerated = '' then coalesce(pg_get_expr(adbin, adrelid), 'null')
                                   else 'null' end, ', ' order by attnum)
              into strict written, defaults
              from pg_attribute left join pg_attrdef on adrelid = attrelid and adnum = attnum
             where attrelid = format('public.%I', source)::regclass and attnum > 0 and not attisdropped;
            execute format(
                'with known as (delete from public.shelved_opinions as shelved
                                 where market_id = $1 and resolution = $2 and shelved.source = $3
                                returning content)
                 insert into public.%1$I (%2$s)
                 select %2$s
                   from known, jsonb_populate_record(row(%3$s)::public.%1$I, known.content) as opinion
                 on conflict do nothing',
                source, written, defaults
            ) using new.id, new.resolved_in, source;
        end loop;
        return null;
    end
    $$;
