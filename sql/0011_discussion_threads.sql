-- Comments as threads of bounded depth, of which a deleted one keeps its place but not its words.

-- From the comment on the market itself down to the parent.
alter table public.discussions add column ancestors uuid[] not null default '{}'
    constraint threads_are_shallow check (cardinality(ancestors) <= 5);
-- What a deleted comment said, for whoever has to judge it; no caller reads this.
alter table public.discussions add column deleted_content text;
alter table public.discussions alter column content drop not null;

set local role service_role;
with recursive placed (id, ancestors) as (
    select id, '{}'::uuid[] from public.discussions where parent_id is null
    union all
    select reply.id, placed.ancestors || placed.id
    from public.discussions as reply join placed on reply.parent_id = placed.id
)
update public.discussions as comment
set ancestors = placed.ancestors[:5],
    deleted_content = case when comment.deleted_at is not null then comment.content end,
    content = case when comment.deleted_at is null then comment.content end
from placed
where placed.id = comment.id;
reset role;

alter table public.discussions add constraint deleted_comments_are_silent
    check ((deleted_at is null) = (content is not null));

create function zmartd.place_comment() returns trigger
    language plpgsql
    as $$
    declare
        parent record;
    begin
        new.ancestors := '{}';
        if new.parent_id is null then
            return new;
        end if;
        select comment.ancestors, comment.deleted_at into parent
        from public.discussions as comment
        where comment.id = new.parent_id and comment.market_id = new.market_id;
        if not found or parent.deleted_at is not null then
            raise exception using errcode = 'ZM011', message = 'there is no such comment to reply to';
        end if;
        if cardinality(parent.ancestors) >= 5 then
            raise exception using errcode = 'ZM012', message = 'replies cannot be nested any deeper';
        end if;
        new.ancestors := parent.ancestors || new.parent_id;
        return new;
    end
    $$;

create trigger discussions_place before insert on public.discussions
    for each row execute function zmartd.place_comment();

create function zmartd.silence_comment() returns trigger
    language plpgsql
    as $$
    begin
        new.deleted_content := old.content;
        new.content := null;
        return new;
    end
    $$;

create trigger discussions_silence before update on public.discussions
    for each row when (old.deleted_at is null and new.deleted_at is not null)
    execute function zmartd.silence_comment();

drop index public.discussions_by_market;
create index discussions_by_market on public.discussions (market_id, created_at desc, id desc);
create index discussions_by_thread on public.discussions (market_id, created_at desc, id desc)
    where parent_id is null;
drop index public.discussions_by_parent;
create index discussions_by_parent on public.discussions (parent_id, created_at, id)
    where parent_id is not null;
-- Without fastupdate: every list of comments asks this index once for each, and would each time read through
-- what is pending.
create index discussions_by_ancestor on public.discussions using gin (ancestors) with (fastupdate = off);

-- Nobody reads what was deleted, its author included; that something was, everybody may see.
revoke select on public.discussions from anon, authenticated;
grant select (id, market_id, user_masked, parent_id, ancestors, content, created_at, edited_at, deleted_at)
    on public.discussions to anon;
grant select (id, market_id, user_wallet, user_masked, parent_id, ancestors, content, created_at, edited_at,
              deleted_at)
    on public.discussions to authenticated;
drop policy own_read on public.discussions;
drop policy public_read on public.discussions;
create policy public_read on public.discussions for select to anon, authenticated using (true);
