-- What is refused although it is signed and not over. It is kept here, where no cache can evict it.
--
-- A row says: of everything that goes by `name`, what is numbered below `before` is refused.
--   session:<id>      tokens of one session, numbered by its renewals; 2^63 - 1 when it was signed out
--   wallet:<address>  sessions of one wallet, numbered by the second in which they began
--   nonce:<text>      2^63 - 1: a sign-in nonce is used once
-- Nothing that a row is about can be valid after `expires_at`: then it may go.

create table public.revocations (
    name text primary key check (char_length(name) <= 200),
    before bigint not null check (before > 0),
    expires_at timestamptz not null
);

create index revocations_expired on public.revocations (expires_at);

alter table public.revocations enable row level security;
alter table public.revocations force row level security;
revoke all on public.revocations from public, anon, authenticated;
grant select, insert, update, delete on public.revocations to service_role;
create policy service on public.revocations to service_role using (true) with check (true);
