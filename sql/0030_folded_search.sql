-- Search in all languages: without accents and widths, in scripts that part no words, and, where Postgres has
-- pg_trgm, with small mistakes.

-- The form in which texts are stored for search and searched for: lower case, compatibility forms composed,
-- without accents, points and what cannot be seen, letters of one sound and digits of one value as one. Plain
-- ASCII is only put into lower case.
create function zmartd.folded(words text) returns text
    language sql immutable strict parallel safe
    as $$
    select case when octet_length(words) = char_length(words) then lower(words) else normalize(
        translate(
            replace(replace(replace(replace(bare, 'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th'),
            'øđłħıðŋς' || 'یکىة' || '٠١٢٣٤٥٦٧٨٩' || '۰۱۲۳۴۵۶۷۸۹' || '०१२३४५६७८९' || '০১২৩৪৫৬৭৮৯' || '๐๑๒๓๔๕๖๗๘๙',
            'odlhidnσ' || 'يكيه' || '0123456789' || '0123456789' || '0123456789' || '0123456789' || '0123456789'
        ),
        NFKC
    ) end
    from lower(
        regexp_replace(
            case when octet_length(words) = char_length(words) then '' else normalize(words, NFKD) end,
            '[\u0300-\u036F\u0483-\u0489\u0591-\u05BD\u05BF\u05C1\u05C2\u05C4\u05C5\u05C7\u0610-\u061A\u0640'
            '\u064B-\u065F\u0670\u06D6-\u06DC\u06DF-\u06E4\u06E7\u06E8\u06EA-\u06ED\u1AB0-\u1AFF\u1DC0-\u1DFF'
            '\u20D0-\u20FF\uFE20-\uFE2F\u00AD\u034F\u061C\u200B-\u200F\u202A-\u202E\u2060-\u206F\uFE00-\uFE0F'
            '\uFEFF]',
            '', 'g'
        )
    ) as bare
    $$;

-- A run of letters of a script that parts no words, as pairs of neighbours: 世界杯 is 世界 界杯 杯.
create function zmartd.pairs(letters text) returns text
    language sql immutable strict parallel safe
    as $$
    select string_agg(pair, ' ' order by place)
    from (
        select letter || lead(letter, 1, '') over (order by place), place
        from unnest(string_to_array(letters, null)) with ordinality as one (letter, place)
    ) as paired (pair, place)
    $$;

-- Folded text as words with spaces between them, as the parser of to_tsvector leaves them alone: it takes
-- 2024-2028 for a number and a negative one, nov/2028 for a path, and 2028年の選挙 for one word. Where it is typed
-- to be searched for, the pairs of a run are a phrase.
create function zmartd.parted(folded text, quote text, is_typed boolean) returns text
    language sql immutable strict parallel safe
    as $$
    select coalesce(string_agg(
        case
            when place % 2 = 1 then part
            when not is_typed then ' ' || zmartd.pairs(part) || ' '
            when char_length(part) = 1 then ' ' || part || ' '
            else ' ' || quote || regexp_replace(zmartd.pairs(part), ' [^ ]$', '') || quote || ' '
        end,
        '' order by place
    ), '')
    from unnest(string_to_array(
        regexp_replace(
            regexp_replace(
                regexp_replace(
                    regexp_replace(folded, '(?<=[0-9])[,''’٬](?=[0-9]{3}(?![0-9]))', '', 'g'),
                    '[]!\u0001#-,/:-@[\\^-`{-~\u00A1-\u00A9\u00AB-\u00B4\u00B6-\u00B9\u00BB-\u00BF\u055A-\u055F'
                    '\u060C\u061B\u061F\u066A-\u066D\u06D4\u0964\u0965\u2000-\u206F\u20A0-\u20CF\u2190-\u2BFF'
                    '\u3000-\u3004\u3008-\u3020\u3030\uFE30-\uFE4F\U0001F000-\U0001FBFF]',
                    ' ', 'g'
                ),
                '\.(?![0-9])|(?<![0-9])\.', ' ', 'g'
            ),
            '[\u0E00-\u0EFF\u1000-\u109F\u1780-\u17FF\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3040-\u312F'
            '\u31F0-\u31FF\u3400-\u4DBF\u4E00-\u9FFF\uAC00-\uD7A3\U00020000-\U0003FFFF]+',
            e'\u0001\\&\u0001', 'g'
        ),
        e'\u0001'
    )) with ordinality as divided (part, place)
    $$;

create function zmartd.indexed(words text) returns tsvector
    language sql immutable strict parallel safe
    return to_tsvector('english', translate(zmartd.parted(zmartd.folded(words), '', false), '"-', '  '));

-- What somebody types into a search box: a quote and a minus before a word keep their meaning, and the last
-- word may not be typed to its end.
create or replace function zmartd.sought(words text) returns tsquery
    language sql immutable strict parallel safe
    as $$
    select case
        when right(typed::text, 1) = '''' then (typed::text || ':*')::tsquery
        else typed
    end
    from websearch_to_tsquery(
        'english',
        zmartd.parted(
            regexp_replace(
                regexp_replace(zmartd.folded(words), '(^|\s)-[^\s"[:alnum:]\u0080-\U0010FFFF]*(?=\S)', '\1 -', 'g'),
                '(?<!^|\s)-|-(?=\s|$)', ' ', 'g'
            ),
            case when words like '%"%' then '' else '"' end,
            true
        )
    ) as typed
    $$;

-- Set where texts are written, so that a trade does not parse the texts of its market again, as it has to
-- where the column is generated.
alter table public.markets drop column search;
alter table public.markets
    add column search tsvector not null default '',
    add column search_text text not null default '';
comment on column public.markets.search is 'The words of question, tags and description.';
comment on column public.markets.search_text is 'Question and tags, folded: what is compared letter by letter.';

create function zmartd.index_texts() returns trigger
    language plpgsql
    as $$
    begin
        new.search := setweight(zmartd.indexed(new.question), 'A')
            || setweight(zmartd.indexed(zmartd.words(new.tags)), 'B')
            || setweight(zmartd.indexed(new.description), 'C');
        new.search_text := zmartd.folded(new.question || ' ' || zmartd.words(new.tags));
        return new;
    end
    $$;
create trigger markets_index_texts before insert or update of question, description, tags on public.markets
    for each row execute function zmartd.index_texts();

alter table public.markets disable trigger markets_updated_at;
set local role service_role;
update public.markets set question = question where question <> '' or description <> '' or tags <> '{}';
reset role;
alter table public.markets enable trigger markets_updated_at;

create index markets_by_text on public.markets using gin (search);

-- Near matches need pg_trgm. Without it these find nothing; zmartd.use_trigrams() replaces them.

create function zmartd.similar_markets(words text) returns setof text
    language sql stable strict
    begin atomic select null::text where false; end;
comment on function zmartd.similar_markets(text) is
    'Up to a hundred markets with words like these, the nearest first; none where a quote or a minus is typed.';

create function zmartd.nearness(folded text, texts text) returns double precision
    language sql immutable strict parallel safe
    return 0;
comment on function zmartd.nearness(text, text) is 'From 0 to 1: how much the most similar words of a text are like these.';

create function zmartd.may_all_use(place text) returns boolean
    language sql stable strict
    as $$
    select bool_and(has_schema_privilege(caller, namespace.oid, 'usage'))
    from pg_namespace as namespace,
        unnest(array['anon', 'authenticated', 'service_role', current_user]) as caller
    where nspname = place
    $$;
comment on function zmartd.may_all_use(text) is
    'Whether every role of the daemon may use what is in a schema; null where there is no such schema.';

create function zmartd.use_trigrams() returns boolean
    language plpgsql
    as $_$
    declare
        place text;
    begin
        if to_regclass('public.markets_by_trigrams') is not null then
            return true;
        end if;
        begin
            if zmartd.may_all_use('extensions') then
                create extension if not exists pg_trgm schema extensions;
            else
                create extension if not exists pg_trgm schema zmartd;
            end if;
        exception
            -- Not there, or not allowed, which each provider says in its own way. An administrator can do it,
            -- and run `zmartd migrate` afterwards.
            when others then return false;
        end;
        select quote_ident(nspname) into place
        from pg_extension as extension join pg_namespace as home on home.oid = extension.extnamespace
        where extname = 'pg_trgm' and zmartd.may_all_use(nspname);
        if place is null then
            return false;
        end if;
        execute format(
            'create index if not exists markets_by_trigrams on public.markets using gin (search_text %s.gin_trgm_ops)',
            place
        );
        execute format(
            $$
            create or replace function zmartd.nearness(folded text, texts text) returns double precision
                language sql immutable strict parallel safe
                return %s.word_similarity(folded, texts)
            $$,
            place
        );
        -- Half of a word's trigrams: of five letters, one in the middle may be another.
        execute format(
            $$
            create or replace function zmartd.similar_markets(words text) returns setof text
                language plpgsql stable strict
                set pg_trgm.word_similarity_threshold = 0.5
                as $body$
                declare
                    guessed text[];
                    exact tsquery;
                begin
                    if words ~ '"|(^|\s)-|\sor\s' then
                        return;
                    end if;
                    select array_agg(word order by char_length(word) desc) filter (where is_guessed),
                        zmartd.sought(coalesce(string_agg(word, ' ') filter (where not is_guessed), ''))
                    into guessed, exact
                    from (
                        select word,
                            char_length(word) >= 5 and word !~ '[0-9]'
                            and numnode(plainto_tsquery('english', word)) > 0
                        from regexp_split_to_table(
                            translate(zmartd.parted(zmartd.folded(words), '', false), '-', ' '), '\s+'
                        ) as word
                    ) as typed (word, is_guessed);
                    if guessed is null then
                        return;
                    end if;
                    -- Of a common word any thousand candidates will do: each costs a comparison.
                    return query
                        select id::text
                        from (
                            select id, %1$s.word_similarity(guessed[1], search_text) as nearness from public.markets
                            where guessed[1] operator(%1$s.<%%) search_text
                                and (cardinality(guessed) = 1 or search_text operator(%1$s.%%>) all (guessed[2:]))
                                and (numnode(exact) = 0 or search @@ exact)
                                and not orphaned
                            limit 1000
                        ) as candidate
                        order by nearness desc, id
                        limit 100;
                end
                $body$
            $$,
            place
        );
        return true;
    end
    $_$;
comment on function zmartd.use_trigrams() is
    'Makes search find small mistakes where this role may create pg_trgm, or it is there. True when it does.';

select zmartd.use_trigrams();
