-- Snapshots of what is said about markets, on IPFS: the documents, and which was true of which day.

create table public.ipfs_documents (
    cid text primary key check (cid ~ '^Qm[1-9A-HJ-NP-Za-km-z]{44}$'),
    market_id zmartd.market_id not null references public.markets (id),
    -- The exact bytes that `cid` is the content id of; NULL where they are kept elsewhere only.
    content bytea,
    size integer not null check (size > 0 and size = coalesce(octet_length(content), size)),
    discussions_count integer not null check (discussions_count >= 0),
    -- What the pinning service calls the request that it has not fulfilled yet.
    pin_request text check (char_length(pin_request) between 1 and 255),
    pinned_at timestamptz,
    created_at timestamptz not null default now(),
    check (content is not null or pinned_at is not null),
    check (pin_request is null or pinned_at is null)
);
comment on table public.ipfs_documents is
    'Snapshots by content id. One that is not pinned yet is what the next run goes on with.';
create index ipfs_documents_by_market on public.ipfs_documents (market_id);
create index ipfs_documents_kept on public.ipfs_documents (pinned_at) where content is not null;

alter table public.ipfs_documents enable row level security;
alter table public.ipfs_documents force row level security;
revoke all on public.ipfs_documents from public, anon, authenticated;
grant select, insert, update, delete on public.ipfs_documents to service_role;
create policy service on public.ipfs_documents to service_role using (true) with check (true);
grant select (cid, market_id, content, size, discussions_count, pinned_at, created_at)
    on public.ipfs_documents to anon, authenticated;
create policy public_read on public.ipfs_documents for select to anon, authenticated
    using (pinned_at is not null);

-- When the discussions were read, by the database's clock: what changes later is in a later snapshot.
alter table public.ipfs_anchors add column read_at timestamptz not null default now();
create index ipfs_anchors_by_day on public.ipfs_anchors (snapshot_date);
create index ipfs_anchors_by_hash on public.ipfs_anchors (ipfs_hash);

-- A deletion may come long after the comment, where a search by the time of comments does not look.
create index discussions_by_deletion on public.discussions (market_id, deleted_at) where deleted_at is not null;
