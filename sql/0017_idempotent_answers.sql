-- An answer that is given again points where the first one did.

alter table public.idempotency_keys add column location text;
