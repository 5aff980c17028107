-- Where the database speaks Turkish, the small letter of I has no dot, so that NIKKEI was not found by nikkei. Plain
-- ASCII now gets the small letters that it has elsewhere; beside other letters the dot was put back all along.
create or replace function zmartd.folded(words text) returns text
    language sql immutable strict parallel safe
    as $$
    select case when octet_length(words) = char_length(words) then lower(words collate "C") else normalize(
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

-- Elsewhere every text is folded as before.
set local role service_role;
update public.markets set question = question where lower('I') <> 'i';
reset role;
