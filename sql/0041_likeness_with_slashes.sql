-- A slash between words makes another question. `zmartd migrate` computes what is null.

set local role service_role;
update public.market_metadata set likeness = null where question ~ '[/\u2044\u2215\uff0f]';
reset role;
