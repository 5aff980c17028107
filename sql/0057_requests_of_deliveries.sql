-- The id of the request that brought a delivery: whichever daemon applies it says so in its log.
alter table public.webhook_inbox add column request_id text;
