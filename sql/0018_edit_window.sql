-- A comment can be changed for fifteen minutes, and that it was is written down, whoever forgets to ask.

create function zmartd.date_comment() returns trigger
    language plpgsql
    as $$
    begin
        if new.deleted_at is not null then
            new.deleted_at := now();
            new.edited_at := old.edited_at;
        elsif new.content is distinct from old.content then
            if old.created_at <= now() - interval '15 minutes' then
                raise exception using errcode = 'ZM013', message = 'this comment is too old to be changed';
            end if;
            new.edited_at := now();
        end if;
        return new;
    end
    $$;

create trigger discussions_date before update of content, deleted_at on public.discussions
    for each row when (old.deleted_at is null) execute function zmartd.date_comment();

revoke update (edited_at) on public.discussions from authenticated;
