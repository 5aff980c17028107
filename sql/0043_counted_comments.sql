-- A list of comments says how many there are on all of its pages, and reads that from these indexes alone: the live
-- comments with those that they are replies to, and the deleted ones, which are shown while they have such replies.

create index discussions_counted on public.discussions (market_id, parent_id) include (ancestors)
    where deleted_at is null;
create index discussions_deleted on public.discussions (market_id, parent_id, id) where deleted_at is not null;
