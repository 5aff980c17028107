-- What the shares that a wallet holds have cost it, by the average cost method.
--
-- A lot is {shares, lamports}: shares of one outcome held through trades, and what they have cost with fees.
-- A purchase adds to both. A sale takes its part of the cost with it, truncated to whole lamports, so that a
-- share's average cost changes with purchases alone; a sale of everything leaves nothing.

create function zmartd.lot_after(lot numeric[], buys boolean, shares numeric, cost numeric) returns numeric[]
    language plpgsql immutable parallel safe
    as $$
    begin
        if buys then
            return array[lot[1] + shares, lot[2] + cost];
        end if;
        if shares >= lot[1] then
            return array[0, 0];
        end if;
        return array[lot[1] - shares, lot[2] - div(lot[2] * shares, lot[1])];
    end
    $$;

create aggregate zmartd.lot(boolean, numeric, numeric) (
    sfunc = zmartd.lot_after, stype = numeric[], initcond = '{0,0}', parallel = safe
);
comment on aggregate zmartd.lot(boolean, numeric, numeric) is
    'The lot that trades (buys, shares, cost) leave. They have to come in the order of the chain.';

create function zmartd.held_cost(lot numeric[], held numeric) returns numeric
    language sql immutable parallel safe
    return case
        when lot is null or lot[1] <= 0 or held <= 0 then 0
        when held >= lot[1] then lot[2]
        else div(lot[2] * held, lot[1])
    end;
comment on function zmartd.held_cost(numeric[], numeric) is
    'What the shares held have cost: those that came by transfer nothing, those that left took their part along.';
