-- What one actor did is found in the open leaf as well, without reading all the rest of it.

-- An actor's id, if it has one, out of its text: as JSON it would be read in three times as long, and each append does this. Texts are made by the
-- service, compact, and no value in them has a quote.
create function log.actor_id(actor json) returns text
language sql immutable parallel safe as $$
    select nullif(split_part(split_part(actor::text, '"id":"', 2), '"', 1), '')
$$;

-- A third filter says which actors are certainly not in a range of pages. Fewer act than are acted upon: so small a filter keeps two
-- ranges on a page of the index.
create or replace function log.make_lookup(leaf text) returns void
language plpgsql as $$
begin
    execute format(
        'create index %I on log.%I using brin (
            (position + 0) int8_minmax_ops,
            subject collate "C" text_bloom_ops (n_distinct_per_range = 1000, false_positive_rate = 0.003),
            root uuid_bloom_ops (n_distinct_per_range = 1000, false_positive_rate = 0.003),
            (log.actor_id(actor)) collate "C" text_bloom_ops (n_distinct_per_range = 250, false_positive_rate = 0.01)
        ) with (pages_per_range = 64)',
        leaf || '_lookup', leaf);
end
$$;

-- Leaves in which nothing is yet get it now. To make it for others keeps appends waiting; they have their indexes when they are closed.
do $$
declare
    leaf text;
    is_empty boolean;
begin
    for leaf in
        select format('%s_%s', class, s.low) from log.segments s cross join unnest(s.classes) as class
        where to_regclass(format('log.%I', format('%s_%s_lookup', class, s.low))) is not null
    loop
        execute format('select not exists (select from log.%I)', leaf) into is_empty;
        if is_empty then
            execute format('drop index log.%I', leaf || '_lookup');
            perform log.make_lookup(leaf);
        end if;
    end loop;
end
$$;
