-- What somebody types into a search box: the last word may not be typed to its end.

create function zmartd.sought(words text) returns tsquery
    language sql immutable strict parallel safe
    as $$
    select case
        when right(typed::text, 1) = '''' then (typed::text || ':*')::tsquery
        else typed
    end
    from websearch_to_tsquery('english', words) as typed
    $$;
